"""Target statements: what a report and a card say of labels that are target vectors, and of the teacher behind them."""

from __future__ import annotations

from medistill.artifacts.encoder_summary import EncoderSummary
from medistill.report.record import Report
from medistill.report.wording import short

BY_TARGETS = (
    "Each image carries a target vector, learned with it: no class, but numbers that a network is first trained to "
    "answer, by their mean squared error. The network's last layer is then replaced, and fitted to the images' classes."
)
"""Of a set whose labels are target vectors."""


def taught_by(teacher: EncoderSummary) -> str:
    """Whose features the target vectors come from, under which licence it may be used, and where it can be had."""
    return (
        "The target vectors began as features that a frozen encoder has of what the images began as, and were changed "
        f"towards its features of originals: {teacher.architecture}, trained on {teacher.trained_on}. Its licence: "
        f"{teacher.licence}. Its SHA-256: {teacher.sha256}. It can be had from: {teacher.source}. It is not part of "
        "the set, and nobody needs it to train on the set."
    )


def target_vectors(report: Report) -> str:
    """What labels of the images are that are target vectors, and how networks were trained on them."""
    penalty = report.making.section("schedule").get("penalty")
    under = "" if penalty is None else f", under an L2 penalty of {short(penalty)}"
    teacher = None if report.distilled is None else report.distilled.teacher
    whose = "" if teacher is None else f" {taught_by(teacher)}"
    return (
        f"target vectors, learned with the images.{whose} Networks were pretrained on images and target vectors by the "
        "mean squared error, without augmentation; their last layer was then replaced by a logistic regression on what "
        f"it had been given, fitted to the classes of the same images{under}"
    )
