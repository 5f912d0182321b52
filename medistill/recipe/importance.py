"""Importance and masks: how much each parameter of the networks counts in a match of trajectories."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medistill.recipe.section import Count, Fraction, Section


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


class KeptRecipe(Section):
    """Parameters that join a match once a student has come close to an expert in them, and stay (HoP-TM)."""

    threshold: Annotated[float, Field(ge=0)] = 0.0
    """Squared error of a parameter below which it joins, at first (`base_threshold`); 0 matches all from the start."""
    growth: Annotated[float, Field(ge=1)] = 1.3
    """Factor by which the threshold grows (`growing_factor`)."""
    every: Count = 500
    """Outer steps after which it does."""


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
    direction: Literal["descent", "ascent", "frozen", "usefulness"] = "descent"
    """W descends the loss, ascends it, or stays 1 (which is MTT); or it descends the loss on originals of networks
    trained on the images after an outer step under W, by the students of `method.real`."""
    lr: Annotated[float, Field(ge=0)] = 0.001
    """Learning rate of W; by usefulness it is the length of a step, since the gradient is divided by its size of late.
    Measured with descent: from 0.01 on W did harm, see the ledger."""
    momentum: Fraction = 0.5
    """Momentum of W's SGD."""
