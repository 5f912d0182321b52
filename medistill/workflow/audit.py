"""Audit: what a distilled set gives away of the training images, and whether it passes the gate."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from medistill.artifacts.atomic import private_folder, write_text
from medistill.artifacts.corpus import Corpus, TextCheck
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json
from medistill.errors import DataError, MedistillError, UsageError
from medistill.evaluate.protocol import random_rows
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import NetworkSpec
from medistill.privacy import gate
from medistill.privacy.accounting import Guarantee
from medistill.privacy.audit import Audit, CopyFigures, CopyRule, Criterion, ResidueFigures
from medistill.privacy.exact import exact_proportion
from medistill.privacy.letters import TextFigures
from medistill.privacy.membership import Membership
from medistill.privacy.residue import residue
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe, audit_deviations, validate_recipe
from medistill.report.overlays import render_overlays
from medistill.report.pairs import render_pairs
from medistill.training.device import choose_device
from medistill.workflow.audit_outlook import say_obstacles
from medistill.workflow.audit_seal import seal_audit
from medistill.workflow.environment import versions
from medistill.workflow.experts import network_spec
from medistill.workflow.likeness import Examined, closest, compare, copy_figures, examined, grey_of
from medistill.workflow.membership import attack_membership
from medistill.workflow.retrace import making_flaw
from medistill.workflow.same_corpus import text_looked_for
from medistill.workflow.text_audit import text_figures

OVERLAYS_PAGE = "overlays.html"


def audit(
    distilled: DistilledSet,
    corpus: Corpus,
    recipe: Recipe,
    *,
    out: str | Path,
    run: str | Path | None = None,
    attack: bool = True,
    show_real: bool = False,
    built_in: bool = False,
    network: NetworkFactory | None = None,
    device: str = "auto",
    command: str = "",
    progress: Progress = Silent(),
) -> Audit:
    """Look for copies of training images, remains of the starting ones and letters; write ``out/audit.json``.

    The same search runs on as many random training images, in which it must find copies, and on held-out images of
    other patients, in which it should find none.

    Args:
        recipe: of the set; its section ``audit`` holds the thresholds.
        run: folder of the run that made the set. Its record of the making ties the audit to the set; without it, or
            where the two do not agree, only the method is audited, and no set passes.
        attack: make the attacks on membership too (see `attack_membership`), which take longest; without them no set
            passes.
        show_real: write the closest pairs to ``out/pairs.html`` too, which then must not be shared.
        built_in: the corpus is the one that medistill draws (`built_in_corpus`), into which nobody wrote text.
        network: the user's own, where the set was made with it (see `train_experts`).
        command: what made it, for the record.

    Raises:
        DataError: the set was made from another corpus, or has other classes or shapes.
        UsageError: it was made with another network.
        DivergedError: the network that gives the features left the finite numbers.
    """
    started, folder, place = time.perf_counter(), private_folder(Path(out)), choose_device(device)
    _check_fit(distilled, corpus)
    spec = network_spec(corpus, recipe, network)
    _refuse_another_network(distilled, spec)
    say_obstacles(corpus, recipe, progress, "This audit will not be able to pass the set.", attack=attack)
    held_out = np.sort(np.concatenate([corpus.rows("val"), corpus.rows("test")]))
    subjects = examined(distilled, corpus, recipe, held_out, place)
    compared = compare(subjects, distilled, corpus, recipe, held_out, spec, place, progress) if len(held_out) else {}
    rules, copies = copy_figures(compared, subjects, corpus, recipe)
    began_as, why_none = starting_rows(distilled, corpus)
    remains = _residue_figures(subjects, began_as, corpus, recipe, place) if began_as is not None else ()
    membership = (
        attack_membership(distilled, corpus, recipe, out=folder, network=network, device=device, progress=progress)
        if attack
        else None
    )
    text, patterns = text_figures(distilled, corpus, recipe, built_in=built_in, progress=progress)
    patients = len(np.unique(corpus.groups[held_out]))
    flaw, made_again = making_flaw(
        distilled,
        corpus,
        recipe,
        None if run is None else Path(run),
        place=place,
        folder=folder,
        progress=progress,
    )
    criteria = _criteria(
        distilled, corpus, recipe, (len(held_out), patients), rules, copies, remains, why_none, membership, text
    )
    strictness = recipe.strictness
    criteria = (
        gate.making_known(len(distilled.labels), flaw, made_again),
        gate.as_shipped(audit_deviations(strictness)),
        *criteria,
    )
    result = Audit(
        verdict=gate.decide(criteria),
        criteria=criteria,
        rules=rules,
        copies=copies,
        residue=remains,
        residue_reason=why_none,
        membership=membership,
        guarantee=_guarantee(distilled),
        not_tested=_not_tested(membership, text),
        train_images=len(corpus.rows("train")),
        held_out_images=len(held_out),
        held_out_patients=patients,
        split_unit=corpus.split_unit,
        network=spec.words,
        set_digest=distilled.digest(),
        corpus=corpus.content,
        thresholds=strictness,
        seed=recipe.seed,
        versions=versions(),
        device=place.type,
        command=command,
        seconds=round(time.perf_counter() - started, 2),
        text=text,
    )
    keep_json(folder / "audit.json", result.as_json(), private=True)
    seal_audit(distilled, folder)
    for page in ("pairs.html", OVERLAYS_PAGE):
        (folder / page).unlink(missing_ok=True)  # an earlier audit's: it shows the originals
    if patterns:
        write_text(folder / OVERLAYS_PAGE, render_overlays(patterns, text.overlays, distilled), private=True)
    if show_real:
        pairs = closest(compared, distilled, corpus) if compared else ()
        write_text(folder / "pairs.html", render_pairs(pairs), private=True)
    return result


def _check_fit(distilled: DistilledSet, corpus: Corpus) -> None:
    if distilled.class_names != corpus.class_names:
        raise DataError(
            f"the set has the classes {', '.join(distilled.class_names)}; "
            f"the corpus has {', '.join(corpus.class_names)}",
            expected="the corpus that the set was made from, with the same classes in the same order",
            do="give that corpus with --data and --labels",
        )
    if distilled.images.shape[1:] != corpus.images.shape[1:]:
        raise DataError(
            f"the set's images are {distilled.images.shape[1:]}, the corpus' {corpus.images.shape[1:]} (C, H, W)",
            expected="the corpus that the set was made from, in the same shape",
            do="give that corpus, and the recipe that the set was made with",
        )
    made_from = distilled.provenance.get("corpus")
    if made_from != corpus.content:
        text = text_looked_for(_text_check_of(distilled), corpus.text_check) if made_from else ""
        raise DataError(
            f"the set was made from the corpus {str(made_from)[:12]}, and this one is {corpus.content[:12]}"
            f"{f' ({text})' if text else ''}"
            if made_from
            else "the set does not say which corpus it was made from",
            expected="the very corpus, split as it was: an audit against other images would find nothing",
            do="give the --data, --labels and settings that the set was made with (its recipe lies in manifest.json)",
        )


def _text_check_of(distilled: DistilledSet) -> TextCheck | None:
    """What looked for text in the originals, as the set says."""
    stated = distilled.provenance.get("text_check")
    if not isinstance(stated, Mapping) or "by" not in stated:
        return None
    return TextCheck(str(stated["by"]), str(stated.get("policy")))


def _refuse_another_network(distilled: DistilledSet, spec: NetworkSpec) -> None:
    """Shadows of another network would tell of another method."""
    made_with = distilled.provenance.get("network", spec.name)
    if made_with != spec.name:
        raise UsageError(
            f"the set was made with the network {made_with}, and the audit would make its shadows with {spec.name}",
            expected="the network that the set was made with",
            do="leave network.name as the set's recipe has it; for a network of your own, call medistill.audit with "
            "network=, from Python",
        )


def starting_rows(distilled: DistilledSet, corpus: Corpus) -> tuple[np.ndarray | None, str]:
    """Rows of the corpus that the images began as, drawn again from the seed; else why they are not known."""
    known = distilled.provenance
    if known.get("starts_from") == "noise":
        return None, "the images began as noise"
    if known.get("starts_from") == "quantised":
        return None, "no image began as one real image: each began as the mean of several"
    try:
        made_with = validate_recipe(known["recipe"], "the recipe inside the set")
        per_class = [made_with.method.ipc if c in distilled.labels else 0 for c in range(len(corpus.class_names))]
        if known.get("starts_from") != "real" or not np.array_equal(
            distilled.labels, np.repeat(np.arange(len(per_class)), per_class)
        ):
            return None, "the set does not say that it began as the images that its recipe draws"
        return random_rows(corpus, per_class, made_with.seed, -1), ""
    except (KeyError, MedistillError):
        return None, "the set holds no recipe from which its starting images could be drawn again"


def _residue_figures(
    subjects: tuple[Examined, ...], began_as: np.ndarray, corpus: Corpus, recipe: Recipe, place: torch.device
) -> tuple[ResidueFigures, ...]:
    rows, told = corpus.rows("train"), []
    for subject, began in zip(subjects[:2], (began_as, subjects[1].rows), strict=True):
        assert began is not None  # noqa: S101  (the random images are of the corpus)
        found = residue(
            subject.grey.flatten(1),
            subject.labels,
            began,
            rows,
            corpus.labels[rows],
            lambda some: grey_of(corpus, some, place).flatten(1),
        )
        told.append(
            ResidueFigures(
                subject=subject.name,
                images=len(began),
                own=float(found.own.mean()),
                others=float(found.others.mean()),
                recovered=exact_proportion(float(found.recovered.mean()), len(began), recipe.evaluate.confidence),
                chance=float((1 / found.candidates).mean()),
                traced=exact_proportion(
                    float(np.mean(found.p_values <= gate.TRACED_BY_CHANCE)), len(began), recipe.evaluate.confidence
                ),
            )
        )
    return tuple(told)


def _criteria(
    distilled: DistilledSet,
    corpus: Corpus,
    recipe: Recipe,
    held_out: tuple[int, int],
    rules: tuple[CopyRule, ...],
    copies: tuple[CopyFigures, ...],
    remains: tuple[ResidueFigures, ...],
    why_none: str,
    membership: Membership | None,
    text: TextFigures,
) -> tuple[Criterion, ...]:
    starts_from = str(distilled.provenance.get("starts_from", ""))
    means = distilled.provenance.get("quantisation")
    smallest = means.get("smallest_cluster") if isinstance(means, Mapping) else None
    return (
        gate.evidence(*held_out, corpus.split_unit, recipe.audit),
        *(
            gate.no_copies(figures, rule, recipe.audit)
            for rule in rules
            for figures in copies
            if (figures.subject, figures.space) == ("distilled", rule.space)
        ),
        *gate.no_residue(remains[0] if remains else None, starts_from, why_none, recipe.audit),
        *([gate.means_of_several(smallest, corpus.split_unit, recipe.audit)] if starts_from == "quantised" else []),
        *gate.membership_hidden(membership, recipe.audit),
        *gate.no_text(text),
    )


def _guarantee(distilled: DistilledSet) -> str:
    """The differential privacy that the set states, in a sentence, or that it states none."""
    stated = distilled.provenance.get("differential_privacy")
    if stated is not None:
        return Guarantee.from_json(stated).sentence
    return "The set was made without differential privacy: nothing is guaranteed formally."


def _not_tested(membership: Membership | None, text: TextFigures) -> tuple[str, ...]:
    told = [
        "Reconstruction of training images from the set with outside knowledge or a generator was not tried.",
        "Inference of a trait of a patient from the set was not tried.",
        "Copies that are rotated, mirrored, scaled, inverted or pasted in part are not looked for.",
        "Shifts of more than one pixel are not looked for in pixels and in structure.",
        "The source files' headers are no part of this audit.",
    ]
    if text.reader:
        told.append(
            "Letters that the reader of text does not see, such as handwriting or mirrored ones, are not looked for in "
            "the set."
        )
    elif text.legible:
        told.append("Letters were not looked for in the set: no reader of text was installed.")
    return (*told, *([] if membership else ["Membership inference was not tried."]))
