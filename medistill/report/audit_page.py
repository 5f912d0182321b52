"""Audit page: an audit by itself, on a sheet of paper that whoever answers for data protection can sign by."""

from __future__ import annotations

from medistill.privacy.audit import Audit
from medistill.report.audit_statements import consequence, heading, standing
from medistill.report.blocks import Facts
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


def render_audit(audit: Audit) -> str:
    """The page as one HTML file that shows no image and can go wherever the audit goes."""
    return html_page(audit_page(audit))


def audit_page(audit: Audit) -> Page:
    """The verdict, the section of the report of the same name, and the words."""
    version = audit.versions.get("medistill", "")
    words = Facts(tuple((term, said) for term, said in GLOSSARY if term in WORDS))
    return Page(
        title="What the set gives away · medistill audit",
        header=Masthead(
            "medistill audit",
            "What the set gives away",
            _subject(audit),
            Callout(standing(audit).replace(" ", "-"), heading(audit), consequence(audit)),
        ),
        sections=(one_page(audit), Section("glossary", "Words", (words,), behind_notes=True)),
        footer=f"Written by medistill {version}".strip(),
        record="audit.json",
        brief_title=heading(audit),
    )


def _subject(audit: Audit) -> str:
    people = counted(audit.held_out_patients, audit.split_unit or "image", plural_of(audit.split_unit or "image"))
    images = counted(audit.train_images, "original")
    return f"Set {audit.set_digest[:12]}, made of {images}; {people} who had no part in it stand beside these."
