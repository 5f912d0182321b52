"""DP accounting: what a run spends, and the noise that keeps it within a budget.

One release of class statistics is one Gaussian mechanism, and its account is exact (`gaussian_mechanism`). All experts
are trained on the same patients, so their updates compose: epochs * updates an epoch * experts applications of the
Gaussian mechanism to a Poisson sample. The PRV accountant (Gopi, Lee and Wutschitz 2021) of Opacus composes them
numerically and gives an upper bound. Neighbours differ in one unit that is added or removed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from medistill.artifacts.provenance import Provenance
from medistill.errors import ArtifactError, UsageError
from medistill.recipe import UNITS, PrivacyRecipe, Recipe, Unit, experts_of
from medistill.statistics.gaussian_mechanism import epsilon_of, joint_sigma, sigma_for

MECHANISM = "DP-SGD: Gaussian mechanism on Poisson samples, each unit's mean gradient clipped"
ACCOUNTANT = "PRV"
ONE_RELEASE = "one Gaussian release of class statistics, each unit's clipped features averaged"
ANALYTIC = "analytic Gaussian mechanism"
PUBLIC_CHOICE = "validation split, declared public"
GRID = 100
"""Steps of sigma in a unit: it is rounded up to the next one."""
LOWEST, FIRST, HIGHEST = 50, 400, 102_400
"""Smallest, first and largest sigma that is tried, in steps of the grid. Below one half, where no budget in use lies,
the accountant needs more and more memory."""
LARGEST = 1e15
"""Largest number that a guarantee from outside may state, and the inverse of the smallest, delta apart: a double can be
worked with between them, and no guarantee that is worth the name lies beyond."""
MOST_COUNT = 10**12
"""Most updates, experts or units that it may state."""
ERROR = 0.01
"""The accountant's numerical error as a share of the budget; its bound includes the error."""


@dataclass(frozen=True)
class Guarantee:
    """What differential privacy a distilled set has: (epsilon, delta) for one unit of the training split.

    Attributes:
        epsilon: what was spent, by the accountant's upper bound; at most the budget.
        delta: probability with which that bound may fail.
        unit: "patient", "study" or "image".
        mechanism: what noise was put on: `MECHANISM` for updates of experts, `ONE_RELEASE` for class statistics. One
            release has a sample rate, steps and experts of 1: all units take part, once.
        accountant: what accounted for it.
        sigma: standard deviation of the noise in units of the most that one unit can move what it is put on.
        clip: largest norm of what one unit adds to an update; of one release, of an image's projected features.
        sample_rate: probability with which an update takes a unit.
        steps: updates of one expert.
        experts: how many there are; all of them compose.
        units_public: the public number of units, of which the sample rate of an update is a share.
        choice: how the set was chosen among those on the way.
    """

    epsilon: float
    delta: float
    unit: Unit
    mechanism: str
    accountant: str
    sigma: float
    clip: float
    sample_rate: float
    steps: int
    experts: int
    units_public: int
    choice: str

    @classmethod
    def of(cls, recipe: Recipe) -> Guarantee | None:
        """The guarantee of a run under a recipe; None where the recipe asks for none.

        Raises:
            UsageError: the budget is too small for so many updates, or the extra ``dp`` is not installed.
        """
        privacy = recipe.privacy
        if privacy.mode != "dp":
            return None
        if recipe.method.one_release:
            return cls._of_one_release(privacy)
        experts = experts_of(recipe.method)
        rate, steps = experts.batch_size / privacy.units, experts.epochs * steps_an_epoch(recipe)
        sigma, epsilon = solve_sigma(privacy.epsilon, privacy.delta, rate, steps * experts.count)
        return cls(
            epsilon=epsilon,
            delta=privacy.delta,
            unit=privacy.unit,
            mechanism=MECHANISM,
            accountant=ACCOUNTANT,
            sigma=sigma,
            clip=privacy.clip,
            sample_rate=rate,
            steps=steps,
            experts=experts.count,
            units_public=privacy.units,
            choice={"off": "last outer step", "public": PUBLIC_CHOICE}[privacy.choose],
        )

    @classmethod
    def _of_one_release(cls, privacy: PrivacyRecipe) -> Guarantee:
        sigma = sigma_for(privacy.epsilon, privacy.delta)
        return cls(
            epsilon=epsilon_of(sigma, privacy.delta),
            delta=privacy.delta,
            unit=privacy.unit,
            mechanism=ONE_RELEASE,
            accountant=ANALYTIC,
            sigma=sigma,
            clip=privacy.clip,
            sample_rate=1.0,
            steps=1,
            experts=1,
            units_public=privacy.units,
            choice="last outer step, without a look at patients",
        )

    @property
    def validation_is_public(self) -> bool:
        """Whether what was chosen by the validation split may be used, since that was declared public."""
        return self.choice == PUBLIC_CHOICE

    @classmethod
    def of_set(cls, provenance: Provenance) -> Guarantee | None:
        """Return the guarantee that a set states; None where it states none.

        Raises:
            ArtifactError: what it states is no guarantee.
        """
        stated = provenance.differential_privacy
        if stated is None and not provenance.states("differential_privacy"):
            return None
        return cls.from_json(stated or {})

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Guarantee:
        """The inverse of ``as_json``.

        Raises:
            ArtifactError: not a guarantee: a field is missing, of another kind, beyond `LARGEST` or `MOST_COUNT`, or
                promises nothing.
        """
        try:
            found = cls(**stored)
            numbers = (found.epsilon, found.delta, found.sigma, found.clip, found.sample_rate)
            counts = (found.steps, found.experts, found.units_public)
            texts = (found.mechanism, found.accountant, found.choice)
            sound = (
                all(type(number) in (int, float) and 0 < number <= LARGEST for number in numbers)
                and min(found.epsilon, found.sigma, found.clip, found.sample_rate) >= 1 / LARGEST
                and all(type(number) is int and 0 < number <= MOST_COUNT for number in counts)
                and all(isinstance(text, str) for text in texts)
                and found.unit in UNITS
                and found.delta < 1
                and found.sample_rate <= 1
            )
        except TypeError:
            sound = False
        if not sound:
            raise ArtifactError(
                "the differential privacy that a distilled set states is not as medistill writes it",
                expected=f"every field, numbers from {1 / LARGEST:g} to {LARGEST:g}, counts from 1 to {MOST_COUNT:g}",
                do="fetch the set again, and do not rely on a guarantee until then",
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @property
    def epsilon_text(self) -> str:
        """Epsilon to two decimals, rounded up: a smaller number would promise too much."""
        return rounded_up(self.epsilon)

    @property
    def sentence(self) -> str:
        """What is promised, and of what."""
        if self.mechanism == ONE_RELEASE:
            return (
                "The distilled images, labels and class statistics are differentially private: "
                f"epsilon = {self.epsilon_text}, delta = {self.delta:.3g} for one {self.unit} of the training split "
                f"(one Gaussian release of class statistics, {self.accountant}, sigma = {self.sigma:g}); all else was "
                "computed from that release and from public data. Hashes and the report are not covered."
            )
        return (
            "The distilled images, labels and learning rate are differentially private: "
            f"epsilon = {self.epsilon_text}, delta = {self.delta:.3g} for one {self.unit} of the training split "
            f"(DP-SGD, {self.accountant} accountant, sigma = {self.sigma:g}, {self.experts} experts composed, "
            f"{self.units_public} {UNITS[self.unit]} declared). Counts, hashes and the report are not covered."
        )


def rounded_up(epsilon: float) -> str:
    """To two decimals; a smaller number would promise too much."""
    return f"{math.ceil(100 * epsilon) / 100:g}"


def steps_an_epoch(recipe: Recipe) -> int:
    """Updates an epoch under differential privacy: as many as use each unit once on average, by its public number."""
    return math.ceil(recipe.privacy.units / experts_of(recipe.method).batch_size)


@lru_cache
def solve_sigma(epsilon: float, delta: float, rate: float, steps: int) -> tuple[float, float]:
    """The smallest sigma on the grid with which ``steps`` updates stay within a budget, and what they spend.

    Args:
        epsilon: the budget, above 0.
        delta: in (0, 1).
        rate: probability with which an update takes a unit, in (0, 1].
        steps: updates of all experts together.

    Returns:
        sigma in units of the clip, and the accounted epsilon, which is at most ``epsilon``.

    Raises:
        UsageError: no sigma that is tried is enough.
    """

    def spent(on_grid: int) -> float:
        return spent_epsilon(on_grid / GRID, delta, rate, steps, error=ERROR * epsilon)

    low, high, reached = LOWEST - 1, FIRST, spent(FIRST)
    while reached > epsilon:
        if high == HIGHEST:
            raise UsageError(
                f"a budget of epsilon = {epsilon:g} with delta = {delta:g} is too small for {steps} updates",
                expected=f"one that noise of {HIGHEST / GRID:g} clips can keep",
                do="raise privacy.epsilon (--dp-epsilon), or lower method.experts.count, "
                "method.experts.epochs or method.experts.batch_size",
            )
        low, high = high, 2 * high
        reached = spent(high)
    while high - low > 1:
        middle = (low + high) // 2
        if (at_middle := spent(middle)) <= epsilon:
            high, reached = middle, at_middle
        else:
            low = middle
    return high / GRID, reached


def spent_epsilon(sigma: float, delta: float, rate: float, steps: int, *, error: float = 0.01) -> float:
    """Upper bound of the epsilon that ``steps`` updates spend together.

    Args:
        sigma: noise in units of the clip.
        delta: in (0, 1).
        rate: probability with which an update takes a unit.
        steps: updates.
        error: largest error of the numerical composition, which is added.

    Raises:
        UsageError: the extra ``dp`` is not installed, or the accountant cannot tell.
    """
    return composed_epsilon([(sigma, rate, steps)], delta, error=error)


def composed_epsilon(history: Sequence[tuple[float, float, int]], delta: float, *, error: float) -> float:
    """The same of updates of several kinds, each given as its noise, its rate and how many there are."""
    if all(rate == 1 for _, rate, _ in history):  # Gaussian mechanisms of all units: exact without an accountant
        return epsilon_of(joint_sigma(sigma / math.sqrt(steps) for sigma, _, steps in history), delta)
    try:
        from opacus.accountants import PRVAccountant  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise UsageError(
            "differential privacy was asked for, but Opacus is not installed, so no epsilon can be accounted",
            expected="the extra dp of medistill",
            do="run: pip install 'medistill[dp]'",
        ) from None
    accountant = PRVAccountant()
    accountant.history = list(history)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a first, rough bound, and of log 0 where a probability is 0
        try:
            return float(accountant.get_epsilon(delta, eps_error=error))
        except (RuntimeError, ValueError, MemoryError) as failure:
            raise UsageError(
                f"the accountant cannot tell what {sum(steps for _, _, steps in history)} updates with noise of "
                f"{' and '.join(f'{sigma:g}' for sigma, _, _ in history)} clips spend "
                f"({str(failure).rstrip('.')}), so no epsilon can be stated",
                expected="a budget and a number of updates that it can compose to within that accuracy",
                do="take privacy.epsilon and privacy.delta nearer to 8 and 1e-5, or fewer experts "
                "(method.experts.count)",
            ) from None
