"""Making: what the run was made with, and how to make it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from medistill.artifacts.encoder_summary import EncoderSummary
from medistill.report.blocks import Block, Console, Facts, Fold, Heading, Prose, Settings, facts
from medistill.report.quantisation_statements import outline
from medistill.report.record import Making, Report
from medistill.report.section import Section
from medistill.report.text import Absent, Code, Inline, Text, Unbroken
from medistill.report.view import ReportView
from medistill.report.wording import count, seconds


def section(view: ReportView) -> Section:
    """What is known of the making."""
    return Section(
        "making",
        "What it was made with",
        tuple(_blocks(view)),
        contents="Making",
        brief=tuple(_brief(view.report)),
    )


def _blocks(view: ReportView) -> Iterator[Block]:
    making = view.report.making
    yield _facts(making)
    if (distilled := view.report.distilled) is not None and distilled.encoder is not None:
        yield Heading("The encoder")
        yield _encoder(distilled.encoder)
    if distilled is not None and distilled.teacher is not None:
        yield Heading("The teacher")
        yield _encoder(distilled.teacher)
    if "making" in view.report.missing:
        yield Prose(Absent(view.report.missing["making"]))
    yield Heading("To make it again")
    yield Console(making.commands) if making.commands else Prose(Absent("the run does not say its command"))
    if making.settings:
        yield Fold("Every setting", (_settings(making),))


def _facts(making: Making) -> Facts:
    return facts(
        ("Recipe", making.recipe),
        ("Seed", making.seed),
        ("Device", making.device),
        ("Hardware", making.hardware),
        ("Versions", _in_a_row(f"{name} {version}" for name, version in making.versions.items())),
        ("Time", _in_a_row(f"{stage} {seconds(taken)}" for stage, taken in making.stages.items())),
        *((f"SHA-256, {name}", Code(digest)) for name, digest in making.hashes.items()),
    )


def _encoder(encoder: EncoderSummary) -> Facts:
    return facts(
        ("Architecture", encoder.architecture),
        ("Layers", ", ".join(encoder.layers)),
        ("Trained on", encoder.trained_on),
        ("Licence", encoder.licence),
        ("Where it can be had", encoder.source),
        ("SHA-256", Code(encoder.sha256)),
    )


def _in_a_row(parts: Iterator[str]) -> Text:
    """Each on one line as far as it goes; empty where there is none."""
    shown: list[Inline] = list(chain.from_iterable((", ", Unbroken(part)) for part in parts))
    return tuple(shown[1:]) if shown else ""


def _settings(making: Making) -> Settings:
    return Settings(
        tuple(
            (name, tuple((setting, _shown(value)) for setting, value in values.items()))
            for name, values in making.settings.items()
            if isinstance(values, Mapping)
        )
    )


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple | Mapping):
        return ", ".join(map(str, value)) or "–"
    return str(value) if value != "" else "–"


def _brief(report: Report) -> Iterator[Block]:
    making, distilled = report.making, report.distilled
    yield Heading("How it was made")
    yield facts(
        ("Method", distilled.method if distilled is not None else ""),
        ("Quantised", outline(report)),
        ("Encoder", distilled.encoder.words if distilled is not None and distilled.encoder is not None else ""),
        ("Teacher", distilled.teacher.words if distilled is not None and distilled.teacher is not None else ""),
        ("Recipe", making.recipe),
        ("Seed", making.seed),
        ("Resamples", count(report.evaluation.replicates)),
        ("Hardware", making.hardware),
        ("medistill", making.versions.get("medistill", "")),
        ("Recipe SHA-256", making.hashes.get("recipe", "")),
        ("Set SHA-256", making.hashes.get("set/images.safetensors", "")),
    )
    if making.commands:
        yield Console(making.commands)
