"""Bundle: a distilled set with all that a recipient needs to judge and use it, in one file."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medistill.artifacts.class_statistics import FILE as STATISTICS
from medistill.artifacts.class_statistics import ClassStatistics
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.provenance import Provenance
from medistill.errors import ArtifactError
from medistill.evaluate.evaluation import Evaluation
from medistill.privacy.audit import Audit
from medistill.report.audit_page import render_audit
from medistill.report.pictures import class_pictures
from medistill.report.record import Report
from medistill.report.report_page import render_html
from medistill.sharing import previews
from medistill.sharing.archive import read_archive
from medistill.sharing.audit_file import audit_bytes, audit_of_bytes, audit_record, json_bytes
from medistill.sharing.claims import check_claims, check_recipe_is_one
from medistill.sharing.croissant import TENSORS, croissant
from medistill.sharing.data_card import CARD, data_card
from medistill.sharing.guarantee import check_guarantee, privacy_record
from medistill.sharing.labels import LABELS, labels_csv
from medistill.sharing.manifest import (
    MANIFEST,
    SIGNATURE,
    UNLISTED,
    BundleManifest,
    FileRecord,
    SetRecord,
    printable,
    refusal,
)
from medistill.sharing.outgoing import outgoing_audit, outgoing_provenance, outgoing_report, site_names
from medistill.sharing.privacy_statement import PRIVACY, PrivacyStatement, privacy_statement, read_statement
from medistill.sharing.signature import check_signature
from medistill.sharing.statement import Statement

AUDIT, AUDIT_PAGE, CROISSANT = "audit.json", "audit.html", "croissant.json"
PAGE, RECORD = "report.html", "report.json"
ALWAYS = (CARD, previews.SHEET, CROISSANT, TENSORS, LABELS)
"""Files of every bundle, beside the previews."""
PLAIN_DICOM = "1.2.840.10008.1.2.1"
"""Explicit VR Little Endian: pixels as they are."""


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory, checked.

    Attributes:
        manifest: what it says of itself.
        distilled: the set.
        files: every entry by its name, manifest and signature too.
        audit: what the sender's audit found, as the sender says; None where none was made.
        statement: the same for programs; None in a bundle of a version that wrote none.
        viewable: the images as uint8 (N, C, H, W).
    """

    manifest: BundleManifest
    distilled: DistilledSet
    files: Mapping[str, bytes]
    audit: Audit | None
    statement: PrivacyStatement | None
    viewable: np.ndarray

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Read a bundle and check that it is whole, agrees with itself and claims nothing that it contradicts.

        Whose the signature is, `receive` and `verify` ask.

        Raises:
            ArtifactError: it is not, byte for byte, what its manifest says, or holds something out of range.
        """
        return cls.of_files(read_archive(path))

    @classmethod
    def of_files(cls, files: Mapping[str, bytes]) -> Bundle:
        """The same from the files of a bundle, name -> bytes.

        Raises:
            ArtifactError: as for `open`.
        """
        if MANIFEST not in files:
            raise refusal(MANIFEST, "it is missing")
        if SIGNATURE in files:
            check_signature(files[MANIFEST], files[SIGNATURE])
        manifest = BundleManifest.from_bytes(files[MANIFEST])
        _check_listed(manifest, files)
        distilled, viewable = _read_set(manifest, files)
        if manifest.set != set_record(distilled):
            raise refusal(MANIFEST, "what it says of the set is not so")
        if files[LABELS] != labels_csv(distilled):
            raise refusal(LABELS, f"it does not agree with {TENSORS}")
        previews.check_previews(files, viewable)
        previews.check_png(previews.SHEET, files[previews.SHEET])
        _check_dicom(files, viewable)
        if files[CROISSANT] != croissant(distilled, Statement.of(manifest), files[TENSORS], files[LABELS]):
            raise refusal(CROISSANT, "it describes something else, and loaders go where it says")
        check_guarantee(manifest)
        audit = _read_audit(manifest, files)
        statement = read_statement(files, audit, manifest.files[TENSORS].sha256, manifest.privacy)
        check_claims(manifest, distilled)
        check_recipe_is_one(manifest.provenance)
        return cls(manifest, distilled, files, audit, statement, viewable)


def pack(
    distilled: DistilledSet,
    statement: Statement,
    *,
    audit: Audit | None = None,
    report: Report | None = None,
    dicom: Mapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    """The files of a bundle, its manifest with them, all but a signature. The same arguments give the same bytes.

    Args:
        statement: the sender's words.
        audit: of this set, as it was made; what leaves of it is chosen here.
        report: of the run, likewise.
        dicom: the images as DICOM objects, where they are wanted.

    Raises:
        ValidationError: a text of the statement, or the name of a class, cannot stand in a manifest.
    """
    sites = site_names(report, audit)
    audit = outgoing_audit(audit, sites) if audit is not None else None
    provenance, viewable = outgoing_provenance(distilled), distilled.viewable()
    if report is not None:
        report = outgoing_report(report, sites, recipe_digest=provenance.recipe_digest)
    tensors, labels = distilled.file_bytes(), labels_csv(distilled)
    files = {
        TENSORS: tensors,
        LABELS: labels,
        CROISSANT: croissant(distilled, statement, tensors, labels),
        PRIVACY: privacy_statement(audit, _digest(tensors), privacy_record(provenance)).to_bytes(),
        CARD: data_card(distilled, statement, provenance, audit, report, dicom=bool(dicom), stated=True),
        previews.SHEET: previews.png(previews.sheet(distilled)),
        **previews.previews(viewable),
        **(dicom or {}),
    }
    if distilled.statistics is not None:
        files[STATISTICS] = distilled.statistics.to_bytes()
    if audit is not None:
        files[AUDIT] = audit_bytes(audit)
        files[AUDIT_PAGE] = render_audit(audit).encode()
    if report is not None:
        files[RECORD] = json_bytes(report.as_json())
        files[PAGE] = page(report, distilled, viewable)
    manifest = BundleManifest(
        files={name: FileRecord(sha256=_digest(files[name]), bytes=len(files[name])) for name in sorted(files)},
        set=set_record(distilled),
        provenance=provenance,
        privacy=privacy_record(provenance),
        audit=audit_record(audit) if audit is not None else None,
        acknowledged_risk=statement.acknowledged_risk,
        intended_use=statement.intended_use,
        licence=statement.licence,
        sender=statement.sender,
        month=statement.month,
    )
    return {**files, MANIFEST: manifest.to_bytes()}


def page(report: Report, distilled: DistilledSet, viewable: np.ndarray) -> bytes:
    """``report.html`` of a report that may leave, with uint8 pictures (N, C, H, W) of the set alone."""
    return render_html(report, class_pictures(viewable, distilled.labels, distilled.class_names)).encode()


def evaluations_of(files: Mapping[str, bytes]) -> list[Evaluation]:
    """The sender's own evaluations of the set, as a bundle's report tells them; none where there is no report, or it is
    of another version, which only people read."""
    try:
        told = json.loads(files.get(RECORD, b"{}"))
        return [Evaluation.from_json(one) for one in [told["evaluation"], *told["across"]]]
    except (ArtifactError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def set_record(distilled: DistilledSet) -> SetRecord:
    """The set in counts."""
    found = np.bincount(distilled.labels, minlength=len(distilled.class_names))
    count, channels, height, width = distilled.images.shape
    return SetRecord(
        class_names=distilled.class_names,
        shape=(count, channels, height, width),
        ipc=distilled.ipc,
        per_class={name: int(images) for name, images in zip(distilled.class_names, found, strict=True)},
    )


def _check_listed(manifest: BundleManifest, files: Mapping[str, bytes]) -> None:
    """Refuse files that the manifest does not list, and listed ones that are missing or altered."""
    held = {name for name in files if name not in UNLISTED}
    for name in ALWAYS:
        if name not in held:
            raise refusal(name, "it is missing")
    if extra := sorted(held - manifest.files.keys()):
        raise refusal(extra[0], "the manifest does not list it")
    for name, record in manifest.files.items():
        if name not in held:
            raise refusal(MANIFEST, "it lists a file that is missing")
        if len(files[name]) != record.bytes or _digest(files[name]) != record.sha256:
            raise refusal(name, "its SHA-256 is not the one in the manifest, so it was altered or damaged")
    if (PAGE in held) != (RECORD in held):
        raise refusal(PAGE if PAGE in held else RECORD, f"{PAGE} and {RECORD} belong together")


def _read_set(manifest: BundleManifest, files: Mapping[str, bytes]) -> tuple[DistilledSet, np.ndarray]:
    """The set, and its images as uint8 (N, C, H, W) as they are stored beside it."""
    from safetensors import SafetensorError
    from safetensors.numpy import load, save

    data = files[TENSORS]
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise refusal(TENSORS, f"it is no safetensors file ({type(error).__name__})") from None
    stated, statistics = Provenance.read(manifest.provenance.as_json()), _read_statistics(manifest, files)
    try:
        distilled = DistilledSet.of_tensors(tensors, manifest.set.class_names, stated, statistics)
    except ArtifactError as error:
        raise refusal(TENSORS, error.seen) from None
    if tensors.keys() != distilled.tensors().keys() or save(tensors, {}) != data:
        raise refusal(TENSORS, "it holds more than a distilled set")
    stored, seen = tensors["viewable"], distilled.viewable()
    alike = stored.shape == seen.shape and stored.dtype == np.uint8
    if not alike or np.abs(stored.astype(np.int16) - seen).max() > 1:  # another processor may round otherwise
        raise refusal(TENSORS, "what it shows to people is not what networks are trained on")
    return distilled, stored


def _read_statistics(manifest: BundleManifest, files: Mapping[str, bytes]) -> ClassStatistics | None:
    """The class statistics that travel with the set; the manifest must name the very ones."""
    held = files.get(STATISTICS)
    named = manifest.provenance.statistics
    if named != (None if held is None else manifest.files[STATISTICS].sha256):
        raise refusal(STATISTICS, "the manifest names class statistics, or the bundle holds some, but not the same")
    if held is None:
        return None
    try:
        return ClassStatistics.from_bytes(held, STATISTICS)
    except ArtifactError as error:
        raise refusal(STATISTICS, printable(error.seen)) from None


def _read_audit(manifest: BundleManifest, files: Mapping[str, bytes]) -> Audit | None:
    if (manifest.audit is None) != (AUDIT not in files):
        raise refusal(AUDIT, "the manifest tells of an audit, or the bundle holds one, but not both")
    if manifest.audit is None:
        if AUDIT_PAGE in files:
            raise refusal(AUDIT_PAGE, "there is no audit that it could show")
        return None
    try:
        audit = audit_of_bytes(files[AUDIT])
    except ArtifactError as error:
        raise refusal(AUDIT, printable(error.seen)) from None
    if audit_record(audit) != manifest.audit:
        raise refusal(AUDIT, "it says something else than the manifest says of it")
    if audit.set_digest != manifest.files[TENSORS].sha256:
        raise refusal(AUDIT, "it is of another set")
    return audit


def _check_dicom(files: Mapping[str, bytes], viewable: np.ndarray) -> None:
    """Refuse DICOM objects that show something else than uint8 images (N, C, H, W). What their headers say is the
    sender's."""
    found = sorted(name for name in files if name.startswith("dicom/"))
    if not found:
        return
    from pydicom import dcmread

    if len(found) != len(viewable):
        raise refusal(found[0], "there is not one DICOM object an image")
    for name, image in zip(found, viewable, strict=True):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they quote the header
                held = dcmread(io.BytesIO(files[name]))
                plain = held.file_meta.TransferSyntaxUID == PLAIN_DICOM
                shown = held.pixel_array if plain else np.empty(0)
        except Exception as error:  # noqa: BLE001  # pydicom raises many kinds; their words may quote the header
            raise refusal(name, f"it cannot be read ({type(error).__name__})") from None
        if not np.array_equal(shown if shown.ndim == 3 else shown[..., None], np.moveaxis(image, 0, 2)):
            raise refusal(name, "it does not show the image that it stands for")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
