"""Figures: the few aggregated numbers that a site tells of a test at home. No text of the site goes with them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medistill.artifacts.record import Record
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.intervals import Estimate
from medistill.recipe import Recipe
from medistill.recipe.arms import ArmName
from medistill.recipe.sections import EvaluateRecipe

LearntFrom = Literal["exchange", "own_originals", "own_set"]
OWN_ARMS: tuple[tuple[LearntFrom, ArmName], ...] = (("own_originals", "raw"), ("own_set", "distilled"))
Share = Annotated[float, Field(ge=0, le=1)]
Patients = Annotated[int, Field(ge=0, lt=2**31)]
NOT_GIVEN = "the site gives none"


class Figure(Record):
    """A share between 0 and 1 with its interval; null for what the site could not estimate."""

    value: Share | None = None
    low: Share | None = None
    high: Share | None = None

    @model_validator(mode="after")
    def _lies_in_its_interval(self) -> Figure:
        told = [one for one in (self.low, self.value, self.high) if one is not None]
        if told != sorted(told):
            raise ValueError("a figure lies outside its interval")
        return self

    @classmethod
    def of(cls, estimate: Estimate) -> Figure:
        """The same without the reason, which is text."""
        return cls(value=estimate.value, low=estimate.low, high=estimate.high)

    @property
    def estimate(self) -> Estimate:
        """As tables take it."""
        whole = None not in (self.value, self.low, self.high)
        return Estimate(self.value, self.low, self.high, "" if whole else NOT_GIVEN)


class HomeRow(Record):
    """What networks that learnt from one source are worth at the site."""

    learnt_from: LearntFrom
    macro_auc: Figure
    accuracy: Figure


class HomeFigures(Record):
    """What a site found on the test patients of its own corpus, who had no part in any set."""

    hidden: bool
    """A class has too few test patients: then nothing else is told."""
    confidence: Annotated[float, Field(gt=0, lt=1)]
    class_patients: Annotated[tuple[Patients, ...], Field(max_length=1000)] = ()
    """Test patients with an image of each class, in the order of the recipe's classes."""
    rows: Annotated[tuple[HomeRow, ...], Field(max_length=3)] = ()

    @model_validator(mode="after")
    def _hides_all_or_nothing(self) -> HomeFigures:
        if self.hidden and (self.rows or self.class_patients):
            raise ValueError("figures are told that should be hidden")
        if not self.hidden and not self.rows:
            raise ValueError("no figure is told, and none is hidden")
        if len({row.learnt_from for row in self.rows}) < len(self.rows):
            raise ValueError("a source is there twice")
        return self


def smallest_cell(recipe: Recipe) -> int:
    """Fewest test patients of a class for whom figures are told: the recipe's number, and never less than shipped."""
    return max(recipe.evaluate.smallest_cell, EvaluateRecipe().smallest_cell)


def home_figures(tested: Evaluation, own: Evaluation | None, recipe: Recipe) -> HomeFigures:
    """What leaves of a test at home.

    All is hidden where a class has fewer test patients than `smallest_cell`: with two classes, an area under the curve
    is one of few patients as soon as either class has few.

    Args:
        tested: the classifier of the exchange on the site's test patients.
        own: networks that the site trained on its originals and on its own set, on the same patients; None where it
            made no set.
        recipe: which all sites agreed to.
    """
    if any(0 < patients < smallest_cell(recipe) for patients in tested.class_patients):
        return HomeFigures(hidden=True, confidence=tested.confidence)
    found: list[tuple[LearntFrom, Evaluation | None, ArmName]] = [("exchange", tested, "distilled")]
    found += [(source, own, arm) for source, arm in OWN_ARMS]
    rows = [
        HomeRow(learnt_from=source, macro_auc=Figure.of(result.macro_auc), accuracy=Figure.of(result.accuracy))
        for source, evaluation, arm in found
        if evaluation is not None and (result := evaluation.arm(arm)) is not None
    ]
    return HomeFigures(
        hidden=False, confidence=tested.confidence, class_patients=tested.class_patients, rows=tuple(rows)
    )


def tells_too_much(figures: HomeFigures, recipe: Recipe) -> bool:
    """Whether a site told of a class with too few patients, or of other classes or intervals than the recipe's."""
    few = any(0 < patients < smallest_cell(recipe) for patients in figures.class_patients)
    other = len(figures.class_patients) != len(recipe.data.classes) or figures.confidence != recipe.evaluate.confidence
    return not figures.hidden and (few or other)
