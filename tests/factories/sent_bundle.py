"""A small bundle as a sender makes it, and the ways in which someone on its way changes it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.privacy.audit import Audit
from medistill.privacy.criterion import Verdict
from medistill.sharing.bundle import pack
from medistill.sharing.keys import export_key, load_private, new_key, trust_key
from medistill.sharing.manifest import UNLISTED, BundleManifest, FileRecord
from medistill.sharing.signature import sign
from medistill.sharing.statement import Statement
from tests.factories import report_example

TODAY = date(2026, 11, 21)
SENDER = "st-example"


def small_set() -> DistilledSet:
    """Four images of 8 x 8 in two classes."""
    numbers = np.random.default_rng(3)
    return DistilledSet(
        images=numbers.normal(size=(4, 1, 8, 8)).astype(np.float32),
        labels=np.array([0, 0, 1, 1]),
        weights=np.ones(4, np.float32),
        stage=np.zeros(4, np.int64),
        student_lr=0.01,
        normalisation=Normalisation((0.5,), (0.2,)),
        class_names=("Normal", "Pneumonia"),
        provenance={"starts_from": "real", "privacy": "No formal privacy guarantee was sought in this mode."},
    )


def audit_of(digest: str, verdict: Verdict) -> Audit:
    """An audit of the set with that digest, with the criteria that give the verdict."""
    whole, worse = report_example.audited(), {"pass": ("fail", "not enough evidence"), "not enough evidence": ("fail",)}
    criteria = tuple(one for one in whole.criteria if one.verdict not in worse.get(verdict, ()))
    return replace(whole, verdict=verdict, criteria=criteria, set_digest=digest)


def unsigned() -> dict[str, bytes]:
    """The files of a bundle that was sent without an audit, at a risk that somebody took."""
    return pack(
        small_set(), Statement(licence="CC-BY-4.0", intended_use="Research on exchange.", acknowledged_risk="A test.")
    )


def make_sender(root: Path, name: str = SENDER, valid_days: int | None = None) -> None:
    """A key to sign with, in ``root``."""
    new_key(root, name, passphrase=None, valid_days=valid_days, today=TODAY)


def trust_sender(theirs: Path, ours: Path, name: str = SENDER) -> Path:
    """Let the owner of the keys ``ours`` trust one of ``theirs``; the file that was sent."""
    sent = theirs / f"{name}.key.json"
    export_key(theirs, name, sent)
    trust_key(ours, sent, name, today=TODAY)
    return sent


def signed(files: Mapping[str, bytes], root: Path, name: str = SENDER) -> dict[str, bytes]:
    """The files with a signature by a key in ``root``."""
    key = load_private(root, name, None, today=TODAY)
    return {**files, "manifest.sig": sign(files["manifest.json"], key)}


def listed_anew(files: Mapping[str, bytes], **changes: object) -> dict[str, bytes]:
    """The files with a manifest that fits what they hold now, and says ``changes``: what a careful attacker does."""
    listed = {
        name: FileRecord(sha256=hashlib.sha256(files[name]).hexdigest(), bytes=len(files[name]))
        for name in sorted(files)
        if name not in UNLISTED
    }
    manifest = BundleManifest.from_bytes(files["manifest.json"])
    return {**files, "manifest.json": manifest.model_copy(update={"files": listed, **changes}).to_bytes()}
