"""Data card: ``README.md``, what a person should know before using a set, and what Hugging Face reads at its top."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from pydantic import TypeAdapter, ValidationError

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.provenance import MergedPart, SharedProvenance
from medistill.data.burnt_in_text import can_carry_letters, too_small_for_letters
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.intervals import Estimate
from medistill.methods.registry import facts_of
from medistill.privacy.audit import Audit
from medistill.privacy.criterion import Criterion
from medistill.recipe import UNITS
from medistill.recipe.arms import HEADLINE
from medistill.recipe.class_map import ClassMap
from medistill.report import wording
from medistill.report.arm_style import arm_name
from medistill.report.audit_statements import verdict_sentence
from medistill.report.encoder_statements import NOT_EXPECTED, from_scratch_learns, made_for
from medistill.report.estimates import with_interval
from medistill.report.record import Report
from medistill.report.render.markdown import escaped, shown_whole
from medistill.report.selection_statements import DRAWN_BY, UNUSUAL
from medistill.report.target_statements import BY_TARGETS, taught_by
from medistill.report.text_statements import originals_text, text_sentences
from medistill.report.tile_statements import tile_sentence
from medistill.sharing.selection import drawn_by, pruned_share, thinned_share
from medistill.sharing.statement import Statement, sender_words

CARD = "README.md"
CLASS_MAP: TypeAdapter[dict[str, tuple[str, ...]]] = TypeAdapter(ClassMap)
FIGURES = HEADLINE
"""What the card says a set is worth: itself, all originals, as many originals drawn at random."""
KNOWN_LICENCES = (
    "apache-2.0", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-4.0",
    "cc0-1.0", "mit", "odbl", "pddl",
)  # fmt: skip
"""Licences for data that Hugging Face knows by these names; any other is "other" there, with an
identifier made of its name beside it; the name itself stands at the end of the card."""
SPACES = {
    "pca": "as their principal components show them",
    "autoencoder": "as an autoencoder that was trained on these originals writes them",
    "brought": "as an autoencoder that was not trained on these originals writes them",
    "features": "as a frozen encoder sees them",
}
"""Encoder of a quantised set -> in what the mean was taken."""
CUT = (
    "The images are not to be trained on as they lie in the files: each is {f} by {f} tiles (`tiles` in "
    "`images.safetensors`), and each tile becomes an image. The commands above and `as_dataset()` do so. In other "
    "code, of a tensor `x` (N, C, H, W):\n\n"
    "```python\nimport torch\nfrom torch.nn.functional import interpolate\n\n"
    "rows = [row.chunk({f}, dim=3) for row in x.chunk({f}, dim=2)]\n"
    "tiles = torch.stack([tile for row in rows for tile in row], dim=1).flatten(0, 1)\n"
    'x = interpolate(tiles, size=x.shape[2:], mode="bilinear", align_corners=False)\n'
    "labels, weights = labels.repeat_interleave({n}, dim=0), weights.repeat_interleave({n})\n```"
)
"""How to cut the images of a set without medistill."""
BY_VALUES = (
    "Each image carries a value for every class, to train on in place of its class: they are no probabilities, and a "
    "network is trained to answer them by half the squared error."
)
HARDEST = "those that a network trained on all of them found hardest."
"""Which originals are left out for their loss."""
UNLIKE = "those whose effect on the gradient of synthetic images was unlike that of the others."
"""Which are left out for their effect."""
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))
TAGS = ("medical", "radiology", "synthetic", "dataset-distillation", "medistill")


def data_card(
    distilled: DistilledSet,
    statement: Statement,
    provenance: SharedProvenance,
    audit: Audit | None,
    report: Report | None,
    *,
    dicom: bool,
) -> bytes:
    """The card in Markdown, UTF-8.

    Args:
        provenance: what of the set's provenance leaves.
        audit: what of the audit leaves, or None.
        report: what of the report leaves, or None.
        dicom: the bundle holds DICOM objects too.
    """
    count, classes = len(distilled.labels), distilled.class_names
    title = f"{count} synthetic medical images in {len(classes)} {'class' if len(classes) == 1 else 'classes'}"
    parts = [
        _front_matter(count, title, statement.licence),
        f"# {title}",
        "![Images of the set, class by class](contact_sheet.png)",
        "## What it is",
        _what(distilled, provenance),
        f"**Meant for:** {escaped(statement.intended_use)}",
        f"**Sent by:** {_sender(statement)}. {statement.date_sentence}",
        "## What it was made from",
        _source(distilled, provenance, report),
        _statistics(distilled),
        "## What it is worth",
        *_worth(report),
        escaped(from_scratch_learns(report)) if _for_encoder(provenance) else "",
        "## What was done for privacy, and what was not",
        *_privacy(distilled, provenance, audit, statement, report),
        "## How to use it",
        *_use(distilled, provenance),
        "## What it is not for",
        _limits(distilled, provenance),
        "## What lies in the bundle",
        _files(distilled, audit, report, dicom=dicom),
        "## Licence",
        f"{escaped(statement.licence)}, chosen by the sender.",
    ]
    return shown_whole("\n\n".join(part for part in parts if part) + "\n").encode()


def _sender(statement: Statement) -> str:
    """The sender's own words, and that they are no more than that: a card cannot know who signed the bundle."""
    if not statement.sender:
        return "the sender does not say"
    return f"{escaped(statement.sender)}, in the sender's own words; unverified, unless `medistill verify` names a key"


def _front_matter(count: int, title: str, licence: str) -> str:
    """What Hugging Face reads; every text is quoted as JSON, which YAML reads too."""
    size = next((name for most, name in SIZES if count < most), "100K<n<1M")
    known = licence.lower() in KNOWN_LICENCES
    slug = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-.") or "see-below"
    named = [f"license: {licence.lower()}"] if known else ["license: other", f"license_name: {json.dumps(slug)}"]
    lines = [
        *named,
        f"pretty_name: {json.dumps(title)}",
        "task_categories:",
        "- image-classification",
        "size_categories:",
        f"- {json.dumps(size)}",
        "tags:",
        *(f"- {tag}" for tag in TAGS),
    ]
    return "\n".join(["---", *lines, "---"])


def _what(distilled: DistilledSet, provenance: SharedProvenance) -> str:
    count, channels, height, width = distilled.images.shape
    colours = "grey" if channels == 1 else f"{channels}-channel"
    per_class = wording.listed(
        [f"{escaped(name)} ({int((distilled.labels == c).sum())})" for c, name in enumerate(distilled.class_names)]
    )
    soft = " Each image carries probabilities of all classes, to train on in place of its class."
    if distilled.by_values:
        soft = f" {BY_VALUES}"
    if distilled.by_targets:
        soft = f" {BY_TARGETS}"
    weighty = " Each image has a weight: multiply its loss by it."
    method = f", by the method {escaped(provenance.method)}" if provenance.method else ""
    made = (
        "each is a mean of originals of its class that are alike, and stands for them"
        if _centroids(provenance)
        else "they are tuned so that a network trained on them learns much of what it would learn from the originals"
    )
    united = wording.listed(
        [
            f"{escaped(name)} unites {wording.listed([escaped(one) for one in names])}"
            for name, names in _class_map(provenance).items()
            if name in distilled.class_names
        ]
    )
    soft = soft if distilled.soft_labels is not None else ""
    tiles = f" {told}" if (told := tile_sentence(distilled.tiles, distilled.shown)) else ""
    return (
        f"{count} {colours} images of {height} by {width} pixels: {per_class}."
        f"{f' Of the classes of the originals, {united}.' if united else ''} A computer made them{method}: {made}. "
        f"They look blurred or grainy to people.{tiles}{soft}"
        f"{'' if np.all(distilled.weights == distilled.weights[0]) else weighty}"
    )


def _class_map(provenance: SharedProvenance) -> Mapping[str, Sequence[str]]:
    """The class map of the set's recipe; none where there is no recipe, or what a stranger wrote there is no map."""
    data = (provenance.recipe or {}).get("data")
    try:
        return CLASS_MAP.validate_python(data.get("class_map", {}) if isinstance(data, dict) else {})
    except ValidationError:
        return {}


def _centroids(provenance: SharedProvenance) -> bool:
    """Whether the images are the centroids themselves, which nothing changed afterwards."""
    return facts_of(provenance.method or "").centroids


def _for_encoder(provenance: SharedProvenance) -> bool:
    """Whether the images were made for the features of an encoder, and not for pixels."""
    return provenance.encoder is not None and not _centroids(provenance)


def _source(distilled: DistilledSet, provenance: SharedProvenance, report: Report | None) -> str:
    if provenance.sources is not None:
        rows = [
            f"| {k} | {escaped(sender_words(source.sender, source.signer))} | "
            f"{source.first} to {source.first + source.images - 1} | "
            f"{'none' if source.epsilon is None else f'{source.epsilon:g}'} | `{source.set_digest[:12]}` |"
            for k, source in enumerate(provenance.sources, 1)
        ]
        head = ["| | Sender | Images | Epsilon | SHA-256 begins |", "|---|---|---|---|---|"]
        told = [sentence for source in provenance.sources for sentence in _selected(source)]
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
    }.get(provenance.starts_from or "", "")
    apart = report is not None and report.evaluation.originals == "apart"
    split = {
        "patient": "No patient is both among the originals and among the test images." if apart else "",
        "study": ("No study is both among the originals and among the test images. " if apart else "")
        + "Not every patient is known: studies of one may be on both sides.",
        "image": "Patients are not known apart: images of one may be both among the originals and the test images.",
    }.get(provenance.split_unit or "", "")
    unused = _centroids(provenance) and distilled.soft_labels is None
    encoder = provenance.encoder
    network = f"A {escaped(provenance.network)} network was used." if provenance.network and not unused else ""
    if encoder is not None and not unused:
        network = escaped(made_for(encoder))
    if provenance.teacher is not None:
        network = f"{network} {escaped(taught_by(provenance.teacher))}".strip()
    return " ".join(text for text in (f"{made}.", _pruning(provenance), began, split, network) if text)


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


def _statistics(distilled: DistilledSet) -> str:
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


def _means(distilled: DistilledSet, provenance: SharedProvenance) -> str:
    """Of how many patients an image of a quantised set is the mean, in which space, and who gave its labels."""
    known, verb = provenance.quantisation, "is" if _centroids(provenance) else "began as"
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


def _worth(report: Report | None) -> list[str]:
    if report is None:
        return ["**Not measured.** The sender's folder holds no evaluation of this set."]
    evaluation = report.evaluation
    return [
        f"Fresh networks ({escaped(evaluation.network)}) were trained on each of these, and tested on "
        f"{evaluation.test_images} of the sender's images that no network had seen "
        f"({evaluation.test_patients} {wording.counted_as(report.split_unit)}):",
        _figures(evaluation),
        escaped(wording.sentences(report.verdict.against_raw, report.verdict.against_random)),
        "These are the sender's figures on the sender's images. Yours will differ: measure them (see below). The whole "
        "report is in `report.html`.",
    ]


def _figures(evaluation: Evaluation) -> str:
    level = wording.sentences(wording.level(evaluation.confidence))
    rows = [f"| Trained on | Images | Macro AUC ({level}) | Accuracy ({level}) |", "|---|---:|---|---|"]
    for name in FIGURES:
        arm = evaluation.arm(name)
        if arm is None:
            rows.append(f"| {arm_name(name)} | not trained | | |")
        else:
            told = (_estimate(arm.macro_auc), _estimate(arm.accuracy))
            rows.append(f"| {arm_name(name)} | {arm.images} | {told[0]} | {told[1]} |")
    return "\n".join(rows)


def _text(distilled: DistilledSet, provenance: SharedProvenance, audit: Audit | None) -> str:
    """Whether text was looked for in originals and set, and what was found."""
    if audit is not None and audit.text is not None:
        return wording.sentences(*text_sentences(audit.text))
    check, side = provenance.text_check, min(distilled.images.shape[2:])
    if not can_carry_letters(side, side):
        return f"Text was not looked for: {too_small_for_letters(str(side))}."
    policy, by = ("", "") if check is None else (check.policy, check.by or "")
    return f"{originals_text(policy, by)} The set was not read for letters: look at every image."


def _privacy(
    distilled: DistilledSet,
    provenance: SharedProvenance,
    audit: Audit | None,
    statement: Statement,
    report: Report | None,
) -> list[str]:
    formal = escaped(provenance.privacy or "The set does not say what was done for its privacy.")
    tried = f"**Audit:** {escaped(verdict_sentence(audit))}" if audit is not None else "**Audit:** none was made."
    figures = (
        [] if audit is None else [f"- {escaped(one.name)}: {_criterion(one)} ({one.verdict})" for one in audit.criteria]
    )
    risk = statement.acknowledged_risk
    covered = provenance.differential_privacy is not None and (audit is not None or report is not None)
    return [
        f"**Formal guarantee:** {formal}",
        tried,
        "\n".join(figures),
        f"**Text in the pixels:** {escaped(_text(distilled, provenance, audit))}",
        f"**Sent without a passing audit.** The sender's reason: {escaped(risk)}" if risk is not None else "",
        "The guarantee covers images, labels and learning rate. It does not cover the figures of the report and of the "
        "audit in this bundle, which were worked out on patients."
        if covered
        else "",
        "An audit looks for what it knows how to look for. That it found nothing does not show that nothing can be "
        "found: shareable does not mean that nobody can be traced.",
    ]  # fmt: skip


def _criterion(one: Criterion) -> str:
    if one.not_looked_for:
        return "not looked for"
    return "could not be judged" if one.figure is None else f"{one.figure:.3g}"


def _use(distilled: DistilledSet, provenance: SharedProvenance) -> list[str]:
    train = ["medistill verify bundle.zip", "medistill train bundle.zip --network resnet18 --out model/"]
    how = "Check that it came as it was sent, then train a network on it:"
    if _for_encoder(provenance):
        train[1:] = ["medistill encoder add encoder/", "medistill train bundle.zip --out model/"]
        how = "Check that it came as it was sent, bring its encoder, which is not in it, and train a probe on it:"
    soft = "`soft_labels` (probabilities, if it has any)"
    if distilled.by_values:
        soft = "`label_values` (to train on by the squared error)"
    if distilled.by_targets:
        soft = "`targets` (target vectors to pretrain on by the mean squared error)"
    return [
        how,
        "\n".join(["```", *train, "```"]),
        "In Python:",
        '```python\nimport medistill\n\nbundle = medistill.Bundle.open("bundle.zip")\ndataset = '
        "bundle.distilled.as_dataset()\n```",
        "What it is worth on images of your own:",
        "```\nmedistill evaluate bundle.zip --data your-xrays/\n```",
        CUT.format(f=distilled.tiles, n=distilled.tiles**2) if distilled.tiles > 1 else "",
        "Without medistill: `images.safetensors` holds `images` (float32, normalised), `viewable` (uint8), `labels`, "
        f"{soft}, `weights` (of each image in the loss), `stage`, `student_lr`, "
        "`mean` and `std`; `labels.csv` and `previews/` say the same in a form that people and `croissant.json` "
        "loaders read.",
    ]


def _limits(distilled: DistilledSet, provenance: SharedProvenance) -> str:
    side = distilled.images.shape[2]
    network = (
        f" They were tuned for one network ({escaped(provenance.network)}); others learn less."
        if provenance.network and provenance.encoder is None and not _centroids(provenance)
        else f" {NOT_EXPECTED}"
        if _for_encoder(provenance)
        else ""
    )
    return (
        "Not for diagnosis, and not evidence about any patient or disease. "
        f"At {side} pixels a side, small findings cannot be seen.{network} Whatever is wrong or one-sided in the "
        "originals is in these images too. A network trained on them needs to be tested on your own patients before "
        "anyone relies on it."
    )  # fmt: skip


def _files(distilled: DistilledSet, audit: Audit | None, report: Report | None, *, dicom: bool) -> str:
    rows = {
        "`images.safetensors`": "images, labels, weights and learning rate in full precision",
        "`labels.csv`": "a line an image",
        "`previews/`, `contact_sheet.png`": "the images as people see them",
        "`dicom/`": "the same as DICOM Secondary Capture objects" if dicom else "",
        "`statistics.safetensors`": "noisy class statistics of the originals, and the public space that they are in"
        if distilled.statistics is not None
        else "",
        "`audit.json`": "what the audit tried and found" if audit is not None else "",
        "`report.html`, `report.json`": "the whole report" if report is not None else "",
        "`croissant.json`": "a description for catalogues and loaders of data sets",
        "`manifest.json`": "SHA-256 of every file, and what the sender declares",
        "`manifest.sig`": "the sender's signature, if there is one",
    }
    return "\n".join(["| File | What it is |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items() if v)])


def _estimate(estimate: Estimate) -> str:
    if estimate.value is None:
        return "cannot be estimated"
    return wording.sentences(with_interval(estimate))
