"""The experts of a recipe: networks whose training on the originals a method follows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medistill.recipe.section import AtMost, Count, Fraction, Positive, Section


class ExpertsRecipe(Section):
    """Training trajectories on the raw training split."""

    count: Annotated[Count, AtMost(1000)] = 20
    """Number of experts (`num_experts`)."""
    epochs: Annotated[Count, AtMost(1000)] = 20
    """Epochs of each expert (`train_epochs`)."""
    batch_size: Annotated[Count, AtMost(65_536)] = 256
    """Images an update (`batch_train`)."""
    lr: Positive = 0.01
    """Learning rate of SGD (`lr_teacher` of the reference's buffer script)."""
    momentum: Fraction = 0.0
    """Momentum of SGD (`mom`)."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """L2 penalty (`l2`)."""
    store: Literal["float32", "bfloat16"] = "float32"
    """Number format of the snapshots on disk; bfloat16 halves the space. Each value is off by 0.4 % at most, the
    movement that is matched by more (2.7 to 4.7 % of its length on the demo, decision 13)."""


class FlatExpertsRecipe(ExpertsRecipe):
    """Experts that are trained to where the loss is flat; at 0 they are plain ones."""

    sharpness: Annotated[float, Field(ge=0)] = 0.0
    """Radius rho of sharpness-aware training, so that experts end where the loss is flat (FTD); 0 is plain SGD."""
    surrogate_gap: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the surrogate gap in it (alpha of GSAM); 0 is SAM."""
