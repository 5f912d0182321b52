"""Curves of one arm for one class: how it ranks, how its probabilities come true, and what acting on them brings."""

from __future__ import annotations

from dataclasses import dataclass

from medistill.recipe.arms import ArmName


@dataclass(frozen=True)
class RocCurve:
    """The ROC curve of one arm for one class, the mean over its networks at each false positive rate.

    Attributes:
        arm: the arm.
        class_name: the class.
        false_positive_rate: (F,), ascending, 0 to 1.
        sensitivity: (F,).
        low: (F,), lower limits of pointwise intervals; empty where there are none.
        high: (F,), upper limits, likewise.
    """

    arm: ArmName
    class_name: str
    false_positive_rate: tuple[float, ...]
    sensitivity: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class CalibrationCurve:
    """How often images are of a class where an arm's networks say so with about the same probability.

    Attributes:
        arm: the arm.
        class_name: the class.
        predicted: (B,), mean probability of each bin, ascending; bins with too few patients are left out.
        observed: (B,), share of the bin's images that are of the class.
        low: (B,), lower limits; empty where there are none.
        high: (B,), upper limits, likewise.
        images: (B,), images in each bin, mean over the networks.
    """

    arm: ArmName
    class_name: str
    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    images: tuple[float, ...]


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit of acting on an arm's probability of a class (Vickers and Elkin 2006).

    Attributes:
        arm: the arm.
        class_name: the class.
        threshold: (T,), probabilities from which one acts, ascending, between 0 and 1.
        net_benefit: (T,), true positives minus weighted false positives per image, mean over the networks.
        low: (T,), lower limits; empty where there are none.
        high: (T,), upper limits, likewise.
        treat_all: (T,), net benefit of acting on every image; acting on none has 0.
    """

    arm: ArmName
    class_name: str
    threshold: tuple[float, ...]
    net_benefit: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    treat_all: tuple[float, ...]
