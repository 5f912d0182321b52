"""Evaluation: what each arm's networks are worth on the test split, and how the distilled set compares."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from medistill.artifacts.atomic import read_json
from medistill.errors import ArtifactError
from medistill.evaluate.intervals import Estimate
from medistill.evaluate.predictions import Arm

EVALUATION_SCHEMA = 1
NonInferiority = Literal["shown", "not shown", "cannot be judged"]
Superiority = Literal["yes", "no", "cannot be judged"]


@dataclass(frozen=True)
class ClassResult:
    """One class against the rest, for one arm.

    Attributes:
        name: the class.
        auc: area under the ROC curve, mean over the networks.
        sensitivity: share of the class's images that are found, mean over the networks.
        specificity: share of the other images that are left alone, mean over the networks.
        thresholds: one a network, chosen on the validation split; empty where none could be.
    """

    name: str
    auc: Estimate
    sensitivity: Estimate
    specificity: Estimate
    thresholds: tuple[float, ...]


@dataclass(frozen=True)
class ArmResult:
    """One arm.

    Attributes:
        arm: what its networks were trained on.
        images: images in its training set.
        epochs: epochs of each network.
        seconds: training time of all its networks.
        accuracy: share of the test images put in their class, mean over the networks.
        macro_auc: mean of the classes' areas under the ROC curve, mean over the networks.
        network_accuracy: accuracy of each network.
        network_macro_auc: macro AUC of each network; empty where it cannot be estimated.
        accuracy_spread: standard deviation of ``network_accuracy``; None for fewer than two networks.
        macro_auc_spread: standard deviation of ``network_macro_auc``; None for fewer than two.
        classes: one entry a class.
    """

    arm: Arm
    images: int
    epochs: int
    seconds: float
    accuracy: Estimate
    macro_auc: Estimate
    network_accuracy: tuple[float, ...]
    network_macro_auc: tuple[float, ...]
    accuracy_spread: float | None
    macro_auc_spread: float | None
    classes: tuple[ClassResult, ...]


@dataclass(frozen=True)
class Difference:
    """The distilled arm minus another on the same test patients, with intervals from the same resamples.

    Attributes:
        minus: the other arm.
        accuracy: difference of accuracy.
        macro_auc: difference of macro AUC.
        class_auc: difference of each class's area under the ROC curve.
    """

    minus: Arm
    accuracy: Estimate
    macro_auc: Estimate
    class_auc: tuple[Estimate, ...]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        class_names: one a class.
        class_images: test images of each class.
        class_patients: test patients with an image of each class.
        test_images: images of the test split.
        test_patients: patients of the test split.
        validation_images: images of the validation split.
        validation_patients: patients of the validation split.
        confidence: level of every interval.
        replicates: resamples of the test patients.
        margin: non-inferiority margin for the macro AUC.
        arms: one entry an arm, in the order of `ARMS`.
        differences: the distilled arm minus each other arm.
        non_inferiority: whether the interval of distilled minus raw stays above the margin.
        beats_random: whether distilled minus random exceeds the seed spread of both arms.
        gap_closed: (distilled - random) / (raw - random) in macro AUC.
        reason: why something cannot be judged; else empty.
    """

    class_names: tuple[str, ...]
    class_images: tuple[int, ...]
    class_patients: tuple[int, ...]
    test_images: int
    test_patients: int
    validation_images: int
    validation_patients: int
    confidence: float
    replicates: int
    margin: float
    arms: tuple[ArmResult, ...]
    differences: tuple[Difference, ...]
    non_inferiority: NonInferiority
    beats_random: Superiority
    gap_closed: Estimate
    reason: str

    def arm(self, name: Arm) -> ArmResult | None:
        """The result of an arm, or None where it was not trained."""
        return next((result for result in self.arms if result.arm == name), None)

    def difference(self, minus: Arm) -> Difference | None:
        """Distilled minus that arm, or None where either was not trained."""
        return next((difference for difference in self.differences if difference.minus == minus), None)

    def as_json(self) -> dict[str, Any]:
        """Plain values, null for what cannot be estimated."""
        return {"schema": EVALUATION_SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, value: dict[str, Any], origin: str = "the evaluation") -> Evaluation:
        """The inverse of `as_json`.

        Raises:
            ArtifactError: another schema, or something is missing; ``origin`` names the file in the message.
        """
        if value.get("schema") != EVALUATION_SCHEMA:
            raise _foreign(origin, f"its schema is {value.get('schema')!r}, not {EVALUATION_SCHEMA}")
        try:
            plain = {name: entry for name, entry in value.items() if name != "schema"}
            for name in ("class_names", "class_images", "class_patients"):
                plain[name] = tuple(plain[name])
            plain["arms"] = tuple(_arm(entry) for entry in plain["arms"])
            plain["differences"] = tuple(_difference(entry) for entry in plain["differences"])
            plain["gap_closed"] = Estimate.from_json(plain["gap_closed"])
            return cls(**plain)
        except (KeyError, TypeError, ValueError) as error:
            raise _foreign(origin, str(error)) from None


def load_evaluation(path: Path) -> Evaluation:
    """Read ``evaluation.json``.

    Raises:
        ArtifactError: missing, damaged, or of another schema.
    """
    return Evaluation.from_json(read_json(path, "evaluation"), str(path))


def _arm(value: dict[str, Any]) -> ArmResult:
    classes = tuple(
        ClassResult(
            entry["name"],
            Estimate.from_json(entry["auc"]),
            Estimate.from_json(entry["sensitivity"]),
            Estimate.from_json(entry["specificity"]),
            tuple(entry["thresholds"]),
        )
        for entry in value["classes"]
    )
    return ArmResult(
        **{
            **value,
            "accuracy": Estimate.from_json(value["accuracy"]),
            "macro_auc": Estimate.from_json(value["macro_auc"]),
            "network_accuracy": tuple(value["network_accuracy"]),
            "network_macro_auc": tuple(value["network_macro_auc"]),
            "classes": classes,
        }
    )


def _difference(value: dict[str, Any]) -> Difference:
    return Difference(
        value["minus"],
        Estimate.from_json(value["accuracy"]),
        Estimate.from_json(value["macro_auc"]),
        tuple(Estimate.from_json(entry) for entry in value["class_auc"]),
    )


def _foreign(origin: str, why: str) -> ArtifactError:
    return ArtifactError(
        f"{origin} cannot be used: {why}",
        expected="an evaluation as this version of medistill writes it",
        do="run `medistill evaluate` again",
    )
