"""Report: everything that a run's report states, as plain numbers and words; no patient's identifier, no path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.predictions import Arm
from medistill.report.caveats import Caveat
from medistill.report.summaries import CorpusSummary, SetSummary
from medistill.report.verdict import Verdict

REPORT_SCHEMA = 1


@dataclass(frozen=True)
class Course:
    """The course of the distillation.

    Attributes:
        loss: of every outer step.
        student_lr: after every outer step.
        importance_names: groups of the network's parameters.
        importance: W of each group at each look; empty where it was not kept.
        looks: outer steps after which the validation split was looked at.
        accuracy: mean accuracy there.
        auc: mean macro AUC there.
        chosen_step: the look whose images were kept.
    """

    loss: tuple[float, ...]
    student_lr: tuple[float, ...]
    importance_names: tuple[str, ...]
    importance: tuple[tuple[float, ...], ...]
    looks: tuple[int, ...]
    accuracy: tuple[float, ...]
    auc: tuple[float, ...]
    chosen_step: int


@dataclass(frozen=True)
class Curve:
    """The ROC curve of one arm for one class, the mean over its networks at each false positive rate.

    Attributes:
        arm: the arm.
        class_name: the class.
        false_positive_rate: ascending, 0 to 1.
        sensitivity: mean over the networks.
    """

    arm: Arm
    class_name: str
    false_positive_rate: tuple[float, ...]
    sensitivity: tuple[float, ...]


@dataclass(frozen=True)
class Making:
    """What the run was made with, where the run says so.

    Attributes:
        seed: from which every random number comes.
        recipe: the recipe's name.
        settings: every setting, section -> name -> value.
        versions: package -> version.
        device: "cpu" or "cuda".
        hardware: processor and GPU.
        commands: what to type to make the run again.
        stages: stage -> seconds.
        hashes: what -> SHA-256.
    """

    seed: int | None
    recipe: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    device: str
    hardware: str
    commands: tuple[str, ...]
    stages: Mapping[str, float]
    hashes: Mapping[str, str]


@dataclass(frozen=True)
class Report:
    """The report of a run.

    Attributes:
        title: what was distilled from what, in one line.
        synthetic: the source is synthetic; None where not known.
        shows_real: real images are in the HTML file, which then must not be shared.
        verdict: the result in words.
        not_promised: what the report does not say.
        evaluation: the numbers.
        curves: ROC curves.
        distilled: the set, or None.
        corpus: the corpus, or None.
        course: the course of the distillation, or None.
        making: what it was made with.
        missing: what -> why it is not available.
    """

    title: str
    synthetic: bool | None
    shows_real: bool
    verdict: Verdict
    not_promised: tuple[Caveat, ...]
    evaluation: Evaluation
    curves: tuple[Curve, ...]
    distilled: SetSummary | None
    corpus: CorpusSummary | None
    course: Course | None
    making: Making
    missing: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """Plain values: lists, texts, finite numbers, null for what is not available."""
        plain = {name: _plain(value) for name, value in asdict(self).items() if name != "evaluation"}
        return {"schema": REPORT_SCHEMA, "kind": "medistill report", **plain, "evaluation": self.evaluation_json()}

    def evaluation_json(self) -> dict[str, Any]:
        """The evaluation with its own schema number, as `Evaluation.from_json` reads it."""
        value: dict[str, Any] = _plain(self.evaluation.as_json())
        return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value
