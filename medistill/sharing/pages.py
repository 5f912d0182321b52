"""Pages: the files of a bundle that people open with other programs, held against what this version would write."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from pydantic import TypeAdapter

from medistill.artifacts.atomic import parse_json
from medistill.errors import ArtifactError, UsageError
from medistill.privacy.audit import Audit
from medistill.privacy.former_audit import brought_up
from medistill.report.audit_page import render_audit
from medistill.report.record import Report
from medistill.sharing.archive import MOST_JSON_BYTES
from medistill.sharing.audit_file import json_bytes
from medistill.sharing.bundle import AUDIT_PAGE, PAGE, RECORD, Bundle, page
from medistill.sharing.data_card import CARD, data_card
from medistill.sharing.manifest import refusal
from medistill.sharing.previews import SHEET, png, sheet
from medistill.sharing.privacy_statement import PRIVACY
from medistill.sharing.statement import Statement

DICOM = "dicom/"


def unconfirmed_pages(bundle: Bundle) -> tuple[str, ...]:
    """Names of the files that this version of medistill, with its packages, does not write so of what they tell of.

    Another version may have written them; so may another hand, and then they may hold anything.
    """
    return tuple(_unconfirmed(bundle))


def _unconfirmed(bundle: Bundle) -> Iterator[str]:
    files, distilled, manifest = bundle.files, bundle.distilled, bundle.manifest
    objects = {name: held for name, held in files.items() if name.startswith(DICOM)}
    report = None
    if RECORD in files:
        try:
            report = report_of_bytes(files[RECORD])
            same = page(report, distilled, bundle.viewable) == files[PAGE]
        except Exception:  # noqa: BLE001  # what stands in it is a stranger's, and drawing it may fail in any way
            same = False
        if not same:
            yield PAGE
    if bundle.audit is not None and AUDIT_PAGE in files and not _shows(bundle.audit, files[AUDIT_PAGE]):
        yield AUDIT_PAGE
    card = data_card(
        distilled,
        Statement.of(manifest),
        manifest.provenance,
        bundle.audit,
        report,
        dicom=bool(objects),
        stated=PRIVACY in files,
    )
    if card != files[CARD]:
        yield CARD
    if png(sheet(distilled)) != files[SHEET]:
        yield SHEET
    if objects and objects != _objects(bundle):
        yield DICOM


def _shows(audit: Audit, page: bytes) -> bool:
    """Whether a page is what this version draws of the audit."""
    try:
        return render_audit(audit).encode() == page
    except Exception:  # noqa: BLE001  # as of a report
        return False


def report_of_bytes(data: bytes) -> Report:
    """The report in ``report.json``.

    Raises:
        ArtifactError: it is no report, or holds more than one.
        ValidationError: likewise.
    """
    if len(data) > MOST_JSON_BYTES:
        raise refusal(RECORD, f"it has {len(data)} bytes")
    stored = parse_json(data, RECORD, "report of the bundle")
    if isinstance(stored.get("audit"), Mapping):
        stored = {**stored, "audit": brought_up(stored["audit"])}
    report = TypeAdapter(Report).validate_json(
        json.dumps({k: v for k, v in stored.items() if k not in ("schema", "kind")})
    )
    if not _told_by(json.loads(json_bytes(report.as_json())), stored) or report.shows_real:
        raise refusal(RECORD, "it holds more than a report that may leave")
    return report


def _told_by(written: object, stored: object) -> bool:
    """Whether what this version writes holds all of what is stored; it may name fields that the former did not have."""
    if isinstance(written, dict) and isinstance(stored, dict):
        return all(name in written and _told_by(written[name], held) for name, held in stored.items())
    if isinstance(written, list) and isinstance(stored, list):
        return len(written) == len(stored) and all(map(_told_by, written, stored))
    return written == stored


def _objects(bundle: Bundle) -> dict[str, bytes]:
    from medistill.sharing.dicom import dicom_files

    try:
        return dicom_files(bundle.distilled, None if bundle.audit is None else bundle.audit.text)
    except (ArtifactError, UsageError):
        return {}
