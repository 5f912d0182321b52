"""Quantisation statements: what is known of the centroids that a set's images are, or began as, in full sentences.

Each gives "" where the run does not know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from medistill.artifacts.quantised_summary import QuantisedSummary
from medistill.quantisation.record import ClassQuantisation, Quantisation, RatePoint
from medistill.report.record import Report
from medistill.report.wording import NAMED, class_label, count, counted, listed, number, percent, sentences, short

WEIGHTS = {
    "mass": "by the share of its class that is in its cell",
    "sqrt": "by the square root of the share of its class that is in its cell",
    "uniform": "as much as every other",
}
"""Rule -> how much a distilled image counts in the loss."""


def encoder_words(quantised: QuantisedSummary) -> str:
    """What spans the latent space; empty where the set does not say it."""
    if not quantised.encoder:
        return ""
    if quantised.encoder == "pca":
        return counted(quantised.dimension, "principal component")
    if quantised.encoder == "features":
        return f"{counted(quantised.dimension, 'feature')} of a frozen encoder"
    size = f"with codes of {counted(quantised.dimension, 'number')}"
    if quantised.encoder == "autoencoder":
        return f"an autoencoder, trained on the training split, {size}"
    origin = f"SHA-256 {quantised.decoder}, licence {quantised.licence}"
    return f"an encoder-decoder that was brought, {origin}, {size}"


def centroids(report: Report) -> str:
    """How the centroids were found, and of how many patients they are."""
    quantised, settings = _quantised(report), report.making.section("method.quantise")
    if quantised is None:
        return ""
    encoder = encoder_words(quantised)
    encoded = f" ({encoder})" if encoder else ""
    found = (
        f" by competitive learning vector quantisation ({counted(settings['passes'], 'pass', 'passes')}), refined by "
        "Lloyd's algorithm"
        if settings
        else ""
    )
    nested = (
        f" Centroids were nested at {listed([count(level) for level in settings['nested']])} images a class: those of "
        "a smaller set stayed where they were in the larger."
        if settings.get("nested")
        else ""
    )
    rendered = quantised.encoder == "features"
    became = "an image was rendered from each" if rendered else "the centroids were decoded"
    weighed = f" Each counts in the loss {WEIGHTS[quantised.weights]}." if rendered and quantised.weights else ""
    return (
        f"For the centroids, the training images of each class were encoded{encoded} and their codes "
        f"quantised{found}; {became}.{nested} {fewest(quantised, unit_of(report))}{weighed}"
    )


def fewest(quantised: QuantisedSummary, unit: str) -> str:
    """How many patients, or images, are in a cell at least."""
    return (
        f"Each is the mean of a cell with {images_of(quantised.min_cluster_size, unit)} or more; the smallest cell has "
        f"{count(quantised.smallest_cluster)}."
    )


def images_of(number: int, unit: str) -> str:
    """ "images of 5 patients", or of studies, or "5 images" where neither is known."""
    return counted(number, unit) if unit == "image" else f"images of {counted(number, unit)}"


def taught(report: Report) -> str:
    """How the images weigh, and where their labels are from, where the images are the centroids themselves."""
    quantised = _quantised(report)
    if quantised is None:
        return ""
    weighed = f"Each counts in the loss {WEIGHTS[quantised.weights]}." if quantised.weights else ""
    return sentences(weighed, labels(report), "No expert was trained, and no diffusion model used.")


def labels(report: Report) -> str:
    """What the labels of centroids are, and whose answers."""
    quantised = _quantised(report)
    if quantised is None or not quantised.labels:
        return ""
    if quantised.labels == "hard":
        return "Labels are one class each."
    mean = "mean " if quantised.teachers > 1 else ""
    heat = "" if quantised.temperature is None else f", at temperature {short(quantised.temperature)}"
    return (
        f"Labels are class probabilities, the {mean}answers of {counted(quantised.teachers, 'network')} trained on the "
        f"training split{heat}."
    )


def weighting(report: Report) -> str:
    """What weights do to classes of unequal size."""
    quantised = _quantised(report)
    if quantised is None or not quantised.weights:
        return ""
    corpus_priors = report.making.section("method.quantise").get("priors") == "corpus"
    classes = (
        "The classes weigh in the loss as they are common in the training split."
        if corpus_priors
        else "The classes weigh in the loss alike."
    )
    return f"Within a class, an image counts {WEIGHTS[quantised.weights]}. {classes}"


def outline(report: Report) -> str:
    """Encoder, patients a cell and centroids that were given up, in one line."""
    quantised, quantisation = _quantised(report), report.quantisation
    if quantised is None:
        return ""
    lost = 0 if quantisation is None else sum(of_class.given_up for of_class in quantisation.classes)
    parts = [
        encoder_words(quantised),
        f"at least {counted(quantised.min_cluster_size, unit_of(report))} a cell, in the smallest "
        f"{count(quantised.smallest_cluster)}",
        f"{counted(lost, 'centroid')} given up" if lost else "",
    ]
    return "; ".join(part for part in parts if part)


def given_up(quantisation: Quantisation, each: str = "image") -> str:
    """How many centroids were given up, and of which classes; ``each`` is what a centroid became, "image" or "tile"."""
    lost = {of_class.class_name: of_class.given_up for of_class in quantisation.classes if of_class.given_up}
    least = counted(quantisation.min_cluster_size, quantisation.patient_unit)
    aside = sum(of_class.set_aside for of_class in quantisation.classes)
    left_out = f" {counted(aside, 'image')} unlike the others {'was' if aside == 1 else 'were'} left out of every mean."
    alone = left_out if aside else ""
    if not lost:
        return f"No centroid had to be given up: every cell has {least} or more.{alone}"
    total = counted(sum(lost.values()), "centroid")
    named = [f"{class_label(name)} has {counted(n, each)} fewer" for name, n in lost.items()]
    fewer = listed(named) if len(named) <= NAMED else f"{counted(len(named), 'class', 'classes')} have fewer {each}s"
    were, where = ("was", "its cell") if sum(lost.values()) == 1 else ("were", "each of their cells")
    return (
        f"{total} {were} given up, since fewer than {least} would have been in {where}: {fewer} than was asked for."
        f"{alone}"
    )


def bound(quantisation: Quantisation) -> str:
    """What the error of an image is bounded by, in one sentence."""
    if quantisation.encoder == "features":
        return (
            "W2 is measured in the encoder's features. How near the features of the rendered images came to the "
            "centroids is the loss of the last outer steps."
        )
    if quantisation.grey_codes:
        return (
            "An image differs from the distilled image of its cell by what the components lose (the reconstruction "
            "error) and by what quantising adds (W2, with the masses as weights): the squares of the two add up to the "
            "square of the error, or to a little more where grey values were clipped."
        )
    return (
        "An image differs from the distilled image of its cell by at most the reconstruction error plus what "
        "quantising adds, which the decoder bounds by a multiple of W2 (Tan and Slade 2026)."
    )


def rate_slope(points: Sequence[RatePoint]) -> float | None:
    """Slope of log W2 over log K by least squares, one centroid left out; None with fewer than two points.

    Zador's theorem has -1/d for many centroids of a distribution in d dimensions; with few it is only a summary.
    """
    logs = [(math.log(point.centroids), math.log(point.w2)) for point in points if point.centroids > 1 and point.w2 > 0]
    if len(logs) < 2:
        return None
    x, y = (sum(values) / len(logs) for values in zip(*logs, strict=True))
    return sum((a - x) * (b - y) for a, b in logs) / sum((a - x) ** 2 for a, _ in logs)


def mean_rate(classes: Sequence[ClassQuantisation]) -> tuple[RatePoint, ...]:
    """The root mean square of W2 over the classes, at the numbers of centroids that all of them have."""
    by_class = [{point.centroids: point.w2 for point in of_class.rate} for of_class in classes]
    shared = sorted(set.intersection(*map(set, by_class))) if by_class else []
    return tuple(
        RatePoint(centroids=k, w2=math.sqrt(sum(of[k] ** 2 for of in by_class) / len(by_class))) for k in shared
    )


def rate_words(quantisation: Quantisation) -> str:
    """How W2 falls with more centroids, in a sentence; empty where it was not measured."""
    slope = rate_slope(mean_rate(quantisation.classes))
    if slope is None or slope >= 0:
        return ""
    return (
        f"Over the classes W2 falls as K to the power of {number(slope, 2)}: twice as many images make it "
        f"{percent(1 - 2**slope)} smaller."
    )


def unit_of(report: Report) -> str:
    """What is counted in a cell: "patient", "study" or "image"."""
    return report.split_unit or "patient"


def _quantised(report: Report) -> QuantisedSummary | None:
    return report.distilled.quantised if report.distilled is not None else None
