"""Judgement: what the comparison comes to, by rules that were declared before anything was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medistill.evaluate.arm import ArmStatistics, PreparedArm
from medistill.evaluate.evaluation import ArmResult, Difference, NonInferiority, Superiority
from medistill.evaluate.intervals import Estimate, percentile_estimate
from medistill.recipe.arms import ArmName

GUESSING = 0.5
"""AUC of a network that knows nothing: to be no worse than such a one is no merit."""
Entry = tuple[PreparedArm, ArmStatistics, ArmStatistics]
"""An arm, its statistics on the patients as they are, and on the resamples."""


def non_inferiority(
    arms: Mapping[ArmName, ArmResult],
    differences: Sequence[Difference],
    margin: float,
    unfinished: Sequence[ArmName],
    absent: str = "",
) -> tuple[NonInferiority, str]:
    """Whether the interval of distilled minus raw in macro AUC lies above ``-margin``; and why it cannot be judged.

    A verdict is on all classes: there is none where the test split lacks one, which the sentence ``absent`` tells.
    Where networks on all originals were not trained to their end (``unfinished``), the set has no opponent at his best.

    Where the difference has an interval and raw has none, raw has the same value, such as 1, in every resample.
    """
    against_raw = next((difference.macro_auc for difference in differences if difference.minus == "raw"), None)
    if against_raw is None:
        return "cannot be judged", "the arms 'distilled' and 'raw' were not both trained"
    if absent or against_raw.low is None:
        return "cannot be judged", absent or against_raw.reason
    if "raw" in unfinished:
        return "cannot be judged", (
            "networks on all originals were not trained to their end: their score still rose at the longest training "
            "that schedule.most_updates allows"
        )
    reference = arms["raw"].macro_auc
    if reference.value is None or (reference.value if reference.low is None else reference.low) <= GUESSING:
        return "cannot be judged", "networks trained on all originals do not clearly beat guessing here"
    return ("shown" if against_raw.low > -margin else "not shown"), ""


def beats_random(
    arms: Mapping[ArmName, ArmResult], differences: Sequence[Difference], absent: str = ""
) -> tuple[Superiority, str]:
    """Whether distilled minus random in macro AUC exceeds the spread of both arms' networks; and why not judged.

    An arm in whose network no random number had a part has no spread, and asks for none.
    """
    gain = next((difference.macro_auc for difference in differences if difference.minus == "random"), None)
    if gain is None:
        return "cannot be judged", "the arms 'distilled' and 'random' were not both trained"
    if absent or gain.value is None:
        return "cannot be judged", absent or gain.reason
    drawn = [arms[arm] for arm in ("distilled", "random") if not arms[arm].settled]
    spreads = [arm.macro_auc_spread for arm in drawn if arm.macro_auc_spread is not None]
    if not spreads or len(spreads) < len(drawn):
        return "cannot be judged", "a seed spread needs at least 2 networks an arm"
    return ("yes" if gain.value > max(spreads) else "no"), ""


def gap_closed(table: Mapping[ArmName, Entry], confidence: float, *, lacking: str = "") -> Estimate:
    """(distilled - random) / (raw - random) in macro AUC, with its interval from the same resamples.

    ``lacking`` says which classes the resamples often lack.
    """
    needed: tuple[ArmName, ...] = ("raw", "random", "distilled")
    if any(name not in table for name in needed):
        return Estimate.impossible("it needs the arms 'raw', 'random' and 'distilled'")
    if reason := next(filter(None, (table[name][0].rankings.no_macro for name in needed)), ""):
        return Estimate.impossible(reason)
    raw, random, distilled = (table[name][1].macro_auc for name in needed)
    if raw[0] <= random[0]:
        return Estimate.impossible("all originals do no better here than a random part of them")
    raws, randoms, distilleds = (table[name][2].macro_auc for name in needed)
    ratios = np.divide(distilleds - randoms, raws - randoms, out=np.full(len(raws), np.nan), where=raws > randoms)
    value = float((distilled[0] - random[0]) / (raw[0] - random[0]))
    estimate = percentile_estimate(
        value, ratios, patients=table["raw"][0].patients, confidence=confidence, lacking=lacking
    )
    if estimate.low is None and np.sum(raws <= randoms) > np.isnan(raws - randoms).sum():
        return Estimate(value, reason="in many resamples of the patients all originals do no better than random ones")
    return estimate


def accuracy_gain(table: Mapping[ArmName, Entry], more: ArmName, less: ArmName, confidence: float) -> Estimate:
    """Accuracy of one arm minus that of another, with its interval from the same resamples."""
    missing = [name for name in (more, less) if name not in table]
    if missing:
        return Estimate.impossible(f"the arm '{missing[0]}' was not trained")
    (_, high, highs), (_, low, lows) = table[more], table[less]
    value, patients = float(high.accuracy[0] - low.accuracy[0]), table[more][0].patients
    return percentile_estimate(value, highs.accuracy - lows.accuracy, patients=patients, confidence=confidence)
