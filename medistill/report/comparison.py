"""Comparison: several runs side by side, and whether their figures may be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from medistill.evaluate.evaluation import ArmResult
from medistill.evaluate.intervals import Estimate
from medistill.method_names import method_names
from medistill.recipe import Recipe, override_recipe
from medistill.recipe.arms import ArmName
from medistill.recipe.load import sections_of
from medistill.report.record import Report

COMPARISON_SCHEMA = 1


@dataclass(frozen=True)
class ArmFigures:
    """One arm of one run.

    Attributes:
        arm: the arm.
        images: images in its training set.
        macro_auc: mean area under the ROC curve.
        accuracy: share of the test images put in their class.
        seconds_a_network: training time of one network.
    """

    arm: ArmName
    images: int
    macro_auc: Estimate
    accuracy: Estimate
    seconds_a_network: float


@dataclass(frozen=True)
class ComparedRun:
    """What is set beside other runs.

    Attributes:
        name: of its folder; with its parent's where two have the same name.
        recipe: name of its recipe; empty where not known.
        method: name of the method in capitals, as "IADD"; empty where not known.
        ipc: distilled images per class; None where not known.
        network: the network that was trained, in words.
        corpus: SHA-256 of the corpus' content; empty where not known.
        test_images: images of the test split.
        test_patients: patients (or images, where none is known) of the test split.
        confidence: level of its intervals.
        seed: from which every random number of the run comes; None where not known.
        arms: one entry an arm.
        difference: distilled minus raw in macro AUC.
        gap_closed: (distilled - random) / (raw - random) in macro AUC.
        hard_label_recovery: accuracy of raw minus that of distilled with hard labels.
        improvement_over_random: accuracy of distilled minus that of random originals.
        seconds: stage -> seconds.
    """

    name: str
    recipe: str
    method: str
    ipc: int | None
    network: str
    corpus: str
    test_images: int
    test_patients: int
    confidence: float
    seed: int | None
    arms: tuple[ArmFigures, ...]
    difference: Estimate
    gap_closed: Estimate
    hard_label_recovery: Estimate
    improvement_over_random: Estimate
    seconds: Mapping[str, float]

    @property
    def making_seconds(self) -> float | None:
        """What experts and distillation took, without those experts that were in the cache; None where not known."""
        known = [self.seconds[stage] for stage in ("experts", "distill") if stage in self.seconds]
        return sum(known) if known else None

    def arm(self, name: ArmName) -> ArmFigures | None:
        """The figures of an arm, or None where it was not trained."""
        return next((figures for figures in self.arms if figures.arm == name), None)


@dataclass(frozen=True)
class DifferingSetting:
    """A setting in which the recipes differ.

    Attributes:
        name: its name, as "method.ipc".
        values: one text a run; empty where its method has no such setting, or its recipe is not known.
    """

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class BetweenRuns:
    """The distilled arm of a run minus that of the first run, paired on the same test patients.

    Attributes:
        name: the run.
        minus: the first run.
        macro_auc: difference of macro AUC, with its interval, or why there is none.
        accuracy: difference of accuracy, likewise.
    """

    name: str
    minus: str
    macro_auc: Estimate
    accuracy: Estimate


@dataclass(frozen=True)
class Comparison:
    """Several runs side by side.

    Attributes:
        class_names: one a class, the same in every run.
        runs: one entry a run, in the order in which they were given.
        settings: the settings in which their recipes differ, and no others.
        same_test: every run was tested on the same images.
        comparable: whether figures may be compared from run to run, and why, in one or two sentences.
        differences: each run but the first minus the first.
        confidence: level of the intervals of ``differences``.
        replicates: resamples of the test patients behind them.
    """

    class_names: tuple[str, ...]
    runs: tuple[ComparedRun, ...]
    settings: tuple[DifferingSetting, ...]
    same_test: bool
    comparable: str
    differences: tuple[BetweenRuns, ...]
    confidence: float
    replicates: int

    def as_json(self) -> dict[str, Any]:
        """Plain values, null for what is not available."""
        return {"schema": COMPARISON_SCHEMA, "kind": "medistill comparison", **asdict(self)}


def compared_run(name: str, report: Report) -> ComparedRun:
    """What a run's report says that is set beside other runs."""
    evaluation, against_raw = report.evaluation, report.evaluation.difference("raw")
    untrained = Estimate.impossible("the arms 'distilled' and 'raw' were not both trained")
    return ComparedRun(
        name=name,
        recipe=report.making.recipe,
        method=report.distilled.method if report.distilled is not None else "",
        ipc=report.distilled.ipc if report.distilled is not None else None,
        network=evaluation.network,
        corpus=report.making.hashes.get("corpus", ""),
        test_images=evaluation.test_images,
        test_patients=evaluation.test_patients,
        confidence=evaluation.confidence,
        seed=report.making.seed,
        arms=tuple(_figures(arm) for arm in evaluation.arms),
        difference=against_raw.macro_auc if against_raw is not None else untrained,
        gap_closed=evaluation.gap_closed,
        hard_label_recovery=evaluation.hard_label_recovery,
        improvement_over_random=evaluation.improvement_over_random,
        seconds=dict(report.making.stages),
    )


def _figures(arm: ArmResult) -> ArmFigures:
    return ArmFigures(arm.arm, arm.images, arm.macro_auc, arm.accuracy, arm.seconds_a_network)


def differing_settings(reports: Sequence[Report]) -> tuple[DifferingSetting, ...]:
    """The settings that are not the same in every run, section by section.

    What only some of the methods have differs where the runs of these differ, or where one sets it to other than its
    default: the rest follows from the name of the method. A run whose recipe is not known has no part in it.
    """
    flat = [
        _flat(report.making.settings) | {"recipe": report.making.recipe, "seed": _text(report.making.seed)}
        for report in reports
    ]
    known = [settings for settings, report in zip(flat, reports, strict=True) if report.making.settings]
    names = sorted({name for settings in flat for name in settings}, key=lambda name: ("." in name, name))
    return tuple(
        DifferingSetting(name, tuple(settings.get(name, "") for settings in flat))
        for name in names
        if _differs(name, known if "." in name else flat)
    )


def _differs(name: str, flat: Sequence[Mapping[str, str]]) -> bool:
    having = [settings for settings in flat if name in _defaults(settings) or not _is_of_method(name, settings)]
    if len({settings.get(name, "") for settings in having}) > 1:
        return True
    return len(having) < len(flat) and any(settings.get(name) != _defaults(settings).get(name) for settings in having)


def _is_of_method(name: str, settings: Mapping[str, str]) -> bool:
    """Whether a setting is the method's, in a run whose method is known."""
    return name.startswith("method.") and settings.get("method.name", "") in method_names()


def _defaults(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Every setting of the run's method at its default; nothing where the method is not known."""
    name = settings.get("method.name", "")
    return _method_defaults(name) if name in method_names() else {}


@cache
def _method_defaults(name: str) -> Mapping[str, str]:
    sections = sections_of(override_recipe(Recipe(), [f"method.name={name}"], name))
    return {setting: value for setting, value in _flat(sections).items() if setting.startswith("method.")}


def _flat(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Section -> name -> value, as section.name -> text."""
    return {f"{section}.{name}": _text(value) for section, values in sections.items() for name, value in values.items()}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
