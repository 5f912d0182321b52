"""Checklist: the items of TRIPOD+AI and CLAIM, answered where the run knows and left open elsewhere."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from medistill.report import data_statements as data
from medistill.report import evaluation_statements as evaluation
from medistill.report.record import ChecklistRow, Report
from medistill.report.wording import sentences

UNKNOWN = "not available"
STATEMENTS: dict[str, Callable[[Report], str]] = {
    statement.__name__: statement
    for statement in (
        data.goal, data.technology, data.sources, data.outcome, data.refusals, data.criteria, data.selection,
        data.preparation, data.inputs, data.partition, data.disjoint, data.numbers, data.composition, data.made,
        data.choice, data.balance,
        evaluation.networks, evaluation.training, evaluation.initial_values, evaluation.external, evaluation.measures,
        evaluation.thresholds, evaluation.intervals, evaluation.margin, evaluation.fairness, evaluation.heterogeneity,
        evaluation.robustness, evaluation.results, evaluation.by_class, evaluation.variation, evaluation.failures,
        evaluation.limitations, evaluation.specification, evaluation.software, evaluation.details, evaluation.code,
        evaluation.updating, evaluation.ensembling, evaluation.explanation, evaluation.prediction,
    )
}  # fmt: skip
"""What an item may name as its answer."""


@dataclass(frozen=True)
class Item:
    """One item of a checklist.

    Attributes:
        checklist: the checklist's name.
        number: the item's number there.
        topic: what it asks for, in our words.
        answer: names of the statements that answer it; empty where only the authors can.
    """

    checklist: str
    number: str
    topic: str
    answer: tuple[str, ...]


@cache
def items() -> tuple[Item, ...]:
    """Every item of every checklist, in order."""
    text = files("medistill.report").joinpath("checklist.toml").read_text(encoding="utf-8")
    return tuple(
        Item(checklist["name"], entry["item"], entry["topic"], tuple(entry.get("answer", ())))
        for checklist in tomllib.loads(text)["checklist"]
        for entry in checklist["items"]
    )


def checklist(report: Report) -> tuple[ChecklistRow, ...]:
    """Every item with what the run knows of it."""
    rows = []
    for item in items():
        answer = sentences(*(STATEMENTS[name](report) for name in item.answer))
        rows.append(ChecklistRow(item.checklist, item.number, item.topic, answer or UNKNOWN, bool(answer)))
    return tuple(rows)
