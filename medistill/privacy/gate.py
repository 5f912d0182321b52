"""The gate: each figure of an audit against its threshold, and what follows for the set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medistill.data.burnt_in_text import too_small_for_letters
from medistill.evaluate.intervals import Estimate
from medistill.privacy.audit import (
    LAXER,
    LETTERS,
    MAKING,
    ORIGINALS_READ,
    OVERLAYS,
    CopyFigures,
    CopyRule,
    Criterion,
    ResidueFigures,
    Verdict,
)
from medistill.privacy.letters import TextFigures, legible_in_set, sees
from medistill.privacy.membership import Membership, MembershipAttack
from medistill.recipe import UNITS, AuditRecipe, Deviation, Unit

NOISE = "the set began as noise, so nothing of a starting image can be left"
MEANS = "no image of the set began as one real image: each began as the mean of several"
SPACE_NAMES = {"pixels": "pixels", "structure": "structural similarity", "features": "network features"}
"""Space -> how a sentence calls it."""
TRACED_BY_CHANCE = 0.05
"""Share of the images that chance traces to the image that they began as, at a p-value of 0.05."""
WITHIN = "its interval holds what chance gives"
ATTACKED_AT = 100
"""The attacks are judged where they may be wrong about one non-member in so many."""
MOST_NUMBERED = 10
"""Images that a reason lists by number."""
LEAST_LIMIT = 0.5
"""Share of audit.copy_ratio to which real images of other patients may lower the limit; below it no search passes."""
ALIKE = (
    "1 in 100 held-out images is itself as near to a training image of another patient as a copy is; look for "
    "duplicates in the corpus, and for patients under two numbers"
)
MORE_HELD_OUT = (
    "more patients, or larger data.val_fraction and data.test_fraction, give more; the set is then made anew"
)
NO_CANARY = (
    "no training image was given a wrong label: audit.canaries is 0, or there are fewer than 20 training patients"
)
LOOK = (
    "text was not looked for in the originals, and images of {side} pixels can carry letters: make the set anew with "
    "data.burnt_in_text=mask, which needs the extra medistill[ocr]"
)
NO_READER = "no reader of text is installed here: run `pip install 'medistill[ocr]'`, then the audit again"
UNSEEN = (
    "the reader does not find a word that was planted in these images, {contrast} grey levels brighter than they are: "
    "that it finds nothing says nothing"
)
DRAWN_HERE = "medistill drew the originals itself, and writes no text into them"
NOT_ATTACKED = "membership inference was not tried, and a set that passes every search for copies can still fall to it"

MAKING_UNKNOWN = "the method was audited; this set's making is not known"

HELD_AGAINST = {
    "Held-out ": "least_held_out",
    "Copies in ": "most_copies",
    "Images that single out ": "most_recovered",
    "Fewest ": "least_cluster",
    "Patients found ": "most_found",
    "AUC (": "most_auc",
    "Membership inference": "most_found",
    "Chance of as many ": "canary_chance",
}
"""How the names of the criteria begin -> the setting that their figure is held against."""


def contradicted(criterion: Criterion, thresholds: Mapping[str, float]) -> bool:
    """Whether a criterion was held against another threshold than the audit says that it had."""
    names = [setting for start, setting in HELD_AGAINST.items() if criterion.name.startswith(start)]
    return any(thresholds.get(name, criterion.threshold) != criterion.threshold for name in names)


def making_known(images: int, flaw: str, made_again: str) -> Criterion:
    """Whether the set is what the recipe makes of the corpus, as a run of this installation did.

    Shadows tell of a method. Of a set that only claims to be made by it they tell nothing.

    Args:
        flaw: why its making is not known; empty where it is.
        made_again: what was made again to see that.
    """
    if flaw:
        return Criterion(MAKING, 0, images, "not enough evidence", f"{MAKING_UNKNOWN}: {flaw}")
    return Criterion(MAKING, images, images, "pass", made_again)


def as_shipped(deviations: Sequence[Deviation]) -> Criterion:
    """Whether no threshold is laxer, and no attack weaker, than what is shipped: flags must not open the gate."""
    laxer = [one.sentence for one in deviations if one.laxer]
    return Criterion(LAXER, len(laxer), 0, "not enough evidence" if laxer else "pass", "; ".join(laxer))


def evidence(images: int, patients: int, unit: Unit, thresholds: AuditRecipe) -> Criterion:
    """Whether there are enough people who had no part in the set to compare with."""
    least, reason = thresholds.least_held_out, ""
    if not images:
        reason = "the corpus has no held-out image: nothing can be compared with the training images"
    elif images < least:
        reason = f"{images} held-out {'image is' if images == 1 else 'images are'} too few; {least} are asked for"
    elif unit != "image" and patients < least:
        reason = (
            f"the {images} held-out images are of {patients} {unit if patients == 1 else UNITS[unit]} only; "
            f"{least} are asked for"
        )
    verdict: Verdict = "not enough evidence" if reason else "pass"
    reason = f"{reason}; {MORE_HELD_OUT}" if reason else ""
    return Criterion(f"Held-out {UNITS[unit]}", min(images, patients), least, verdict, reason)


def no_copies(figures: CopyFigures, rule: CopyRule, thresholds: AuditRecipe) -> Criterion:
    """Whether the share of copies, in one space, is small enough, where a copy can be told from other images at all."""
    share, most = figures.copies / figures.images, thresholds.most_copies
    verdict: Verdict = "fail" if share > most else "pass"
    reason = ""
    if verdict == "pass" and rule.ratio < LEAST_LIMIT * thresholds.copy_ratio:
        verdict, reason = "not enough evidence", ALIKE
    return Criterion(f"Copies in {SPACE_NAMES[figures.space]}", share, most, verdict, reason)


def no_residue(
    figures: ResidueFigures | None, starts_from: str, why_none: str, thresholds: AuditRecipe
) -> tuple[Criterion, ...]:
    """Whether images single out the real image that they began as, or are traceable to it beyond chance.

    Both fail where the whole interval of the share lies above what chance gives: in a small class an image is soon the
    most like its own.
    """
    names = ("Images that single out the real one they began as", "Images traceable to it (p of 0.05 at most)")
    limits = (thresholds.most_recovered, TRACED_BY_CHANCE)
    if figures is None and starts_from == "noise":
        return (Criterion(names[0], 0.0, limits[0], "pass", NOISE),)
    if figures is None and starts_from == "quantised":
        return (Criterion(names[0], 0.0, limits[0], "pass", MEANS),)
    if figures is None or figures.recovered.value is None or figures.traced.value is None:
        return (Criterion(names[0], None, limits[0], "not enough evidence", why_none),)
    recovered, traced = figures.recovered.value, figures.traced.value
    singled: Verdict = "pass" if recovered <= limits[0] else "not enough evidence"
    if recovered > limits[0] and (figures.recovered.low or 0.0) > figures.chance:
        singled = "fail"
    clear = figures.traced.low is not None and figures.traced.low > TRACED_BY_CHANCE
    return (
        Criterion(names[0], recovered, limits[0], singled, WITHIN if singled == "not enough evidence" else ""),
        Criterion(names[1], traced, limits[1], "fail" if clear else "pass", "" if clear or not traced else WITHIN),
    )


def means_of_several(smallest: object, unit: Unit, thresholds: AuditRecipe) -> Criterion:
    """Whether every image of a quantised set began as the mean of enough patients.

    Args:
        smallest: patients of the smallest cell, as the set states it.
        unit: "patient", "study" or "image", what the set counts.
    """
    name, least = f"Fewest {UNITS[unit]} whose mean an image began as", thresholds.least_cluster
    if not isinstance(smallest, int) or isinstance(smallest, bool):
        return Criterion(name, None, least, "not enough evidence", "the set does not say how many there are")
    return Criterion(name, smallest, least, "pass" if smallest >= least else "fail", "")


def membership_hidden(membership: Membership | None, thresholds: AuditRecipe) -> tuple[Criterion, ...]:
    """Whether no attack on networks trained on the set finds its members, and none repeats a canary's label."""
    if membership is None:
        return (Criterion("Membership inference", None, thresholds.most_found, "not enough evidence", NOT_ATTACKED),)
    attacks = [attack for attack in membership.attacks if attack.source == "distilled"]
    tests = [test for test in membership.canaries if test.source == "distilled"]
    name, least = "Chance of as many repeated canaries", thresholds.canary_chance
    canaries = []
    for test in tests:
        verdict: Verdict = "pass" if test.chance is not None and test.chance >= least else "fail"
        reason = ""
        if test.chance is None:
            verdict, reason = "not enough evidence", "every shadow held every canary, or none did"
        canaries.append(Criterion(name, test.chance, least, verdict, reason))
    if not tests:
        why = next((attack.reason for attack in attacks if attack.reason), NO_CANARY)
        canaries.append(Criterion(name, None, least, "not enough evidence", why))
    return (*(one for attack in attacks for one in _attack_fails(attack, thresholds)), *canaries)


def _attack_fails(attack: MembershipAttack, thresholds: AuditRecipe) -> tuple[Criterion, ...]:
    """How many patients an attack finds, and how well it ranks them all; then each class and site that fails by it.

    A class or site in which little is found is not told of here: few have enough patients to be judged by themselves.
    """
    asked: list[Criterion] = []
    for cell in attack.cells:
        of = f"{attack.name} attack{f', {cell.trait} {cell.name}' if cell.name else ''}"
        found = [
            *(
                _limited(f"Patients found ({of})", one.rate, thresholds.most_found)
                for one in cell.detections
                if one.one_in == ATTACKED_AT
            ),
            _limited(f"AUC ({of})", cell.auc, thresholds.most_auc),
        ]
        asked += [one for one in found if cell.trait == "all" or one.verdict == "fail"]
    if not asked:
        name = f"Patients found ({attack.name} attack)"
        return (Criterion(name, None, thresholds.most_found, "not enough evidence", attack.reason),)
    return tuple(asked)


def _limited(name: str, found: Estimate, most: float) -> Criterion:
    """Fail where the whole interval of what is found lies above the threshold, pass where the figure does not.

    An area of 1 has no interval, since no pair of patients is ranked wrongly; it fails by its value.
    """
    if found.value is None:
        return Criterion(name, None, most, "not enough evidence", found.reason)
    if (found.value if found.low is None else found.low) > most:
        return Criterion(name, found.value, most, "fail", "")
    if found.value > most:
        return Criterion(name, found.value, most, "not enough evidence", "its interval reaches below the threshold")
    return Criterion(name, found.value, most, "pass", "")


def no_text(text: TextFigures) -> tuple[Criterion, ...]:
    """Whether text was looked for in the originals, can be read in the set, and is in what the images of a site share.

    Images too small for letters pass, with that as the reason.
    """
    looked, small = 1.0 if text.originals else 0.0, too_small_for_letters(str(text.side))
    if not text.legible:
        return (Criterion(ORIGINALS_READ, looked, 1.0, "pass", small), Criterion(LETTERS, 0, 0, "pass", small))
    reason = "" if text.originals else DRAWN_HERE if text.drawn_here else LOOK.format(side=text.side)
    originals = Criterion(
        ORIGINALS_READ, looked, 1.0, "pass" if text.originals_cleared else "not enough evidence", reason
    )
    if not text.reader:
        return (originals, Criterion(LETTERS, None, 0, "not enough evidence", NO_READER))
    letters = Criterion(LETTERS, len(text.found), 0, "fail" if text.found else "pass", _where(text))
    if not text.found and not sees(text.planted):
        contrast = max((one.contrast for one in text.planted), default=0)
        letters = Criterion(LETTERS, 0, 0, "not enough evidence", UNSEEN.format(contrast=contrast))
    shown = sum(map(legible_in_set, text.overlays))
    return (originals, letters, Criterion(OVERLAYS, shown, 0, "fail" if shown else "pass", ""))


def _where(text: TextFigures) -> str:
    """In which images letters were read, counted from 0 as the set counts them."""
    images = [str(one.number) for one in text.found if one.seen == "image"]
    means = sum(one.seen != "image" for one in text.found)
    more = f" and {len(images) - MOST_NUMBERED} more" if len(images) > MOST_NUMBERED else ""
    told = [f"images {', '.join(images[:MOST_NUMBERED])}{more}"] if images else []
    told += [f"{means} {'mean' if means == 1 else 'means'} of several"] if means else []
    return f"look at {' and '.join(told)} with your own eyes" if told else ""


def decide(criteria: Sequence[Criterion]) -> Verdict:
    """Fail where any criterion fails, pass where all pass, else not enough evidence."""
    verdicts = {criterion.verdict for criterion in criteria}
    if "fail" in verdicts:
        return "fail"
    return "not enough evidence" if "not enough evidence" in verdicts or not verdicts else "pass"
