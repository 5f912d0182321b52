"""Received sets in a study of exchange: who sent them, what was declared of each, and which were left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medistill.report.blocks import Heading, Prose
from medistill.report.section import Section
from medistill.report.table import Column, Row, Table, table
from medistill.report.text import Below, Text
from medistill.report.wording import class_label, counted, listed


@dataclass(frozen=True)
class SentSet:
    """A set that was received, and what its sender declares of it.

    Attributes:
        name: of its file or folder; the study calls the sender by it.
        images: that networks are shown; 0 where it was left out.
        origin: who vouches for it, in words; "" where it was left out.
        signer: fingerprint of the trusted key that signed it; "" where no signature vouches for it.
        sha256: of its ``images.safetensors``; "" where it was left out.
        verdict: of the audit that its sender declares; "" where none is declared.
        risk: why it was sent without an audit that passes, in the sender's words; "" where that is not told.
        guarantee: what it promises formally, in a sentence; "" where it promises nothing.
        reason: why it was left out: what was seen; else empty.
        do: what to do about that; else empty.
    """

    name: str
    images: int = 0
    origin: str = ""
    signer: str = ""
    sha256: str = ""
    verdict: str = ""
    risk: str = ""
    guarantee: str = ""
    reason: str = ""
    do: str = ""


def received_section(received: Sequence[SentSet]) -> Section:
    """What was received: a row a set; nothing where nothing was."""
    title = "What was received"
    if not received:
        return Section("received", title)
    columns = (Column("Set"), Column("Images", "count"), Column("Who vouches for it"), Column("Declared of its audit"))
    lede = (
        "Sets that others sent, checked as “medistill verify” checks a bundle. Their originals are not here: audit and "
        "guarantee are what the senders declare."
    )
    shown = table("Sets that were received", columns, tuple(_row(one) for one in received))
    return Section(
        "received", title, (Prose(lede), shown), brief=(Heading(title), Prose(lede), _brief(columns, received))
    )


def _row(one: SentSet) -> Row:
    name = class_label(one.name)
    if one.reason:
        return (name, 0, ("left out", Below(f"{one.reason.rstrip('.')}. {one.do}", wraps=True)), "–")
    beneath = " ".join(filter(None, (_risk(one), one.guarantee)))
    verdict = one.verdict or "none"
    declared: Text = (verdict, Below(beneath, wraps=True)) if beneath else verdict
    return (name, one.images, one.origin, declared)


def _brief(columns: tuple[Column, ...], received: Sequence[SentSet]) -> Table:
    rows = tuple((one.name, one.images, one.origin or "left out", one.verdict or "none") for one in received)
    return table("", columns, rows)


def _risk(one: SentSet) -> str:
    return f"Sent at a risk that its sender took: {one.risk.rstrip('.')}." if one.risk else ""


def received_sentences(received: Sequence[SentSet]) -> list[str]:
    """What must be read beside figures of sets that were received, and which were left out."""
    taken = [one for one in received if not one.reason]
    found = []
    if taken:
        each = listed([f"{counted(one.images, 'image')} of {one.name}" for one in taken])
        found.append(
            f"Sets that others sent stand beside those that were made here: {each}. Their originals are not here, so "
            "they could not be audited here, nothing can be pooled, and whether a patient of the senders is also among "
            "the test patients here cannot be told."
        )
    if unsigned := [one.name for one in taken if not one.signer]:
        found.append(f"No signature vouches for {listed(unsigned)}: whoever had it on its way could have made another.")
    found += [f"{one.name} was left out, because {one.reason.rstrip('.')}. {one.do}" for one in received if one.reason]
    return found
