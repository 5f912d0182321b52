"""The gate: what an audit asks of itself, what every attack says of its own figures, and what follows for the set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from medistill.privacy.attack import GAPS, Attack, Evidence
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.audit import MAKING
from medistill.privacy.criterion import Asked, Criterion, Verdict
from medistill.privacy.signals import SetFacts
from medistill.recipe import UNITS, AuditRecipe, Deviation, Unit

LAXER = Asked("laxer settings", "at most", "count")
"""The audit's own thresholds and budget."""
HELD_OUT = Asked("held out", "at least", "count", "least_held_out")
"""People to compare with."""
MAKING_NAME = "Images whose making is known"
MAKING_UNKNOWN = "the method was audited; this set's making is not known"
ONE_COPY = "one copy of every image gives more; the set is then made anew"
MORE_HELD_OUT = (
    "more patients, or larger data.val_fraction and data.test_fraction, give more; the set is then made anew"
)


def making_known(images: int, flaw: str, made_again: str) -> Criterion:
    """Whether the set is what the recipe makes of the corpus, as a run of this installation did.

    Shadows tell of a method. Of a set that only claims to be made by it they tell nothing.

    Args:
        flaw: why its making is not known; empty where it is.
        made_again: what was made again to see that.
    """
    if flaw:
        return Criterion(MAKING_NAME, 0, images, "not enough evidence", f"{MAKING_UNKNOWN}: {flaw}", MAKING)
    return Criterion(MAKING_NAME, images, images, "pass", made_again, MAKING)


def as_shipped(deviations: Sequence[Deviation]) -> Criterion:
    """Whether no threshold is laxer, and no attack weaker, than what is shipped: flags must not open the gate."""
    laxer = [one.sentence for one in deviations if one.laxer]
    verdict: Verdict = "not enough evidence" if laxer else "pass"
    return Criterion("Settings laxer than the shipped ones", len(laxer), 0, verdict, "; ".join(laxer), LAXER)


def enough_held_out(images: int, patients: int, unit: Unit, settings: AuditRecipe, *, left_out: int = 0) -> Criterion:
    """Whether there are enough people who had no part in the set to compare with.

    Args:
        images: held-out ones with which the set was compared.
        patients: of these.
        unit: whom the corpus tells apart.
        settings: the thresholds.
        left_out: further held-out people, of whom an image is nearly a training image of another.
    """
    least, reason = HELD_OUT.threshold(settings), ""
    if not images:
        nobody = "the corpus has no held-out image: nothing can be compared with the training images"
        reason = "nobody who is held out can be compared with" if left_out else nobody
    elif images < least:
        reason = f"{images} held-out {'image is' if images == 1 else 'images are'} too few; {least} are asked for"
    elif unit != "image" and patients < least:
        reason = (
            f"the {images} held-out images are of {patients} {unit if patients == 1 else UNITS[unit]} only; "
            f"{least} are asked for"
        )
    verdict: Verdict = "not enough evidence" if reason else "pass"
    more = "" if not reason else ONE_COPY if left_out and min(images, patients) + left_out >= least else MORE_HELD_OUT
    reason = "; ".join(filter(None, (reason, more, left_out_words(left_out, unit))))
    return Criterion(f"Held-out {UNITS[unit]}", min(images, patients), least, verdict, reason, HELD_OUT)


def left_out_words(left_out: int, unit: Unit) -> str:
    """How many held-out people are compared with nobody, and why; empty where that is nobody."""
    if not left_out:
        return ""
    who, each = f"{left_out} more {UNITS[unit]} are", "an image of each"
    if left_out == 1:
        who, each = f"1 more {unit} is", "an image"
    why = f"{each} is nearly a training image of another, so that probably one person has two names"
    if unit == "image":
        why = f"{'it is' if left_out == 1 else 'each is'} nearly a training image, as if it were there twice"
    return f"{who} held out, and left out of everything that is compared: {why}"


def judge(
    attacks: Sequence[Attack], evidence: Mapping[str, Evidence], facts: SetFacts, settings: AuditRecipe
) -> tuple[Criterion, ...]:
    """What every attack says of what it found, and of one that was left out, once where several say the same.

    Args:
        attacks: those that apply to the set.
        evidence: name -> what an attack found; one that was left out on request is not there.
        facts: what the set says of itself.
        settings: the thresholds.
    """
    told: list[Criterion] = []
    for attack in attacks:
        found = evidence.get(attack.name)
        if found is None:
            told += [one for one in attack.skipped(settings) if one not in told]
        else:
            told += [replace(one, attack=attack.name) for one in attack.judge(found, facts, settings)]
    return tuple(told)


def not_tested(attacks: Sequence[Attack], evidence: Mapping[str, Evidence]) -> tuple[str, ...]:
    """What was not tried, a sentence each: the gaps that no attack closed, then what each leaves open.

    Args:
        attacks: those that apply to the set.
        evidence: as in `judge`.
    """
    closed = {gap for attack in attacks if evidence.get(attack.name, Evidence()) != Evidence() for gap in attack.closes}
    made_first = sorted(attacks, key=lambda attack: attack.name not in evidence)
    left = (attack.leaves_open(evidence.get(attack.name)) for attack in made_first)
    gaps = (sentence for gap, sentence in GAPS.items() if gap not in closed)
    return tuple(filter(None, dict.fromkeys((*gaps, *left))))


def declared() -> dict[str, Asked]:
    """Key -> what this version asks for under it: the gate's own, and what every attack declares."""
    kinds = (MAKING, LAXER, HELD_OUT, *(asked for attack in all_attacks() for asked in attack.asks))
    return {asked.key: asked for asked in kinds}


def decide(criteria: Sequence[Criterion]) -> Verdict:
    """Fail where any criterion fails, pass where all pass, else not enough evidence."""
    verdicts = {criterion.verdict for criterion in criteria}
    if "fail" in verdicts:
        return "fail"
    return "not enough evidence" if "not enough evidence" in verdicts or not verdicts else "pass"
