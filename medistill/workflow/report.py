"""Report: read what lies in a run, and write ``report.html``, ``report.json`` and ``report.md`` beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medistill.artifacts.atomic import read_json, write_json, write_text
from medistill.artifacts.cache import cache_root
from medistill.artifacts.classifier import TESTED
from medistill.artifacts.corpus import load_corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import read_result
from medistill.artifacts.provenance import Provenance
from medistill.errors import ArtifactError, MedistillError, RecipeError
from medistill.evaluate.evaluation import Evaluation, load_evaluation
from medistill.evaluate.published import load_benchmark
from medistill.privacy.accounting import Guarantee
from medistill.privacy.audit import Audit, load_audit
from medistill.privacy.spent import Spent
from medistill.quantisation.record import Quantisation
from medistill.recipe import load_recipe, validate_recipe
from medistill.recipe.load import sections_of
from medistill.report.caveats import caveats
from medistill.report.checklist import checklist
from medistill.report.held_out_sites import load_sites
from medistill.report.html import render_html
from medistill.report.markdown import markdown
from medistill.report.methods_text import methods
from medistill.report.pictures import ClassPictures, class_pictures
from medistill.report.record import Course, HeldOutSite, Making, Report
from medistill.report.summaries import CorpusSummary, SetSummary
from medistill.report.verdict import verdict
from medistill.report.wording import count, counted
from medistill.workflow.corpus_record import tested_corpus

SUMMARISED = (
    "chosen_step", "training_images", "training_groups", "split_unit", "synthetic_source", "quantisation",
)  # fmt: skip
"""What a set says of its making that a report repeats, and so does not pass over where it cannot be read."""
SOURCES = {True: "phantoms", False: "real ones", None: "originals"}
"""What the source images are called, by whether they are synthetic."""


def write_report(run: str | Path, *, show_real: bool = False) -> Report:
    """Write ``report.html``, ``report.json`` and ``report.md`` to ``RUN``, from what lies there.

    Only the evaluation must be there; what else is missing is named as not available, with the reason.

    Args:
        run: folder of a run.
        show_real: put real training images beside the distilled ones; the page then says not to share it.

    Raises:
        ArtifactError: no evaluation, a damaged file, or ``show_real`` without the corpus in the cache.
    """
    folder = Path(run)
    report = replace(read_report(folder), shows_real=show_real)
    distilled = _distilled(folder)
    real = _real_pictures(folder, report, per_class=distilled.ipc if distilled else 10) if show_real else ()
    pictures = (
        class_pictures(distilled.viewable(), distilled.labels, distilled.class_names) if distilled is not None else ()
    )
    page = render_html(report, pictures, real)
    write_json(folder / "report.json", report.as_json())
    write_text(folder / "report.md", markdown(report))
    write_text(folder / "report.html", page, private=show_real)
    return report


def read_report(run: str | Path) -> Report:
    """The report of what lies in ``RUN``; nothing is written.

    Raises:
        ArtifactError: no such folder, no evaluation in it, or a damaged file.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise ArtifactError(f"there is no folder '{folder}'", expected="the folder of a run", do="check the path")
    if not (folder / "evaluation" / "evaluation.json").is_file():
        raise ArtifactError(
            f"{folder} holds no evaluation yet",
            expected="evaluation/evaluation.json, which the last stage of a run writes",
            do="finish the run: `medistill distill` with the same --out and --resume",
        )
    evaluation, distilled = load_evaluation(folder / "evaluation" / "evaluation.json"), _distilled(folder)
    record = _record(folder)
    missing: dict[str, str] = {}
    summary = _set_summary(folder, distilled) if distilled is not None else None
    if summary is None:
        missing["distilled"] = "this folder holds an evaluation, but not the set"
    classifier = (folder / "evaluation" / TESTED).is_file()
    try:
        described = record.get("corpus") or tested_corpus(folder)
        corpus = _corpus_summary(described) if described else None
        making = _making(folder, record, distilled)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{folder / 'run.json'} cannot be used: {f'it lacks {error}' if isinstance(error, KeyError) else error}",
            expected="a run record as this version of medistill writes it",
            do="repeat the run's command with --resume",
        ) from None
    if classifier:
        missing["training"] = "one classifier was tested as it was received; nothing was trained to compare it with"
    if corpus is None:
        missing["corpus"] = "this folder holds no record of a run (run.json)"
    if not record:
        missing["making"] = "this folder holds no record of a run (run.json); what is shown comes from the set"
    course = _course(folder / "history.json")
    if course is None:
        missing["course"] = (
            f"method {summary.method} has no outer steps, and so no course"
            if summary is not None and summary.quantising
            else "this folder holds no history of a distillation (history.json)"
        )
    if not evaluation.roc:
        missing["curves"] = "no class has a ROC curve on this test split, or there are too many classes to draw"
    synthetic = corpus.synthetic if corpus is not None else summary.synthetic_source if summary is not None else None
    elsewhere = evaluation.tested == "all images" and summary is None
    published = folder / "benchmark.json"
    benchmark = load_benchmark(published) if published.is_file() else None
    sites, audit = _sites(folder, corpus, missing), _audit(folder, summary, missing)
    if classifier:
        missing["audit"] = "an audit stands with the set that the classifier was trained on"
    elif summary is None:
        missing["audit"] = "an audit stands with the set, in its bundle or in the report of its run"
    known = Report(
        title=_title(evaluation, summary, synthetic=None if elsewhere else synthetic, classifier=classifier),
        synthetic=synthetic,
        shows_real=False,
        verdict=verdict(evaluation, declared_margin=making.section("evaluate").get("margin"), classifier=classifier),
        not_promised=caveats(
            evaluation,
            summary,
            corpus,
            synthetic=synthetic,
            held_out=any(site.evaluation is not None for site in sites),
            benchmark=benchmark is not None,
            departs=benchmark is not None and bool(benchmark.cut_down),
            audit=audit,
            classifier=classifier,
        ),
        evaluation=evaluation,
        across=_across(folder, missing),
        sites=sites,
        audit=audit,
        benchmark=benchmark,
        methods=(),
        checklist=(),
        distilled=summary,
        corpus=corpus,
        quantisation=_quantisation(folder, summary, missing),
        course=course,
        making=making,
        missing=missing,
    )
    return replace(known, methods=methods(known), checklist=checklist(known))


def _distilled(folder: Path) -> DistilledSet | None:
    return DistilledSet.load(folder / "set") if (folder / "set" / "manifest.json").is_file() else None


def _record(folder: Path) -> Mapping[str, Any]:
    return read_result(folder / "run.json", "run record") if (folder / "run.json").is_file() else {}


def _title(evaluation: Evaluation, summary: SetSummary | None, *, synthetic: bool | None, classifier: bool) -> str:
    arm, raw = evaluation.arm("distilled"), evaluation.arm("raw")
    images = summary.images if summary is not None else arm.images if arm is not None else None
    if classifier and images is not None:
        return f"Classifier trained on {counted(images, 'distilled image')}, tested as it was received"
    if evaluation.tested == "all images" and summary is None and images is not None:
        return f"{counted(images, 'distilled image')}, tested on another corpus than their own"
    source = sum(summary.training_images.values()) if summary is not None else 0
    if not source and raw is not None:
        source = raw.images
    made = counted(images, "image") if images is not None else "Images"
    return f"{made} distilled from {f'{count(source)} ' if source else ''}{SOURCES[synthetic]}"


def _set_summary(folder: Path, distilled: DistilledSet) -> SetSummary:
    known, per_class = distilled.provenance, np.bincount(distilled.labels)
    manifest = folder / "set" / "manifest.json"
    known.refuse_malformed(str(manifest), *SUMMARISED)
    told = SetSummary(
        images=len(distilled.labels),
        ipc=distilled.ipc,
        shape=tuple(int(side) for side in distilled.images.shape[1:]),
        student_lr=distilled.student_lr,
        method=known.method or "",
        starts_from=known.starts_from or "",
        chosen_step=known.chosen_step,
        training_images=known.training_images or {},
        training_groups=known.training_groups,
        split_unit=known.split_unit or "",
        synthetic_source=known.synthetic_source,
        privacy=known.privacy or "",
        files=dict(read_json(manifest, "distilled set")["files"]),
        guarantee=Guarantee.of_set(known),
        spent=Spent.of_set(known),
        uneven=bool((per_class[per_class > 0] < distilled.ipc).any()),
        quantised=known.quantisation,
    )
    try:
        return told.checked()
    except ValueError as error:
        raise ArtifactError(
            f"{manifest} cannot be used: {error}",
            expected="a set that medistill distilled",
            do="repeat the run's command with another --out",
        ) from None


def _corpus_summary(known: Mapping[str, Any]) -> CorpusSummary:
    return CorpusSummary(
        sites=tuple(known["site_names"]),
        counts={split: dict(of_split) for split, of_split in known["counts"].items()},
        counts_by_site={site: dict(of_site) for site, of_site in known["counts_by_site"].items()},
        patients=dict(known["patients"]),
        found=int(known["found"]),
        refused=dict(known["refused"]),
        split_unit=known["split_unit"],
        split_source=known["split_source"],
        synthetic=bool(known["synthetic"]),
        notes=tuple(known["notes"]),
        text_by=str((known.get("text_check") or {}).get("by", "")),
        text_policy=str((known.get("text_check") or {}).get("policy", "")),
        text_masked=int(known.get("text_masked", 0)),
    ).checked()


def _making(folder: Path, record: Mapping[str, Any], distilled: DistilledSet | None) -> Making:
    """What the run says of itself; where it says nothing, what the set says of its own making."""
    of_set = distilled.provenance if distilled is not None else Provenance()
    settings = _settings(folder, of_set.recipe or {})
    hashes = {
        "recipe": record.get("recipe_digest") or of_set.recipe_digest,
        "corpus": record.get("corpus", {}).get("content") or of_set.corpus,
        "experts": of_set.trajectories,
    }
    if distilled is not None:
        hashes |= {
            f"set/{name}": digest
            for name, digest in read_json(folder / "set" / "manifest.json", "distilled set")["files"].items()
        }
    command = record.get("command")
    return Making(
        seed=record.get("seed", settings.get("", {}).get("seed")),
        recipe=str(record.get("recipe") or settings.get("", {}).get("name") or ""),
        settings={section: values for section, values in settings.items() if section},
        versions=dict(record.get("versions") or of_set.versions or {}),
        device=str(record.get("device") or of_set.device or ""),
        hardware=str(record.get("hardware", "")),
        commands=(command, f"medistill report {folder.resolve().name}") if command else (),
        stages={stage: float(entry["seconds"]) for stage, entry in record.get("stages", {}).items()},
        hashes={name: digest for name, digest in hashes.items() if digest},
    )


def _settings(folder: Path, of_set: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Every setting, defaults too, section by section; none where the set's recipe is of a version that had others."""
    if (folder / "recipe.toml").is_file():
        return sections_of(load_recipe(folder / "recipe.toml"))
    try:
        return sections_of(validate_recipe(of_set, "the recipe inside the set")) if of_set else {}
    except RecipeError:
        return {}


def _course(path: Path) -> Course | None:
    if not path.is_file():
        return None
    known = read_result(path, "history")
    try:
        course = Course(
            loss=tuple(map(float, known["loss"])),
            student_lr=tuple(map(float, known["student_lr"])),
            importance_names=tuple(map(str, known["importance_names"])),
            importance=tuple(tuple(map(float, row)) for row in known["importance"]),
            looks=tuple(map(int, known["looks"])),
            accuracy=tuple(map(float, known["accuracy"])),
            auc=tuple(map(float, known["auc"])),
            chosen_step=int(known["chosen_step"]),
        )
        if (
            len(course.loss) != len(course.student_lr)
            or not len(course.looks) == len(course.accuracy) == len(course.auc)
            or any(len(row) != len(course.importance_names) for row in course.importance)
        ):
            raise ValueError("its lists are not equally long")
        return course
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ArtifactError(
            f"{path} cannot be used: {error}",
            expected="a history as this version of medistill writes it",
            do="remove that file and write the report again; its figures are then left out",
        ) from None


def _quantisation(folder: Path, summary: SetSummary | None, missing: dict[str, str]) -> Quantisation | None:
    """How the corpus was quantised, where the set is or began as its centroids; why not known goes to ``missing``."""
    if summary is None or summary.starts_from != "quantised":
        return None
    path = folder / "quantisation.json"
    if not path.is_file():
        missing["quantisation"] = "this folder holds no record of the quantisation (quantisation.json)"
        return None
    return Quantisation.from_json(read_result(path, "record of a quantisation"), str(path))


def _across(folder: Path, missing: dict[str, str]) -> tuple[Evaluation, ...]:
    """Evaluations on other networks; why there is none goes to ``missing``."""
    found, failed = [], []
    for network in sorted((folder / "across").glob("*")):
        if (network / "evaluation" / "evaluation.json").is_file():
            found.append(load_evaluation(network / "evaluation" / "evaluation.json"))
        elif (network / "failed.json").is_file():
            known = read_result(network / "failed.json", "evaluation on another network")
            failed.append(f"{known.get('network', network.name)}: {known.get('reason', 'it failed')}")
    if failed:
        missing["across"] = "; ".join(failed)
    elif not found:
        missing["across"] = "the run was evaluated on one network only (evaluate.across names others)"
    return tuple(found)


def _sites(folder: Path, corpus: CorpusSummary | None, missing: dict[str, str]) -> tuple[HeldOutSite, ...]:
    found = load_sites(folder)
    if not found and corpus is not None and len(corpus.sites) > 1:
        missing["sites"] = "no set was distilled without a site; the command medistill leave-site-out does it"
    return found


def _audit(folder: Path, summary: SetSummary | None, missing: dict[str, str]) -> Audit | None:
    """The audit of the run's set; why there is none goes to ``missing``."""
    path = folder / "audit" / "audit.json"
    if not path.is_file():
        missing["audit"] = "no audit was run; the command medistill audit does it"
        return None
    audit = load_audit(path)
    if summary is None or summary.files.get("images.safetensors") != audit.set_digest:
        missing["audit"] = "the audit in this folder is of another set; the command medistill audit makes it again"
        return None
    return audit


def _real_pictures(folder: Path, report: Report, *, per_class: int) -> tuple[ClassPictures, ...]:
    """Real training images of each class, spread over the training split."""
    try:
        corpus = load_corpus(cache_root() / "corpora" / str(_record(folder)["corpus"]["content"]))
    except (KeyError, MedistillError):
        raise ArtifactError(
            "real images cannot be shown: the corpus of this run is not in the cache",
            expected="the corpus that the run was made from",
            do="repeat the run's command with --resume, or leave out --show-real",
        ) from None
    train = corpus.rows("train")
    picked = []
    for c in range(len(report.evaluation.class_names)):
        rows = train[corpus.labels[train] == c]
        picked.append(rows[np.unique(np.linspace(0, len(rows) - 1, min(per_class, len(rows))).astype(int))])
    chosen = np.concatenate(picked)
    return class_pictures(np.asarray(corpus.images[chosen]), corpus.labels[chosen], corpus.class_names)
