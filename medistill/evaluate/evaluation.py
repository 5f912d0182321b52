"""Evaluation: what each arm's networks are worth on the test split, and how the distilled set compares."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from medistill.artifacts.corpus import Trait
from medistill.artifacts.kept import read_result
from medistill.errors import ArtifactError, first_complaint
from medistill.evaluate.curve import CalibrationCurve, DecisionCurve, RocCurve
from medistill.evaluate.intervals import Estimate
from medistill.evaluate.schedule_choice import ScheduleChoice
from medistill.evaluate.subgroup import Subgroup
from medistill.recipe.arms import ArmName

EVALUATION_SCHEMA = 3
NonInferiority = Literal["shown", "not shown", "cannot be judged"]
Superiority = Literal["yes", "no", "cannot be judged"]
OriginalsInTest = Literal["apart", "left out", "not known"]
"""Whether test images were among the images that the set was made from: they were not, for it is the set's own corpus
with its own split; those that were are left out, as far as this machine could tell; or nothing is known."""
NOT_WORKED_OUT = Estimate.impossible("an earlier version of medistill, which wrote this, did not work it out")
Rule = Literal["youden", "specificity"]
"""How a threshold is chosen on the validation split: the largest sensitivity + specificity - 1, or the lowest threshold
that reaches a wanted specificity there."""


@dataclass(frozen=True)
class OperatingPoint:
    """One class against the rest at thresholds that were chosen on the validation split, means over the networks.

    Attributes:
        rule: how the thresholds were chosen.
        target: the specificity that was wanted on the validation split; None for another rule.
        thresholds: one a network; empty where none could be chosen.
        sensitivity: share of the class's images that are found.
        specificity: share of the other images that are left alone.
        ppv: share of the called images that are of the class, at the prevalence of the test split.
        npv: share of the images left alone that are not of the class, likewise.
        f1: harmonic mean of sensitivity and ppv.
        balanced_accuracy: mean of sensitivity and specificity.
    """

    rule: Rule
    target: float | None
    thresholds: tuple[float, ...]
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    f1: Estimate
    balanced_accuracy: Estimate


@dataclass(frozen=True)
class ClassResult:
    """One class against the rest, for one arm.

    Attributes:
        name: the class.
        auc: area under the ROC curve, mean over the networks, with the interval of the patient bootstrap.
        auc_delong: the same area with DeLong's interval for clustered data (DeLong 1988, Obuchowski 1997).
        brier: mean squared distance of the class's probability from 0 or 1, mean over the networks.
        calibration_error: expected calibration error of the class's probability, mean over the networks.
        points: operating points, one a rule.
        recall: share of the class's images that are put into it, mean over the networks: the sensitivity of the most
            probable class, which needs no threshold.
    """

    name: str
    auc: Estimate
    auc_delong: Estimate
    brier: Estimate
    calibration_error: Estimate
    points: tuple[OperatingPoint, ...]
    recall: Estimate = NOT_WORKED_OUT

    def point(self, rule: Rule) -> OperatingPoint:
        """The operating point of a rule."""
        return next(point for point in self.points if point.rule == rule)


@dataclass(frozen=True)
class ArmResult:
    """One arm.

    Attributes:
        arm: what its networks were trained on.
        images: images in its training set, as they are stored.
        bytes: of these images as they are stored.
        epochs: epochs of each network; 0 of a probe, which is fitted without any.
        seconds: training time of all its networks.
        accuracy: share of the test images put in their class, mean over the networks.
        balanced_accuracy: mean over the classes in the test split of the share of a class's images that are put there.
        macro_auc: mean of the areas under the ROC curve of the classes in the test split, mean over the networks.
        brier: squared distance of the probabilities from the truth, summed over the classes (Brier 1950); 0 to 2.
        calibration_error: expected calibration error of the largest probability.
        network_accuracy: accuracy of each network.
        network_macro_auc: macro AUC of each network; empty where it cannot be estimated.
        accuracy_spread: standard deviation of ``network_accuracy``; None for fewer than two networks.
        macro_auc_spread: standard deviation of ``network_macro_auc``; None for fewer than two.
        confusion: (C, C), share of each true class (row) put into each class, mean over the networks;
            a row of a class that is absent from the test split is empty.
        classes: one entry a class.
        settled: no random number had a part in its network, as in the fit of a probe: every seed gives the same, so
            there is one, and over seeds it has no spread.
        tiles: of a side of each image, f: its networks were trained on f^2 images in the place of each.
    """

    arm: ArmName
    images: int
    bytes: int
    epochs: int
    seconds: float
    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_auc: Estimate
    brier: Estimate
    calibration_error: Estimate
    network_accuracy: tuple[float, ...]
    network_macro_auc: tuple[float, ...]
    accuracy_spread: float | None
    macro_auc_spread: float | None
    confusion: tuple[tuple[float, ...], ...]
    classes: tuple[ClassResult, ...]
    settled: bool = False
    tiles: int = 1

    @property
    def images_seen(self) -> int:
        """Images that one network was shown while it was trained, repeats counted; for a set with stages an upper
        bound, since early epochs show a part of it."""
        return self.images * self.tiles**2 * self.epochs

    @property
    def seconds_a_network(self) -> float:
        """Training time of one network."""
        return self.seconds / len(self.network_accuracy)


@dataclass(frozen=True)
class Ensemble:
    """The networks of an arm, asked together.

    Attributes:
        arm: what they were trained on.
        networks: how many.
        accuracy: share of the test images put in their class by the mean probability.
        macro_auc: mean of the classes' areas under the ROC curve.
        minus_raw: macro AUC minus that of the ensemble on all originals, from the same resamples.
        brier: of the mean probability.
        calibration_error: of the mean probability's largest entry.
        temperature: fitted to the mean probability on the validation split.
        tempered_brier: the same at that temperature.
        tempered_calibration_error: the same at that temperature.
        single_temperatures: of each network alone.
        single_brier: of single networks, each at its own temperature, mean over them.
        single_calibration_error: of single networks, likewise.
    """

    arm: ArmName
    networks: int
    accuracy: Estimate
    macro_auc: Estimate
    minus_raw: Estimate
    brier: float
    calibration_error: Estimate
    temperature: float
    tempered_brier: float
    tempered_calibration_error: Estimate
    single_temperatures: tuple[float, ...]
    single_brier: float
    single_calibration_error: Estimate


@dataclass(frozen=True)
class Difference:
    """The distilled arm minus another on the same test patients, with intervals from the same resamples.

    Attributes:
        minus: the other arm.
        accuracy: difference of accuracy.
        macro_auc: difference of macro AUC.
        class_auc: difference of each class's area under the ROC curve.
        class_auc_delong: the same with DeLong's interval for paired and clustered data.
    """

    minus: ArmName
    accuracy: Estimate
    macro_auc: Estimate
    class_auc: tuple[Estimate, ...]
    class_auc_delong: tuple[Estimate, ...]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        network: the network that was trained, in words.
        parameters: how many numbers it learns.
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
        seed: of the resamples, and of every network's random numbers.
        schedules: how each arm's networks were trained and what that was chosen from; empty where the recipe fixes it.
        arms: one entry an arm, in the order of `ARMS`.
        ensembles: each arm's networks asked together, and how sure they are after recalibration.
        differences: the distilled arm minus each other arm.
        non_inferiority: whether the interval of distilled minus raw stays above the margin.
        beats_random: whether distilled minus random exceeds the seed spread of both arms.
        gap_closed: (distilled - random) / (raw - random) in macro AUC.
        hard_label_recovery: accuracy of raw minus that of distilled with hard labels (HLR of DD-Ranking, 2025); the
            smaller, the more of the originals' worth the images have without the help of soft labels.
        improvement_over_random: accuracy of distilled minus that of random originals (IOR of DD-Ranking).
        roc: ROC curves.
        calibration: calibration curves.
        decision: decision curves.
        subgroups: by site, view, sex and age, where known.
        untold: trait -> why there are no subgroups by it.
        reason: why ``non_inferiority`` cannot be judged; else empty.
        reason_random: why ``beats_random`` cannot be judged; else empty.
        originals: whether test images may have been among those that the set was made from.
        left_out: test and validation images that were left out for that.
        set_digest: SHA-256 of the set's ``images.safetensors``; empty where it is not a set that was tested.
        unmasked: text was looked for in the set's originals, and nothing looked for any in the images of this test.
        tested: "all images" where the corpus has no other than those that were tested, as at another hospital.
    """

    network: str
    parameters: int
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
    seed: int
    schedules: tuple[ScheduleChoice, ...]
    arms: tuple[ArmResult, ...]
    ensembles: tuple[Ensemble, ...]
    differences: tuple[Difference, ...]
    non_inferiority: NonInferiority
    beats_random: Superiority
    gap_closed: Estimate
    hard_label_recovery: Estimate
    improvement_over_random: Estimate
    roc: tuple[RocCurve, ...]
    calibration: tuple[CalibrationCurve, ...]
    decision: tuple[DecisionCurve, ...]
    subgroups: tuple[Subgroup, ...]
    untold: dict[Trait, str]
    reason: str
    originals: OriginalsInTest = "not known"
    left_out: int = 0
    set_digest: str = ""
    reason_random: str = ""
    unmasked: bool = False
    tested: Literal["test split", "all images"] = "test split"

    @property
    def fitted(self) -> bool:
        """Whether its networks are probes, which are fitted to the one end that there is."""
        return any(arm.settled for arm in self.arms)

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes of which no image was tested."""
        return tuple(name for name, images in zip(self.class_names, self.class_images, strict=True) if not images)

    def arm(self, name: ArmName) -> ArmResult | None:
        """The result of an arm, or None where it was not trained."""
        return next((result for result in self.arms if result.arm == name), None)

    def difference(self, minus: ArmName) -> Difference | None:
        """Distilled minus that arm, or None where either was not trained."""
        return next((difference for difference in self.differences if difference.minus == minus), None)

    def prevalence(self, class_name: str) -> float:
        """Share of a class in the test split, at which its predictive values stand."""
        return self.class_images[self.class_names.index(class_name)] / self.test_images

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
        plain = {name: entry for name, entry in value.items() if name != "schema"}
        try:
            return TypeAdapter(cls).validate_python(plain)
        except ValidationError as error:
            raise _foreign(origin, first_complaint(error)) from None


def load_evaluation(path: Path) -> Evaluation:
    """Read ``evaluation.json``.

    Raises:
        ArtifactError: missing, damaged, or of another schema.
    """
    return Evaluation.from_json(read_result(path, "evaluation"), str(path))


def _foreign(origin: str, why: str) -> ArtifactError:
    return ArtifactError(
        f"{origin} cannot be used: {why}",
        expected="an evaluation as this version of medistill writes it",
        do="repeat the command that wrote it, `medistill distill` with --resume or `medistill evaluate` with its "
        "--out; trained networks are taken up",
    )
