"""The gate: each figure of an audit against its threshold, and what follows for the set."""

from __future__ import annotations

from collections.abc import Sequence

from medistill.privacy.audit import CopyFigures, Criterion, ResidueFigures, Verdict
from medistill.privacy.membership import Membership, MembershipAttack
from medistill.recipe import AuditRecipe

NOISE = "the set began as noise, so nothing of a starting image can be left"
SPACE_NAMES = {"pixels": "pixels", "structure": "structural similarity", "features": "network features"}
"""Space -> how a sentence calls it."""
TRACED_BY_CHANCE = 0.05
"""Share of the images that chance traces to the image that they began as, at a p-value of 0.05."""
WITHIN = "its interval holds what chance gives"
ATTACKED_AT = 100
"""The attacks are judged where they may be wrong about one non-member in so many."""
NOT_ATTACKED = "membership inference was not tried, and a set that passes every search for copies can still fall to it"


def evidence(images: int, patients: int, unit: str, thresholds: AuditRecipe) -> Criterion:
    """Whether there are enough people who had no part in the set to compare with."""
    least, reason = thresholds.least_held_out, ""
    if not images:
        reason = "the corpus has no held-out image: nothing can be compared with the training images"
    elif images < least:
        reason = f"{images} held-out {'image is' if images == 1 else 'images are'} too few; {least} are asked for"
    elif unit == "patient" and patients < least:
        reason = (
            f"the {images} held-out images are of {patients} {'patient' if patients == 1 else 'patients'} only; "
            f"{least} are asked for"
        )
    verdict: Verdict = "not enough evidence" if reason else "pass"
    return Criterion(f"Held-out {unit}s", min(images, patients), least, verdict, reason)


def no_copies(figures: CopyFigures, thresholds: AuditRecipe) -> Criterion:
    """Whether the share of copies, in one space, is small enough."""
    share = figures.copies / figures.images
    verdict: Verdict = "fail" if share > thresholds.most_copies else "pass"
    return Criterion(f"Copies in {SPACE_NAMES[figures.space]}", share, thresholds.most_copies, verdict, "")


def no_residue(
    figures: ResidueFigures | None, starts_from: str, why_none: str, thresholds: AuditRecipe
) -> tuple[Criterion, ...]:
    """Whether images single out the real image that they began as, or are traceable to it beyond chance.

    The second fails where the whole interval of the share lies above what chance gives.
    """
    names = ("Images that single out the real one they began as", "Images traceable to it (p of 0.05 at most)")
    limits = (thresholds.most_recovered, TRACED_BY_CHANCE)
    if figures is None and starts_from == "noise":
        return (Criterion(names[0], 0.0, limits[0], "pass", NOISE),)
    if figures is None or figures.recovered.value is None or figures.traced.value is None:
        return (Criterion(names[0], None, limits[0], "not enough evidence", why_none),)
    recovered, traced = figures.recovered.value, figures.traced.value
    clear = figures.traced.low is not None and figures.traced.low > TRACED_BY_CHANCE
    return (
        Criterion(names[0], recovered, limits[0], "fail" if recovered > limits[0] else "pass", ""),
        Criterion(names[1], traced, limits[1], "fail" if clear else "pass", "" if clear or not traced else WITHIN),
    )


def membership_hidden(membership: Membership | None, thresholds: AuditRecipe) -> tuple[Criterion, ...]:
    """Whether no attack on networks trained on the set finds its members, and none repeats a canary's label."""
    if membership is None:
        return (Criterion("Membership inference", None, thresholds.most_found, "not enough evidence", NOT_ATTACKED),)
    attacks = [_attack_fails(attack, thresholds) for attack in membership.attacks if attack.source == "distilled"]
    canaries = []
    for test in membership.canaries:
        if test.source == "distilled":
            least = thresholds.canary_chance
            verdict: Verdict = "pass" if test.chance is not None and test.chance >= least else "fail"
            reason = ""
            if test.chance is None:
                verdict, reason = "not enough evidence", "every shadow held every canary, or none did"
            canaries.append(Criterion("Chance of as many repeated canaries", test.chance, least, verdict, reason))
    return (*attacks, *canaries)


def _attack_fails(attack: MembershipAttack, thresholds: AuditRecipe) -> Criterion:
    """Fail where the whole interval of what is found lies above the threshold, pass where the figure does not."""
    name, most = f"Patients found ({attack.name} attack)", thresholds.most_found
    rates = [one.rate for cell in attack.cells[:1] for one in cell.detections if one.one_in == ATTACKED_AT]
    if attack.reason or not rates or rates[0].value is None:
        why = attack.reason or (rates[0].reason if rates else "the attack gives no figure")
        return Criterion(name, None, most, "not enough evidence", why)
    found, low = rates[0].value, rates[0].low or 0.0
    if low > most:
        return Criterion(name, found, most, "fail", "")
    if found > most:
        return Criterion(name, found, most, "not enough evidence", "its interval reaches below the threshold")
    return Criterion(name, found, most, "pass", "")


def decide(criteria: Sequence[Criterion]) -> Verdict:
    """Fail where any criterion fails, pass where all pass, else not enough evidence."""
    verdicts = {criterion.verdict for criterion in criteria}
    if "fail" in verdicts:
        return "fail"
    return "not enough evidence" if "not enough evidence" in verdicts or not verdicts else "pass"
