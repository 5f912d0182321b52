"""Audit page: an audit by itself, on a sheet of paper that whoever answers for data protection can sign by."""

from __future__ import annotations

from collections.abc import Iterator

from medistill.privacy.audit import Audit
from medistill.report.audit_statements import consequence, heading, standing
from medistill.report.blocks import Facts, Prose
from medistill.report.page import Callout, Masthead, Page
from medistill.report.render.html import html_page
from medistill.report.section import Section
from medistill.report.sections.glossary import GLOSSARY
from medistill.report.sections.on_one_page import one_page
from medistill.report.wording import counted, plural_of

WORDS = (
    "Audit", "Canary", "Copy", "Distilled image", "Encoder", "Epsilon, delta", "Held out", "Membership inference",
    "Original", "Positive control", "Shadow", "Target vector", "Teacher",
)  # fmt: skip
"""Terms of the glossary that the page needs."""
SIGNED_FOR = (
    "Compare the SHA-256 above with that of images.safetensors in the manifest.json of the set or of its bundle: if "
    "they differ, this page is about another set."
)
"""What ties a signature to a set."""
SIGNED = (("Name", ""), ("Role", ""), ("Date", ""), ("Signature", ""))
"""Lines to fill in by hand."""


def render_audit(audit: Audit) -> str:
    """The page as one HTML file that shows no image and can go wherever the audit goes."""
    return html_page(audit_page(audit))


def audit_page(audit: Audit) -> Page:
    """The verdict, of what it is and when, the section of the report of the same name, room to sign, and the words."""
    version = audit.versions.get("medistill", "")
    words = Facts(tuple((term, said) for term, said in GLOSSARY if term in WORDS))
    return Page(
        title="What the set gives away · medistill audit",
        header=Masthead(
            "medistill audit",
            "What the set gives away",
            _subject(audit),
            Callout(standing(audit).replace(" ", "-"), heading(audit), consequence(audit)),
            tuple(_facts(audit)),
        ),
        sections=(
            one_page(audit),
            Section("signature", "Read and signed", (Prose(SIGNED_FOR, small=True), Facts(SIGNED)), behind_notes=True),
            Section("glossary", "Words", (words,), behind_notes=True),
        ),
        footer=f"Written by medistill {version}".strip(),
        record="audit.json",
        brief_title=heading(audit),
    )


def _subject(audit: Audit) -> str:
    people = counted(audit.held_out_patients, audit.split_unit or "image", plural_of(audit.split_unit or "image"))
    made = counted(audit.images, "image") if audit.images else "Images"
    originals = counted(audit.train_images, "original")
    return f"{made} made of {originals}; {people} who had no part in the set stand beside these."


def _facts(audit: Audit) -> Iterator[tuple[str, str]]:
    """Which audit of which set this is; what a record does not tell is left out, and a bundle tells no date."""
    if audit.date:
        yield "Audited on", audit.date
    made = (f"recipe {audit.recipe}" if audit.recipe else "", f"method {audit.method}" if audit.method else "")
    if any(made):
        yield "Made by", ", ".join(filter(None, made))
    yield "Set (SHA-256)", audit.set_digest
    if audit.command:
        yield "Command", audit.command
