"""Patch statements: how regions of originals were chosen that images are pasted together from, and who labels them."""

from __future__ import annotations

from medistill.artifacts.encoder_summary import SHORT
from medistill.report.quantisation_statements import unit_of
from medistill.report.record import Report
from medistill.report.wording import count, counted, sentences, short

UNCHANGED = "No pixel was changed: the images are parts of training images."


def patches(report: Report) -> str:
    """How the patches were chosen, of how many originals they are, and what their labels are."""
    distilled = report.distilled
    known = None if distilled is None else distilled.patched
    if known is None:
        return UNCHANGED
    unit = unit_of(report)
    of = "" if unit == "image" else f" of {counted(known.groups, unit)}"
    whose = (
        f"a denoiser that was brought (SHA-256 {known.denoiser[:SHORT]}, licence {known.licence})"
        if known.denoiser
        else "a denoiser that was trained on the training split"
    )
    labels = "Labels are one class each."
    if known.teachers:
        mean = "mean " if known.teachers > 1 else ""
        heat = "" if known.temperature is None else f", at temperature {short(known.temperature)}"
        labels = (
            f"Labels are class probabilities, the {mean}answers of {counted(known.teachers, 'network')} trained on the "
            f"training split{heat}."
        )
    return sentences(
        f"Each region of a training image was scored by how much less noise {whose} leaves unseen there when it is "
        "told the class (Zhong et al. 2024); of the regions with the highest scores, one of each image, k-means chose "
        f"as many that differ, and {count(known.along**2)} were pasted into each image: parts of "
        f"{counted(known.originals, 'training image')}{of}.",
        UNCHANGED,
        labels,
    )
