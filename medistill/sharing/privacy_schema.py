"""Privacy schema: the JSON Schema of ``privacy.json``, generated from the record that the file is written from.

``python -m medistill.sharing.privacy_schema`` prints it; ``docs/schema/privacy-1.json`` is that text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from medistill.report.schema import DIALECT
from medistill.sharing.privacy_statement import PrivacyStatement


def schema_text() -> str:
    """The JSON Schema (draft 2020-12) as it is published."""
    found = PrivacyStatement.model_json_schema(by_alias=True, mode="serialization")
    return json.dumps({"$schema": DIALECT, **_every_property(found)}, indent=2, ensure_ascii=False) + "\n"


def _every_property(part: Any) -> Any:
    """A schema that asks for every property, as records are written, without the titles that say names again."""
    if isinstance(part, list):
        return [_every_property(one) for one in part]
    if not isinstance(part, Mapping):
        return part
    told = {name: _every_property(one) for name, one in part.items() if not (name == "title" and isinstance(one, str))}
    if isinstance(part.get("properties"), Mapping):
        told["required"] = list(part["properties"])
    return told


if __name__ == "__main__":
    sys.stdout.write(schema_text())
