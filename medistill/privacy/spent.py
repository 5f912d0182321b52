"""Spent: what several releases from the same people promise of all of them together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medistill.artifacts.provenance import Provenance
from medistill.errors import ArtifactError, UsageError
from medistill.privacy.accounting import ERROR, Guarantee, composed_epsilon, rounded_up
from medistill.recipe import UNITS, Unit


@dataclass(frozen=True)
class Release:
    """Experts that were trained under differential privacy, whether a set was made of them or not.

    Attributes:
        epsilon: what they spent together.
        delta: probability with which that bound may fail.
        unit: whose presence is hidden.
        sigma: noise in units of the clip.
        sample_rate: probability with which an update takes a unit.
        steps: updates of all of them.
    """

    epsilon: float
    delta: float
    unit: Unit
    sigma: float
    sample_rate: float
    steps: int

    @classmethod
    def of(cls, guarantee: Guarantee, experts: int) -> Release:
        """Of so many of the experts that a guarantee is for; fewer are stated to have spent as much as all."""
        return cls(
            epsilon=guarantee.epsilon,
            delta=guarantee.delta,
            unit=guarantee.unit,
            sigma=guarantee.sigma,
            sample_rate=guarantee.sample_rate,
            steps=guarantee.steps * experts,
        )


@dataclass(frozen=True)
class Spent:
    """What was spent in all, as far as a ledger knows.

    Attributes:
        releases: how many, this one included.
        epsilon: of all together; None where nothing can be promised of all together.
        delta: of all together.
        others_epsilon: of all but this one, 0 where there is none; None likewise.
        others_delta: of all but this one.
        unit: whose presence is hidden; empty where the releases differ in it.
    """

    releases: int
    epsilon: float | None
    delta: float
    others_epsilon: float | None
    others_delta: float
    unit: str

    @classmethod
    def of(cls, others: Sequence[Release], own: Sequence[Release]) -> Spent:
        """Of other releases from people who are in this one too, and of this one, the two in any order.

        Raises:
            ValueError: nothing is of this release.
        """
        if not own:
            raise ValueError("what was spent is asked of no release")
        everything = [*others, *own]
        units = {release.unit for release in everything}
        return cls(
            releases=len(everything),
            epsilon=together(everything),
            delta=math.fsum(release.delta for release in everything),
            others_epsilon=together(others),
            others_delta=math.fsum(release.delta for release in others),
            unit=units.pop() if len(units) == 1 else "",
        )

    @classmethod
    def of_set(cls, provenance: Provenance) -> Spent | None:
        """Return what a set says was spent in all; None where it does not say.

        Raises:
            ArtifactError: what it says cannot be.
        """
        stated = provenance.privacy_spent
        if stated is None and not provenance.states("privacy_spent"):
            return None
        return cls.from_json({} if stated is None else stated.as_json())

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Spent:
        """The inverse of ``as_json``.

        Raises:
            ArtifactError: it says nothing that can be.
        """
        try:
            found = cls(**stored)
            numbers = (found.epsilon, found.others_epsilon, found.delta, found.others_delta)
            sound = (
                type(found.releases) is int
                and found.releases > 0
                and all(n is None or (type(n) in (int, float) and 0 <= n < math.inf) for n in numbers)
                and None not in (found.delta, found.others_delta)
                and found.epsilon != 0
                and found.unit in ("", *UNITS)
                and (found.epsilon is None or (found.unit != "" and found.delta < 1))
            )
        except TypeError:
            sound = False
        if not sound:
            raise ArtifactError(
                "what a distilled set says was spent in all is not as medistill writes it",
                expected="every field, with epsilon and delta finite",
                do="fetch the set again, and do not rely on it until then",
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """What was spent in all, and who says so."""
        if self.releases == 1:
            return (
                "Nothing else was released from these people under differential privacy, as far as the installation "
                "that made this set knows."
            )
        if self.epsilon is None:
            why = "their units differ" if not self.unit else "their deltas add up to 1 or more"
            return (
                f"It is one of {self.releases} releases from the same people, as far as the installation that made "
                f"this set knows; of all together nothing can be stated, since {why}."
            )
        others = "" if self.others_epsilon is None else f" (without this one {rounded_up(self.others_epsilon)})"
        return (
            f"It is one of {self.releases} releases from the same people, as far as the installation that made this "
            f"set knows: together they have spent epsilon = {rounded_up(self.epsilon)}{others}, delta = "
            f"{self.delta:.3g} for one {self.unit}."
        )


def together(releases: Sequence[Release]) -> float | None:
    """The epsilon that releases spend together, at the sum of their deltas; 0 of none.

    It is the smaller of two upper bounds, both of them at that delta: the sum of the epsilons, and what the accountant
    gives for all updates of all releases. None where the units differ or the deltas add up to 1.
    """
    if not releases:
        return 0.0
    delta = math.fsum(release.delta for release in releases)
    if len({release.unit for release in releases}) > 1 or delta >= 1:
        return None
    added = math.fsum(release.epsilon for release in releases)
    if len(releases) == 1:
        return added
    updates: dict[tuple[float, float], int] = {}
    for release in releases:
        kind = (release.sigma, release.sample_rate)
        updates[kind] = updates.get(kind, 0) + release.steps
    history = [(sigma, rate, steps) for (sigma, rate), steps in updates.items()]
    try:
        return min(added, composed_epsilon(history, delta, error=ERROR * added))
    except UsageError:  # the sum holds too where the accountant is not installed, or cannot tell
        return added
