"""What was looked for of text in the pixels, in originals and set, in words."""

from __future__ import annotations

from collections.abc import Sequence

from medistill.data.burnt_in_text import can_carry_letters, too_small_for_letters
from medistill.privacy.letters import Overlay, TextFigures, legible_in_set
from medistill.report.record import Report
from medistill.report.wording import counted, listed, sentences

NOT_LOOKED_FOR = "Text burnt into the originals was not looked for, and images of this size can carry letters."


def first_screen_text(report: Report) -> str:
    """Whether text was looked for in originals and set, in a sentence or two; empty where nothing is to be said."""
    text = report.audit.text if report.audit is not None else None
    if text is not None:
        return sentences(*text_sentences(text)[:2])
    if report.audit is not None:
        return text_sentences(None)[0]
    corpus, shape = report.corpus, report.distilled.shape if report.distilled is not None else None
    if corpus is None or shape is None or report.benchmark is not None or not can_carry_letters(*shape[1:]):
        return ""
    policy = corpus.text_policy if corpus.text_by else "unchecked"
    return f"{originals_text(policy, corpus.text_by)} The set was not read for letters: no audit was made."


def originals_text(policy: str, by: str) -> str:
    """What was done about text before the set was made; an empty policy is one that is not told."""
    if not policy:
        return "Whether text was looked for in the originals is not said."
    if policy == "unchecked" or not by:
        return "Text burnt into the originals was not looked for."
    done = {"mask": "masked", "quarantine": "a reason to refuse the file"}.get(policy, policy)
    return f"Text was looked for in the originals ({by}); what was found was {done}."


def text_sentences(text: TextFigures | None) -> tuple[str, ...]:
    """What an audit says of text: in the originals, in the set, how well the reader sees there, what sites share."""
    if text is None:
        return ("The audit is of a version of medistill that did not look for text in the pixels.",)
    if not text.legible:
        return (f"Text was not looked for in the set: {too_small_for_letters(str(text.side))}.",)
    if text.drawn_here and not text.originals:
        originals = "The originals are phantoms that medistill drew itself, without text."
    else:
        originals = originals_text(text.policy, text.originals) if text.originals else NOT_LOOKED_FOR
    if not text.reader:
        return (originals, "No reader of text was installed where the set was audited: it was not read.")
    return (originals, set_text(text), planted_text(text), *overlay_texts(text.overlays))


def set_text(text: TextFigures) -> str:
    """Whether letters were read in the set; never which."""
    looked = f"{counted(text.images, 'distilled image')} and the means of them were read ({text.reader})"
    if not text.found:
        return f"{looked}: no letters other than side markers."
    of_images = sum(one.seen == "image" for one in text.found)
    means = len(text.found) - of_images
    where = [
        *([counted(of_images, "image")] if of_images else []),
        *([counted(means, "mean", "means") + " of several"] if means else []),
    ]
    return f"{looked}: letters other than side markers stand in {listed(where)}. They may be names."


def planted_text(text: TextFigures) -> str:
    """How often a planted word was found, by contrast."""
    results = [
        f"{one.found} of {one.images} at {one.contrast}{' and in their mean' if one.in_mean else ''}"
        for one in text.planted
    ]
    if not results:
        return ""
    return (
        "How well the reader sees on these very images: a word planted in them, by grey levels of 255 brighter than "
        f"what lies behind it, was found in {listed(results)}. What is fainter or smaller than that is overlooked."
    )


def overlay_texts(overlays: Sequence[Overlay]) -> list[str]:
    """What the training images of a site share, where they share anything."""
    said = []
    for one in overlays:
        if one.likeness is None or one.chance is None:
            continue
        letters = "no letters" if not one.letters else counted(one.letters, "letter or digit", "letters and digits")
        shown = ": the set shows it" if legible_in_set(one) else ""
        said.append(
            f"Nearly all training images of {one.site} share something at one place ({letters} in it; correlation with "
            f"the set {one.likeness:.2f}, {100 * one.chance:.1f} % of other places fit as well){shown}."
        )
    return said
