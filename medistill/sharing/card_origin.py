"""What a set was made from, in the words of its data card."""

from __future__ import annotations

from collections.abc import Iterator

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.provenance import MergedPart, SharedProvenance
from medistill.methods.registry import facts_of
from medistill.recipe import UNITS
from medistill.report.encoder_statements import made_for
from medistill.report.record import Report
from medistill.report.render.markdown import escaped
from medistill.report.selection_statements import DRAWN_BY, UNUSUAL
from medistill.report.target_statements import taught_by
from medistill.report.united_audits import united_audits
from medistill.sharing.selection import drawn_by, pruned_share, thinned_share
from medistill.sharing.statement import sender_words

SPACES = {
    "pca": "as their principal components show them",
    "autoencoder": "as an autoencoder that was trained on these originals writes them",
    "brought": "as an autoencoder that was not trained on these originals writes them",
    "features": "as a frozen encoder sees them",
}
"""Encoder of a quantised set -> in what the mean was taken."""
HARDEST = "those that a network trained on all of them found hardest."
"""Which originals are left out for their loss."""
UNLIKE = "those whose effect on the gradient of synthetic images was unlike that of the others."
"""Which are left out for their effect."""


def shows_centroids(provenance: SharedProvenance) -> bool:
    """Whether the images are the centroids themselves, which nothing changed afterwards."""
    return facts_of(provenance.method or "").centroids


def for_encoder(provenance: SharedProvenance) -> bool:
    """Whether the images were made for the features of an encoder, and not for pixels."""
    return provenance.encoder is not None and not shows_centroids(provenance)


def origin_text(distilled: DistilledSet, provenance: SharedProvenance, report: Report | None) -> str:
    """What the set was made from, and how it began."""
    if provenance.sources is not None:
        rows = [
            f"| {k} | {escaped(sender_words(source.sender, source.signer))} | "
            f"{source.first} to {source.first + source.images - 1} | "
            f"{'none' if source.epsilon is None else f'{source.epsilon:g}'} | `{source.set_digest[:12]}` |"
            for k, source in enumerate(provenance.sources, 1)
        ]
        head = ["| | Sender | Images | Epsilon | SHA-256 begins |", "|---|---|---|---|---|"]
        told = [f"**{escaped(said)}**"] if (said := united_audits(provenance.sources)) else []
        told += [] if provenance.united_images is None else [_by_mass(distilled, provenance.united_images)]
        told += [sentence for source in provenance.sources for sentence in _selected(source)]
        table = "\n".join([f"Sets of {len(rows)} sources, united:", "", *head, *rows])
        return f"{table}\n\n{' '.join(told)}" if told else table
    kind = {True: "Synthetic images, drawn by a program: no patient at all", False: "Real medical images"}
    made = kind.get(provenance.synthetic_source, "Images of which the set does not say whether they are real")  # type: ignore[arg-type]
    began = {
        "real": f"{_each(distilled)} began as one of "
        f"{'these' if provenance.synthetic_source else 'the real training images'} and was changed from there."
        f"{_drawn(provenance)}",
        "noise": "Each image began as noise.",
        "quantised": _means(distilled, provenance),
        "patches": _patches(provenance),
    }.get(provenance.starts_from or "", "")
    apart = report is not None and report.evaluation.originals == "apart"
    split = {
        "patient": "No patient is both among the originals and among the test images." if apart else "",
        "study": ("No study is both among the originals and among the test images. " if apart else "")
        + "Not every patient is known: studies of one may be on both sides.",
        "image": "Patients are not known apart: images of one may be both among the originals and the test images.",
    }.get(provenance.split_unit or "", "")
    plain = shows_centroids(provenance) or provenance.starts_from == "patches"
    unused = plain and distilled.soft_labels is None
    encoder = provenance.encoder
    network = f"A {escaped(provenance.network)} network was used." if provenance.network and not unused else ""
    if encoder is not None and not unused:
        network = escaped(made_for(encoder))
    if provenance.teacher is not None:
        network = f"{network} {escaped(taught_by(provenance.teacher))}".strip()
    return " ".join(text for text in (f"{made}.", _pruning(provenance), began, split, network) if text)


def _by_mass(distilled: DistilledSet, before: int) -> str:
    """How the images of the sources became those of the set."""
    return (
        f"The {before} images of the sources were united into {len(distilled.labels)} by their masses, class by class: "
        "each is the mean, by weight, of those that are nearest to it, and its weight the sum of theirs. The table "
        "counts images of the sources."
    )


def _selected(source: MergedPart) -> Iterator[str]:
    """Which originals a source of a united set was made from, where they were selected."""
    images = f"images {source.first} to {source.first + source.images - 1}"
    if source.drawn is not None:
        yield f"The originals that {images} began as were {DRAWN_BY[source.drawn]}. {UNUSUAL}"
    if source.pruned is not None:
        yield f"{100 * source.pruned:.3g} % of each class were left out before {images} were made: {HARDEST}"
    if source.thinned is not None:
        others = "" if source.pruned is None else "the others of "
        yield f"{100 * source.thinned:.3g} % of {others}each class were left out before {images} were made: {UNLIKE}"


def _drawn(provenance: SharedProvenance) -> str:
    """How the real images were drawn that the set began as, where not at random."""
    how = drawn_by(provenance.recipe)
    return f" These were {DRAWN_BY[how]}. {UNUSUAL}" if how else ""


def _pruning(provenance: SharedProvenance) -> str:
    """Which share of the originals was left out before the set was made."""
    share, thinned = pruned_share(provenance.recipe), thinned_share(provenance.recipe)
    told = (
        [] if share is None else [f"{100 * share:.3g} % of each class were left out before the set was made: {HARDEST}"]
    )
    if thinned is not None:
        others = "" if share is None else "the others of "
        told.append(f"{100 * thinned:.3g} % of {others}each class were left out before the set was made: {UNLIKE}")
    return " ".join(told)


def statistics_text(distilled: DistilledSet) -> str:
    """What the class statistics are that travel with the set, and how to use them."""
    if distilled.statistics is None:
        return ""
    record = distilled.statistics.record
    space = {
        "public": f"whitened on {record.projection.images} images that the sender declares public",
        "invented": f"whitened on {record.projection.images} drawn radiographs of nobody",
        "encoder": "with the encoder's own centre and scale",
        "none": "as they are",
    }[record.projection.kind]
    several = f" They are the sum of {record.releases} releases." if record.releases > 1 else ""
    return (
        f"`statistics.safetensors` holds, for each class, the noisy sum over the {UNITS[record.unit]} of what a frozen "
        f"encoder (SHA-256 {record.projection.encoder[:12]}) sees in their images, {space}, and how much noise is on "
        "it. The images were made from it, and it says more than they do: `medistill train bundle.zip --from "
        f"statistics` makes a classifier of it, and `medistill merge` adds those of several hospitals.{several}"
    )


def _each(distilled: DistilledSet) -> str:
    """What began as one original, or as one mean of several."""
    return "Each image" if distilled.tiles == 1 else "Each tile of an image"


def _patches(provenance: SharedProvenance) -> str:
    """Of how many originals and patients parts are in the images, who scored them, and who gave their labels."""
    known, unit = provenance.patched, provenance.split_unit or "image"
    told = ["**Each image is pasted together from parts of original images, none of whose pixels was changed.**"]
    if known is None:
        return f"{told[0]} It is not said of how many."
    of = "" if unit == "image" else f" of {known.groups} {UNITS[unit]}"
    told.append(
        f"{known.along**2} parts fill an image, and parts of {known.originals} originals{of} are in the set: whoever "
        "has it has these."
    )
    if known.denoiser:
        told.append(
            f"They were chosen by a denoiser with the SHA-256 {known.denoiser} and the licence: "
            f"{escaped(known.licence)}."
        )
    if known.teachers:
        networks = "a network" if known.teachers == 1 else f"{known.teachers} networks"
        told.append(
            f"Its probabilities are the answers of {networks} trained on the originals, at temperature "
            f"{known.temperature or 1:g}."
        )
    return " ".join(told)


def _means(distilled: DistilledSet, provenance: SharedProvenance) -> str:
    """Of how many patients an image of a quantised set is the mean, in which space, and who gave its labels."""
    known, verb = provenance.quantisation, "is" if shows_centroids(provenance) else "began as"
    if known is not None and known.encoder == "features":
        verb = "was rendered from"
    whose = {"image": "originals", "study": "studies' originals"}.get(
        provenance.split_unit or "", "patients' originals"
    )
    if known is None:
        return f"{_each(distilled)} {verb} the mean of several {whose}; it is not said of how many."
    space = f", {SPACES[known.encoder]}" if known.encoder else ""
    told = [f"{_each(distilled)} {verb} the mean of at least {known.smallest_cluster} {whose}{space}."]
    if known.decoder:
        told.append(f"The autoencoder has the SHA-256 {known.decoder} and the licence: {escaped(known.licence)}.")
    if known.teachers:
        networks = "a network" if known.teachers == 1 else f"{known.teachers} networks"
        told.append(
            f"Its probabilities are the answers of {networks} trained on the originals, at temperature "
            f"{known.temperature or 1:g}."
        )
    return " ".join(told)
