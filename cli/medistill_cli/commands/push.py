"""`medistill push`: the images of a bundle into a PACS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medistill_cli import options
from medistill_cli.results import print_json
from medistill_cli.terminal import write
from medistill_cli.working import working


def push(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle, as `medistill share` writes it.")],
    dicomweb: Annotated[
        str,
        typer.Option(
            "--dicomweb",
            metavar="URL",
            help="The DICOMweb service, as in https://pacs.example/dicom-web. Credentials come from the environment: "
            "MEDISTILL_DICOMWEB_TOKEN, or MEDISTILL_DICOMWEB_USER and MEDISTILL_DICOMWEB_PASSWORD.",
        ),
    ],
    trust: options.Trust = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Send the distilled images of a bundle to a PACS.

    They become Secondary Capture objects of one invented patient, marked as synthetic, and are sent by STOW-RS. What
    the PACS has already is not sent again, so the same command goes on after a break. A bundle that declares no passing
    audit is refused (exit code 4), unless its sender acknowledged the risk. Needs medistill[dicom,dicomweb].

    \b
    Examples:
      medistill push bundle.zip --dicomweb https://pacs.example/dicom-web
      medistill push bundle.zip --dicomweb http://localhost:8042/dicom-web --json
    """
    with working("repeat") as progress:
        from medistill.workflow.push import push as push_bundle

        done = push_bundle(bundle, dicomweb, trust=trust or (), progress=progress)
    if json:
        told = {"images": done.images, "sent": done.sent, "patient_id": done.patient}
        print_json({**told, "acknowledged_risk": done.acknowledged_risk})
        return
    write(f"The PACS has all {done.images} images; {done.sent} were sent now. Look for the patient ID {done.patient}.")
    if done.acknowledged_risk is not None:
        write(f"They were shared without a passing audit; their sender's reason: {done.acknowledged_risk}")
