"""Data card: ``README.md``, what a person should know before using a set, and what Hugging Face reads at its top."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import TypeAdapter, ValidationError

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.provenance import SharedProvenance
from medistill.data.burnt_in_text import can_carry_letters, too_small_for_letters
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.intervals import Estimate
from medistill.privacy.audit import Audit
from medistill.privacy.criterion import Criterion
from medistill.recipe.arms import HEADLINE
from medistill.recipe.class_map import ClassMap
from medistill.report import wording
from medistill.report.arm_style import arm_name
from medistill.report.attack_words import asked_text, found_text, name_of, verdict_word
from medistill.report.audit_statements import verdict_sentence
from medistill.report.encoder_statements import NOT_EXPECTED, from_scratch_learns
from medistill.report.estimates import with_interval
from medistill.report.record import Report
from medistill.report.render.markdown import escaped, shown_whole
from medistill.report.target_statements import BY_TARGETS
from medistill.report.text_statements import originals_text, text_sentences
from medistill.report.tile_statements import tile_sentence
from medistill.sharing.card_origin import for_encoder, origin_text, shows_centroids, statistics_text
from medistill.sharing.statement import Statement

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
    stated: bool = False,
) -> bytes:
    """The card in Markdown, UTF-8.

    Args:
        provenance: what of the set's provenance leaves.
        audit: what of the audit leaves, or None.
        report: what of the report leaves, or None.
        dicom: the bundle holds DICOM objects too.
        stated: it holds what it says of its privacy for programs, and of an audit as a page.
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
        origin_text(distilled, provenance, report),
        statistics_text(distilled),
        "## What it is worth",
        *_worth(report),
        escaped(from_scratch_learns(report)) if for_encoder(provenance) else "",
        "## What was done for privacy, and what was not",
        *_privacy(distilled, provenance, audit, statement, report),
        "## How to use it",
        *_use(distilled, provenance),
        "## What it is not for",
        _limits(distilled, provenance),
        "## What lies in the bundle",
        _files(distilled, audit, report, dicom=dicom, stated=stated),
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
        if shows_centroids(provenance)
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
    figures = [] if audit is None else [f"- {escaped(name_of(one))}: {_criterion(one)}" for one in audit.criteria]
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
    why = f": {escaped(one.reason)}" if one.not_looked_for else ""
    return f"{found_text(one)}, {asked_text(one)} ({verdict_word(one)}{why})"


def _use(distilled: DistilledSet, provenance: SharedProvenance) -> list[str]:
    train = ["medistill verify bundle.zip", "medistill train bundle.zip --network resnet18 --out model/"]
    how = "Check that it came as it was sent, then train a network on it:"
    if for_encoder(provenance):
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
        if provenance.network and provenance.encoder is None and not shows_centroids(provenance)
        else f" {NOT_EXPECTED}"
        if for_encoder(provenance)
        else ""
    )
    return (
        "Not for diagnosis, and not evidence about any patient or disease. "
        f"At {side} pixels a side, small findings cannot be seen.{network} Whatever is wrong or one-sided in the "
        "originals is in these images too. A network trained on them needs to be tested on your own patients before "
        "anyone relies on it."
    )  # fmt: skip


def _files(distilled: DistilledSet, audit: Audit | None, report: Report | None, *, dicom: bool, stated: bool) -> str:
    rows = {
        "`images.safetensors`": "images, labels, weights and learning rate in full precision",
        "`labels.csv`": "a line an image",
        "`previews/`, `contact_sheet.png`": "the images as people see them",
        "`dicom/`": "the same as DICOM Secondary Capture objects" if dicom else "",
        "`statistics.safetensors`": "noisy class statistics of the originals, and the public space that they are in"
        if distilled.statistics is not None
        else "",
        "`audit.json`": "what the audit tried and found" if audit is not None else "",
        "`audit.html`": "the same on a page, to print and sign by" if audit is not None and stated else "",
        "`privacy.json`": "the guarantee, and what was tried and found, for programs" if stated else "",
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
