"""Push: send the images of a bundle to a PACS as Secondary Capture objects; what is there already is not sent again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from medistill.data.dicomweb import Address, DicomwebService
from medistill.errors import DataError, GateError, UsageError
from medistill.progress import Progress, Silent
from medistill.sharing.bundle import Bundle
from medistill.sharing.dicom import dicom_files
from medistill.sharing.statement import sender_words
from medistill.workflow.received import open_received


@dataclass(frozen=True)
class Pushed:
    """What a PACS has of a bundle.

    Attributes:
        images: of the bundle, all of which the PACS lists now.
        sent: how many of them were sent; the others were there.
        patient: the invented PatientID under which they are found.
        acknowledged_risk: why they were shared without a passing audit, in the sender's words; None where it passed.
    """

    images: int
    sent: int
    patient: str
    acknowledged_risk: str | None


def push(
    bundle: str | Path,
    address: str,
    *,
    trust: Sequence[str] = (),
    pause: float = 1.0,
    progress: Progress = Silent(),
) -> Pushed:
    """Send a bundle to a DICOMweb service.

    The objects are made of the checked images here, not taken from the bundle, so that no header of a sender gets into
    the PACS. Their UIDs come from the content: a push that was broken off goes on, and a second one sends nothing.

    Args:
        address: of the service, as in ``https://pacs.example/dicom-web``.
        trust: keys of which one must have signed the bundle (see `receive`).
        pause: seconds before the first repetition of a question that failed.

    Raises:
        GateError: the bundle declares no passing audit, and nobody took the risk upon themselves.
        ArtifactError: the bundle is refused.
        UsageError: the address is none, or what is needed is not installed.
        DataError: the PACS fails, or does not list at the end what was sent.
    """
    from pydicom import dcmread

    place = Address.of(address)
    if place.filters:
        raise UsageError(
            "the address to send to has a query", expected="the address of the service alone", do="take the query out"
        )
    opened, key = open_received(bundle, trust=trust, today=datetime.now(UTC).date())
    progress.say(
        f"{bundle} comes from {sender_words(opened.manifest.sender, None if key is None else key.fingerprint)}."
    )
    _refuse_unaudited(bundle, opened)
    service = DicomwebService(place, pause=pause)
    objects = dicom_files(opened.distilled, None if opened.audit is None else opened.audit.text)
    files = {dcmread(io.BytesIO(content)).SOPInstanceUID: content for content in objects.values()}
    first = dcmread(io.BytesIO(next(iter(files.values()))))
    there = {one.instance for one in service.of_study(first.StudyInstanceUID)}
    missing = [content for uid, content in files.items() if uid not in there]
    with progress.task("Sending images", len(files), done=len(files) - len(missing)) as task:
        for content in missing:
            service.store(content)
            task.advance()
    listed = {one.instance for one in service.of_study(first.StudyInstanceUID)} if missing else there
    if not files.keys() <= listed:
        raise DataError(
            f"the PACS took the images, and lists {len(files.keys() & listed)} of {len(files)}",
            expected="that it lists them all",
            do="repeat the command later: some services list what they took after a while",
        )
    return Pushed(
        images=len(files),
        sent=len(missing),
        patient=str(first.PatientID),
        acknowledged_risk=opened.manifest.acknowledged_risk,
    )


def _refuse_unaudited(path: str | Path, bundle: Bundle) -> None:
    audit = bundle.manifest.audit
    if (audit is not None and audit.verdict == "pass") or bundle.manifest.acknowledged_risk is not None:
        return
    raise GateError(
        f"{path} declares {'no audit' if audit is None else f'an audit that ended in {audit.verdict!r}'}",
        expected="a bundle whose audit passed, or whose sender acknowledged the risk",
        do="audit the set with `medistill audit`, then share it again",
    )
