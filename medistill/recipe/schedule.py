"""The schedule section of a recipe: how every arm gets the training that suits it best."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medistill.recipe.section import AtMost, Count, Positive, Section

LEAST_PENALTY, MOST_PENALTY = 1e-6, 1e6
"""L2 penalties between which float64 finds the one minimum."""
Penalised = Annotated[float, Field(ge=LEAST_PENALTY, le=MOST_PENALTY)]
Penalties = Annotated[tuple[Penalised, ...], Field(min_length=1, max_length=20)]


class ScheduleRecipe(Section):
    """How long, how fast and in which batches the networks of each arm are trained.

    What suits a thousand images starves twenty or overfeeds them, so each arm gets its own, found in the same way for
    all, on patients who are not tested."""

    choose: Literal["fixed", "validation"] = "validation"
    """`validation` searches among the values below for each arm, and gives each its best; `fixed` takes `evaluate.lr`
    and `evaluate.epochs`, or `raw_lr` and `raw_epochs`, and `evaluate.batch_size`, as published protocols do, and for a
    probe `penalty`."""
    rates: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=10)] = (0.01, 0.03)
    """Learning rates to try; the learned rate of a distilled set is tried beside them on that set."""
    batch_sizes: Annotated[tuple[Count, ...], Field(min_length=1, max_length=10)] = (32,)
    """Images an update to try; a smaller set is taken whole."""
    updates: Annotated[Count, AtMost(20_000)] = 250
    """Updates of the shortest trainings that are tried; as many as show every image once, where that is more."""
    most_updates: Annotated[Count, AtMost(100_000)] = 8000
    """Updates beyond which no training is made longer; an arm whose score still rises there is marked."""
    networks: Annotated[int, Field(ge=1, le=20), AtMost(20)] = 3
    """Networks trained for each candidate."""
    least_gain: Annotated[float, Field(ge=0, lt=1)] = 0.005
    """Rise of the macro AUC by which a training of twice the length must beat the best shorter one for the search to go
    on; a tenth of the usual margin of non-inferiority."""
    unfinished_gain: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Rise of the macro AUC by which a training of `most_updates` must beat one of half its length for the arm to be
    marked as not trained to its end; a fifth of the usual margin of non-inferiority."""
    few_patients: Count = 300
    """With fewer validation patients than this, other training patients help to choose: those whose images an arm was
    not given, and for all originals each third of the patients in turn (cross-validation)."""
    penalties: Penalties = (0.01, 0.1, 1.0, 10.0, 100.0)
    """L2 penalties to try for a probe, a linear layer on an encoder's features, which is fitted to its end: there is
    nothing else to choose. Half of one times the squared weights is added to the mean loss."""
    penalty: Penalised = 0.1
    """L2 penalty of a probe where none is chosen; and, always, of the last layer that a network gets once it was
    pretrained on target vectors (`krr-st`)."""
