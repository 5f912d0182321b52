"""View: a report as its sections see it, with what several of them draw from it."""

from __future__ import annotations

from dataclasses import dataclass

from medistill.evaluate.evaluation import ArmResult, Evaluation
from medistill.evaluate.rare import without_interval
from medistill.recipe.arms import HEADLINE, ArmName
from medistill.report.arm_style import ARM_STYLES
from medistill.report.pictures import ClassPictures
from medistill.report.record import Report
from medistill.report.wording import counted, counted_as, level

MOST_CLASSES = 12
"""Classes that forest plots show and confusion matrices are written out for."""


@dataclass(frozen=True)
class ReportView:
    """A report and the pictures that are shown with it.

    Attributes:
        report: the record.
        distilled: pictures of the set.
        real: pictures of real images, where they may be shown.
    """

    report: Report
    distilled: tuple[ClassPictures, ...] = ()
    real: tuple[ClassPictures, ...] = ()

    @property
    def evaluation(self) -> Evaluation:
        """The figures of the main evaluation."""
        return self.report.evaluation

    @property
    def networks(self) -> tuple[Evaluation, ...]:
        """The main evaluation, then those on other networks."""
        return (self.report.evaluation, *self.report.across)

    @property
    def arms(self) -> dict[ArmName, ArmResult]:
        """Arm -> its results, in the order in which arms are shown."""
        found = {name: self.evaluation.arm(name) for name in ARM_STYLES}
        return {name: arm for name, arm in found.items() if arm is not None}

    @property
    def first(self) -> tuple[ArmName, ...]:
        """Arms of the first screen, where they were trained."""
        return tuple(name for name in HEADLINE if name in self.arms)

    @property
    def unit(self) -> str:
        """ "patient", "study" or "image", what is counted as patients."""
        known = self.report.corpus or self.report.distilled
        return (known.split_unit if known is not None else "") or "patient"

    @property
    def groups(self) -> str:
        """What the page calls what is counted as patients."""
        return counted_as(self.unit)

    @property
    def units(self) -> str:
        """The heading of a column of them."""
        return "Studies" if self.unit == "study" else "Patients"

    @property
    def few_classes(self) -> bool:
        """Whether every class can be shown."""
        return len(self.evaluation.class_names) <= MOST_CLASSES

    @property
    def scarce(self) -> bool:
        """Whether a class has too few test patients for intervals."""
        return bool(without_interval(self.evaluation))

    @property
    def level(self) -> str:
        """Such as "95 % interval"."""
        return level(self.evaluation.confidence)

    def of_units(self, number: int) -> str:
        """ ", 30 patients" behind a number of images; empty where images are counted alone."""
        return "" if self.unit == "image" else f", {counted(number, self.unit)}"

    def missing(self, what: str, otherwise: str = "") -> str:
        """Why something is not available."""
        return self.report.missing.get(what, otherwise)
