"""The pages that describe files name every field of every record that is written as JSON."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import medistill
from medistill.artifacts.record import Record

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("formats.md", "guide/trust.md", "guide/benchmarks.md", "guide/using-a-set.md")
OF_THE_ENGINE = ("medistill.federation.controller", "medistill.federation.executor")
"""They hold no record, and can be imported only where NVIDIA FLARE is installed."""


def records(base: type[Record] = Record) -> Iterator[type[Record]]:
    for record in base.__subclasses__():
        yield record
        yield from records(record)


def test_every_field_is_named() -> None:
    for module in pkgutil.walk_packages(medistill.__path__, "medistill."):
        if module.name not in OF_THE_ENGINE:
            import_module(module.name)
    text = "\n".join((DOCS / page).read_text(encoding="utf-8") for page in PAGES)
    named = {name for words in re.findall(r"`([\w.\[\]]+)`", text) for name in (words, words.rpartition(".")[2])}
    found = [one for one in set(records()) if one.__module__.startswith("medistill.")]
    assert len(found) > 10
    missing = {
        f"{one.__name__}.{field.alias or name}"
        for one in found
        for name, field in one.model_fields.items()
        if (field.alias or name) not in named
    }
    assert missing == set()
