"""Schema: the JSON Schema of ``report.json``, generated from the records that the file is written from.

``python -m medistill.report.schema`` prints it; ``docs/schema/report-2.json`` is that text.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from typing import Any

from pydantic import TypeAdapter

from medistill.artifacts import encoder_summary
from medistill.evaluate import evaluation, intervals, published, schedule_choice, subgroup
from medistill.evaluate.evaluation import EVALUATION_SCHEMA
from medistill.privacy import accounting, audit, criterion, letters, membership, spent
from medistill.privacy.former_audit import AUDIT_SCHEMA
from medistill.report import caveat, record, summaries, verdict
from medistill.report.record import REPORT_SCHEMA, Report
from medistill.training import penalty

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_HOMES = (
    *(record, caveat, summaries, verdict, encoder_summary),
    *(evaluation, intervals, published, schedule_choice, subgroup, penalty),
    *(accounting, spent, audit, criterion, letters, membership),
)
"""Where the records are defined."""


def report_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ``report.json``; nothing may be left out or added anywhere."""
    generated = TypeAdapter(Report).json_schema(mode="serialization")
    parts = generated.pop("$defs")
    records = {"Report": generated, **parts}
    for name, part in records.items():
        _close(part, _docstring(name))
    _number(parts["Evaluation"], EVALUATION_SCHEMA)
    _number(parts["Audit"], AUDIT_SCHEMA)
    _number(generated, REPORT_SCHEMA)
    generated["properties"] = {"kind": {"const": "medistill report"}, **generated["properties"]}
    generated["required"].append("kind")
    return {"$schema": DIALECT, "title": f"medistill report, schema {REPORT_SCHEMA}", **generated, "$defs": parts}


def schema_text() -> str:
    """The schema as it is published."""
    return json.dumps(report_schema(), indent=2, ensure_ascii=False) + "\n"


def _docstring(name: str) -> str:
    found = next((getattr(home, name) for home in _HOMES if hasattr(home, name)), None)
    return inspect.getdoc(found) or "" if found is not None else ""


def _close(part: dict[str, Any], docstring: str) -> None:
    """Ask for every property and no other, and take descriptions from the record's docstring."""
    properties = part["properties"]
    for piece in (part, *properties.values()):
        piece.pop("title", None)  # pydantic's, which say the names again
    part["description"] = (docstring or part["description"]).split("\n\n", 1)[0].replace("\n", " ")
    part["required"] = list(properties)
    part["additionalProperties"] = False
    described = attributes(docstring)
    for name, piece in properties.items():
        if text := described.get(name) or piece.get("description"):
            piece["description"] = re.sub(r"\bNone\b", "null", text)


def attributes(docstring: str) -> dict[str, str]:
    """The section "Attributes:" of a docstring: name -> what it says."""
    found: dict[str, str] = {}
    name = ""
    for line in docstring.partition("Attributes:\n")[2].splitlines():
        stripped = line.strip()
        if line.startswith("    ") and not line.startswith("     ") and ": " in stripped:
            name, _, text = stripped.partition(": ")
            found[name] = text
        elif stripped and name:
            found[name] += f" {stripped}"
    return found


def _number(part: dict[str, Any], schema: int) -> None:
    part["properties"] = {"schema": {"const": schema, "description": "number of this format"}, **part["properties"]}
    part["required"] = ["schema", *part["required"]]


if __name__ == "__main__":
    sys.stdout.write(schema_text())
