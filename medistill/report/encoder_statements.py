"""Encoder statements: what a report, a card and a command say of images that were made for a frozen encoder."""

from __future__ import annotations

from collections.abc import Iterator

from medistill.artifacts.encoder_summary import EncoderSummary, from_scratch
from medistill.evaluate.evaluation import Evaluation
from medistill.report.estimates import with_interval
from medistill.report.record import Report
from medistill.report.wording import counted, listed, sentences

NOT_EXPECTED = "A network that is trained from scratch is not expected to learn from these images."
"""Said of every set that was made for an encoder."""
NOT_MEASURED = "How much it learns was not measured here: medistill evaluate does it, with --across convnet."


def made_for(encoder: EncoderSummary) -> str:
    """Which encoder, what it was trained on, under which licence, and where it can be had."""
    layers = f"{counted(len(encoder.layers), 'layer')}: {listed(encoder.layers)}"
    return (
        "The images were made with a linear probe, which takes the features of a frozen encoder, "
        f"{encoder.architecture} ({layers}), trained on {encoder.trained_on}. Its licence: {encoder.licence}. Its "
        f"SHA-256: {encoder.sha256}. It can be had from: {encoder.source}. It is not part of the set."
    )


def from_scratch_learns(report: Report | None) -> str:
    """That a network from scratch is not expected to learn from the images, and what it learned where it was measured.

    Args:
        report: of the set; None where there is none.
    """
    measured = [] if report is None else list(_measured(report))
    return sentences(NOT_EXPECTED, *(measured or [NOT_MEASURED]))


def probed(report: Report) -> EncoderSummary | None:
    """The encoder that the images were made for; None where they were made for pixels, or are means of originals."""
    distilled = report.distilled
    return None if distilled is None or report.facts.centroids else distilled.encoder


def networks_statement(report: Report) -> str:
    """For a methods section: what the networks are, where they are probes."""
    encoder = None if report.distilled is None else report.distilled.encoder
    if encoder is None or from_scratch(report.evaluation.network):
        return ""
    return (
        "Networks were linear classifiers on the features of a frozen encoder, whose weights stayed as they were: "
        f"{encoder.architecture}, the channels of {listed(encoder.layers)} averaged over the pixels, trained on "
        f"{encoder.trained_on} (licence: {encoder.licence}; SHA-256 {encoder.sha256})."
    )


def _measured(report: Report) -> Iterator[str]:
    for evaluation in (report.evaluation, *report.across):
        if from_scratch(evaluation.network) and (found := _figures(evaluation)):
            yield found


def _figures(evaluation: Evaluation) -> str:
    """What a network from scratch had from the images, beside what it had from the originals."""
    distilled, raw = evaluation.arm("distilled"), evaluation.arm("raw")
    if distilled is None:
        return ""
    beside = "" if raw is None else f", trained on all originals {with_interval(raw.macro_auc)}"
    return (
        f"Measured: {evaluation.network} trained on them had a macro AUC of "
        f"{with_interval(distilled.macro_auc)}{beside}."
    )
