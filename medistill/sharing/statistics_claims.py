"""Claims on class statistics: whether noise and clip, as their record states them, bear out the guarantee of the set.

Let sums, counts and second moments have the shares a, b and m of the budget, a + b + m = 1 (`contributions`). With
sensitivity 1 and noise sigma their deviations are s = sigma R / √a, c = sigma / √b and q = sigma R² / √m, R being the
clip. So whatever the shares are,

    (R / s)² + (1 / c)² + (R² / q)²  =  1 / sigma²,

and less noise anywhere makes the left side larger. In a sum of releases with noise sigma_i variances add. Let S be the
sum of sigma_i²; since 1 / x is convex,

    S R² / s²  ≤  Σ w_i a_i,      S R⁴ / q²  ≤  Σ w_i m_i,      w_i = sigma_i² / S,

and where some release j counted with noise, b_j ≥ sigma_j² / c². The three are therefore at most 1 together, with
min_i sigma_i⁴ / (S c²) for the counts; of one release this is the equation above. All of it is what the sender says:
that noise was drawn at all, no figure shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from medistill.artifacts.class_statistics import ClassStatistics
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.encoder_summary import SHORT
from medistill.artifacts.provenance import MergedPart, SharedProvenance
from medistill.errors import ArtifactError
from medistill.privacy.accounting import ANALYTIC, LARGEST, ONE_RELEASE, Guarantee
from medistill.recipe.former import as_written_now
from medistill.statistics.gaussian_mechanism import PLACES, sigma_for

OFF = 1e-3
"""By how much the shares may come to more than 1: a sigma is rounded to steps, and an epsilon to doubles."""
DEVIATIONS = 6
"""By how many standard deviations noise may have moved a number."""
ROUNDED = 2
"""By what factor there may be more units than a public count, which is a rounded number, says."""


def check_statistics(provenance: SharedProvenance, distilled: DistilledSet) -> None:
    """Refuse class statistics that contradict the guarantee, or the guarantees of the sources, that the set states.

    Args:
        provenance: what is said of the set.
        distilled: the set.

    Raises:
        ArtifactError: no guarantee is stated for them, or one of another mechanism, unit or clip; there is less noise
            on sums, counts or second moments than it needs; they are larger than the clip allows; or the recipe names
            another space.
    """
    statistics = distilled.statistics
    if statistics is None:
        return
    parts = provenance.sources or ()
    problem = (
        _sum_problem(provenance, parts, distilled, statistics)
        if parts
        else _release_problem(provenance, distilled, statistics)
    )
    if problem := problem or _size_problem(statistics) or _space_problem(provenance, statistics):
        raise ArtifactError(
            f"the set's class statistics contradict what it says of its privacy: {problem}",
            expected="noise on every number, a clip, a unit and a space that follow from the stated guarantee",
            do="do not rely on the guarantee; ask the sender how they were released",
        )


def _release_problem(provenance: SharedProvenance, distilled: DistilledSet, statistics: ClassStatistics) -> str:
    """What contradicts that they are one release under the guarantee of the set."""
    record = statistics.record
    if provenance.differential_privacy is None:
        return "no guarantee of privacy is stated for them"
    claim = Guarantee.from_json(provenance.differential_privacy)
    told = (claim.mechanism, claim.accountant, claim.sample_rate, claim.steps, claim.experts)
    if told != (ONE_RELEASE, ANALYTIC, 1, 1, 1):
        return "the guarantee is not that of one release of class statistics"
    for what, theirs, stated in (
        ("unit", record.unit, claim.unit),
        ("clip", record.clip, claim.clip),
        ("number of releases", record.releases, 1),
    ):
        if theirs != stated:
            return f"their {what} is {theirs}, and by the guarantee it is {stated}"
    if len(set(record.sums_noise)) > 1 or len(set(record.counts_noise)) > 1:
        return "there is less noise on one class than on another"
    if not any(record.counts_noise) and not _are_public(statistics, provenance, distilled.class_names):
        return "there is no noise on the counts, and they are not those that the recipe names as public"
    everybody = [[claim.sigma] for _ in record.class_names]
    return _noise_problem(statistics, everybody, [claim.sigma])


def _sum_problem(
    provenance: SharedProvenance, parts: Sequence[MergedPart], distilled: DistilledSet, statistics: ClassStatistics
) -> str:
    """What contradicts that they are the sum of one release of each source, under its guarantee."""
    record, sigmas = statistics.record, []
    if provenance.differential_privacy is not None:
        return "they are united from several sets, and one guarantee is stated for all"
    if record.releases != len(parts):
        return f"they are of {record.releases} releases, and the set is united from {len(parts)}"
    for number, part in enumerate(parts, 1):
        if part.epsilon is None or part.delta is None:
            return f"they hold those of source {number}, for which no guarantee is stated"
        if not (1 / LARGEST <= part.epsilon <= LARGEST and 1 / LARGEST <= part.delta < 1):
            return f"the guarantee of source {number} is none"
        if part.unit != record.unit:
            return f"their unit is {record.unit}, and that of source {number} is another"
        sigmas.append(max(sigma_for(part.epsilon, part.delta) - 1 / PLACES, 1 / PLACES))
    digests = [part.statistics for part in parts]
    if None in digests or len(set(digests)) < len(digests):
        return "a source is said to have had none, or the same as another"
    if any(
        noise == 0 and count != round(count)
        for noise, count in zip(record.counts_noise, statistics.counts, strict=True)
    ):
        return "there is no noise on a count, and it is no public, whole number"
    holders = []
    for name in record.class_names:
        label = distilled.class_names.index(name)
        held = [label in distilled.labels[part.first : part.first + part.images] for part in parts]
        holders.append([sigma for sigma, has in zip(sigmas, held, strict=True) if has] or [min(sigmas)])
    return _noise_problem(statistics, holders, sigmas)


def _noise_problem(statistics: ClassStatistics, holders: Sequence[Sequence[float]], everybody: Sequence[float]) -> str:
    """Where there is less noise than sigmas make: of the releases that hold each class, and of all of them."""
    record, clip = statistics.record, statistics.record.clip
    whole = math.fsum(sigma**2 for sigma in everybody)
    with np.errstate(all="ignore"):  # what is not finite is too much
        of_second = np.float64(0 if statistics.second is None else whole)
        of_second = of_second * np.square(clip / np.float64(record.second_noise) * clip) if of_second else of_second
        for name, sigmas, sums, counts in zip(
            record.class_names, holders, record.sums_noise, record.counts_noise, strict=True
        ):
            total, least = math.fsum(sigma**2 for sigma in sigmas), min(sigmas) ** 2
            spent = total * np.square(clip / np.float64(sums))
            spent += least * (least / total) * np.square(1 / np.float64(counts)) if counts else 0
            if len(sigmas) == len(everybody):
                spent += of_second
            if not max(spent, of_second) <= 1 + OFF:
                return (
                    f"the noise on the sums of {name} is {sums:.3g}, on its count {counts:.3g}, on second moments "
                    f"{record.second_noise:.3g}, and that is less than the guarantee needs on all of them together"
                )
    return ""


def _size_problem(statistics: ClassStatistics) -> str:
    """Whether they are larger than so many units of the clip, and noise, can make them."""
    record, dimension = statistics.record, statistics.projection.dimension
    counts, sums = np.array(record.counts_noise), np.array(record.sums_noise)
    most = record.clip * (ROUNDED * statistics.sizes + DEVIATIONS * counts) + DEVIATIONS * math.sqrt(dimension) * sums
    for name, norm, limit in zip(record.class_names, np.linalg.norm(statistics.sums, axis=1), most, strict=True):
        if not norm <= limit:
            return (
                f"the sums of {name} have the norm {norm:.3g}, and with their clip, count and noise at most {limit:.3g}"
            )
    if statistics.second is None:
        return ""
    units = ROUNDED * statistics.sizes.sum() + DEVIATIONS * np.linalg.norm(counts)
    limit, norm = (
        record.clip**2 * units + DEVIATIONS * dimension * record.second_noise,
        np.linalg.norm(statistics.second),
    )
    if not norm <= limit:
        return f"the second moments have the norm {norm:.3g}, and with their clip, counts and noise at most {limit:.3g}"
    return ""


def _space_problem(provenance: SharedProvenance, statistics: ClassStatistics) -> str:
    """Whether the recipe names another fitted space than theirs."""
    named, projection = _section(provenance, "network").get("projection"), statistics.projection
    theirs = projection.digest if projection.record.fitted else ""
    if isinstance(named, str) and named != theirs:
        return (
            f"they are in the space {theirs[:SHORT] or 'of the encoder'}, and the recipe names "
            f"{named[:SHORT] or 'none'}"
        )
    return ""


def _are_public(statistics: ClassStatistics, provenance: SharedProvenance, class_names: Sequence[str]) -> bool:
    """Whether the counts are those that the recipe gives, in the order of the set's classes."""
    units = _section(provenance, "method").get("class_units")
    if not isinstance(units, list | tuple) or len(units) != len(class_names):
        return False
    stated = dict(zip(class_names, units, strict=True))
    return [stated[name] for name in statistics.record.class_names] == statistics.counts.tolist()


def _section(provenance: SharedProvenance, name: str) -> dict[str, Any]:
    """Return a section of the stated recipe; empty where there is none."""
    found = as_written_now(provenance.recipe or {}).get(name)
    return found if isinstance(found, dict) else {}
