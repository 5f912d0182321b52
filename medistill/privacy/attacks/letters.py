"""Letters: was text looked for in the originals, is any read in the set, does the set show what sites share?"""

from __future__ import annotations

from medistill.data.burnt_in_text import too_small_for_letters
from medistill.evaluate.intervals import Estimate
from medistill.privacy.attack import Attack, Evidence, Figures
from medistill.privacy.criterion import Asked, Criterion
from medistill.privacy.letters import TextFigures, legible_in_set, sees
from medistill.privacy.signals import SetFacts, Signals
from medistill.recipe import AuditRecipe

ORIGINALS_READ = Asked("originals read", "at least", "share", passes_unseen=True)
LETTERS = Asked("letters", "at most", "count", passes_unseen=True)
OVERLAYS = Asked("overlays", "at most", "count")
ORIGINALS_NAME = "Share of the originals looked through for text"
LETTERS_NAME = "Images, or means of them, in which letters are read"
OVERLAYS_NAME = "Sites whose overlay with letters the set shows"
MOST_NUMBERED = 10
"""Images that a reason lists by number."""
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
TOO_SMALL_SITES = "no site has patients enough for what its images share to be looked at"
OVERLOOKED = (
    "Letters that the reader of text does not see, such as handwriting or mirrored ones, are not looked for in the set."
)
PLANTED_IN = "images in which a planted word was found"
UNREAD = "Letters were not looked for in the set: no reader of text was installed."


class LettersAttack(Attack):
    """What a person would do who looks for a name: read."""

    name, display_name, family = "letters", "letters", "letters"
    needs, rank = "set", 100
    plain_words = "Names and other writing"
    asks = (ORIGINALS_READ, LETTERS, OVERLAYS)

    def run(self, signals: Signals) -> Evidence:
        """What was read, with how well the reader sees there for its control."""
        return Evidence(text=signals.text)

    def judge(self, evidence: Evidence, facts: SetFacts, settings: AuditRecipe) -> tuple[Criterion, ...]:
        """By what was read."""
        return () if evidence.text is None else no_text(evidence.text)

    def figures(self, evidence: Evidence, asked: Asked) -> Figures:
        """Of letters in the set in how many images the strongest planted word was found."""
        planted = () if evidence.text is None or asked != LETTERS else evidence.text.planted
        strongest = max(planted, key=lambda one: one.contrast, default=None)
        return Figures() if strongest is None else Figures(control=Estimate(strongest.found, reason=PLANTED_IN))

    def leaves_open(self, evidence: Evidence | None) -> str:
        """What no reader sees, or that there was none."""
        text = None if evidence is None else evidence.text
        if text is not None and text.reader:
            return OVERLOOKED
        return UNREAD if text is not None and text.legible else ""


def no_text(text: TextFigures) -> tuple[Criterion, ...]:
    """Whether text was looked for in the originals, can be read in the set, and is in what the images of a site share.

    Images too small for letters pass, with that as the reason.
    """
    looked, small = 1.0 if text.originals else 0.0, too_small_for_letters(str(text.side))
    if not text.legible:
        return (
            Criterion(ORIGINALS_NAME, looked, 1.0, "pass", small, ORIGINALS_READ),
            Criterion(LETTERS_NAME, 0, 0, "pass", small, LETTERS),
        )
    reason = "" if text.originals else DRAWN_HERE if text.drawn_here else LOOK.format(side=text.side)
    originals = Criterion(
        ORIGINALS_NAME,
        looked,
        1.0,
        "pass" if text.originals_cleared else "not enough evidence",
        reason,
        ORIGINALS_READ,
    )
    if not text.reader:
        return (originals, Criterion(LETTERS_NAME, None, 0, "not enough evidence", NO_READER, LETTERS))
    letters = Criterion(LETTERS_NAME, len(text.found), 0, "fail" if text.found else "pass", _where(text), LETTERS)
    if not text.found and not sees(text.planted):
        contrast = max((one.contrast for one in text.planted), default=0)
        unseen = UNSEEN.format(contrast=contrast)
        letters = Criterion(LETTERS_NAME, 0, 0, "not enough evidence", unseen, LETTERS)
    shown = sum(map(legible_in_set, text.overlays))
    shared = Criterion(OVERLAYS_NAME, shown, 0, "fail" if shown else "pass", "", OVERLAYS)
    blind = bool(text.overlays) and all(one.images is None for one in text.overlays)
    return (originals, letters, shared.unless_sure_to_pass(TOO_SMALL_SITES if blind else ""))


def _where(text: TextFigures) -> str:
    """In which images letters were read, counted from 0 as the set counts them."""
    images = [str(one.number) for one in text.found if one.seen == "image"]
    means = sum(one.seen != "image" for one in text.found)
    more = f" and {len(images) - MOST_NUMBERED} more" if len(images) > MOST_NUMBERED else ""
    told = [f"images {', '.join(images[:MOST_NUMBERED])}{more}"] if images else []
    told += [f"{means} {'mean' if means == 1 else 'means'} of several"] if means else []
    return f"look at {' and '.join(told)} with your own eyes" if told else ""


ATTACKS = (LettersAttack(),)
