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


class SelectionRecipe(Section):
    """Which training images experts see when, by difficulty; at rest all of them at all times."""

    start_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each class's images, the easiest, that an expert starts with (PAD; `init_ratio`); 1: all."""
    grown_at: Fraction = 0.2
    """Share of the epochs after which all take part (`add_end_epoch`, 20 of 100)."""
    drop_first: Fraction = 0.0
    """Share of each class's images, the easiest, that is left out later (`rm_easy_ratio_first`)."""
    drop_first_at: Fraction = 0.4
    """Share of the epochs after which it is (`rm_epoch_first`, 40 of 100)."""
    drop_last: Fraction = 0.0
    """The share that is left out towards the end (`rm_easy_ratio_second`)."""
    drop_last_at: Fraction = 0.6
    """Share of the epochs after which it is (`rm_epoch_second`, 60 of 100)."""
    networks: Annotated[Count, AtMost(100)] = 3
    """Networks whose errors tell how difficult an image is."""
    epochs: Annotated[Count, AtMost(1000)] = 5
    """Epochs that each of them is trained for."""

    @property
    def selects(self) -> bool:
        """Whether any epoch trains on less than all."""
        return self.start_share < 1 or self.drop_first > 0 or self.drop_last > 0


class FlatExpertsRecipe(ExpertsRecipe):
    """Experts that are trained to where the loss is flat; at 0 they are plain ones."""

    sharpness: Annotated[float, Field(ge=0)] = 0.0
    """Radius rho of sharpness-aware training, so that experts end where the loss is flat (FTD); 0 is plain SGD."""
    surrogate_gap: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the surrogate gap in it (alpha of GSAM); 0 is SAM."""


class SelectedExpertsRecipe(FlatExpertsRecipe):
    """Experts that see the training images by difficulty."""

    selection: SelectionRecipe = SelectionRecipe()
