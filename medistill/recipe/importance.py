"""Importance and masks: how much each parameter of the networks counts in a match of trajectories."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medistill.recipe.section import Fraction, Section


class MaskRecipe(Section):
    """Parameters that a match leaves out by a rule."""

    rule: Literal["none", "unlike", "easy", "hard"] = "none"
    """Parameters left out of a match: those that differ between student and expert by more than a threshold (PP), the
    `share` with the smallest error (PAD), or with the largest."""
    share: Fraction = 0.5
    """Share of the parameters that `easy` and `hard` leave out."""
    until: Fraction = 0.0
    """Share of the outer steps over which that share falls to 0 (HoP-TM's easy to hard); 0 keeps it."""
    likeness: Fraction = 0.1
    """`unlike` leaves a parameter out where its two values have other signs, or where the smaller one is below this
    share of the larger one."""


class ImportanceRecipe(Section):
    """The self-adaptive weights W of IADD (arXiv 2401.15863); its open choices are ours, see the method page."""

    start: Literal["ones", "relative"] = "ones"
    """W starts at 1, or so that each group counts by its error relative to the expert's movement."""
    scale: Literal["linear", "log"] = "linear"
    """Whether SGD moves W or its logarithm."""
    granularity: Literal["tensor", "layer", "scalar"] = "tensor"
    """One weight a parameter tensor, a layer, or a single parameter."""
    constraint: Literal["mean_square", "movement", "none"] = "mean_square"
    """`mean_square` keeps the parameter-weighted mean of w squared at 1, `movement` the mean weighted by the groups'
    squared movement; `none` is the literal reading."""
    direction: Literal["descent", "ascent", "frozen"] = "descent"
    """W descends the loss, ascends it, or stays 1 (which is MTT)."""
    lr: Annotated[float, Field(ge=0)] = 0.001
    """Learning rate of W. Measured: from 0.01 on W did harm, see the ledger."""
    momentum: Fraction = 0.5
    """Momentum of W's SGD."""
