"""Report: read what lies in a run, and write ``report.html``, ``report.json`` and ``report.md`` beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
from medistill.artifacts.record import plain
from medistill.errors import ArtifactError, MedistillError
from medistill.evaluate.evaluation import Evaluation, load_evaluation
from medistill.evaluate.published import load_benchmark
from medistill.privacy.audit import Audit, load_audit
from medistill.progress import Progress
from medistill.quantisation.record import Quantisation
from medistill.report.held_out_sites import load_sites
from medistill.report.pictures import ClassPictures, class_pictures
from medistill.report.record import Course, HeldOutSite, Making, Report
from medistill.report.report_page import markdown, render_html
from medistill.report.summaries import CorpusSummary, SetSummary
from medistill.report.verdict import verdict
from medistill.report.worded import worded
from medistill.report.wording import count, counted
from medistill.visible import json_text
from medistill.workflow.corpus_record import tested_corpus
from medistill.workflow.run_summaries import corpus_summary, making_of, set_summary

RECORD = "report.json"
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
    write_json(folder / RECORD, report.as_json())
    write_text(folder / "report.md", markdown(report))
    write_text(folder / "report.html", page, private=show_real)
    return report


def renew_report(run: Path, progress: Progress) -> None:
    """Write the report of a run again, as openly as it lies there; a run without one stays without.

    What was found before stands by itself: where the report cannot be written, this is said, and nothing is raised.
    """
    if not (run / RECORD).is_file():
        return
    try:
        write_report(run, show_real=read_json(run / RECORD, "report").get("shows_real") is True)
    except MedistillError as error:
        progress.say(f"The report of {run} could not be written again: {error.seen}.")


def tells_of(run: Path, audit: Audit) -> bool:
    """Whether the report that lies in a run has this very audit in it."""
    if not (run / RECORD).is_file():
        return False
    try:
        told = read_json(run / RECORD, "report").get("audit")
    except ArtifactError:
        return False
    return bool(told == json.loads(json_text(plain(audit.as_json()))))


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
    evaluation = load_evaluation(folder / "evaluation" / "evaluation.json")
    distilled = _distilled(folder)
    summary = set_summary(folder, distilled) if distilled is not None else None
    corpus, making = _described(folder, distilled)
    course = _course(folder / "history.json")
    published = folder / "benchmark.json"
    missing = dict(_missing(folder, evaluation, summary, corpus, course))
    sites, audit = _sites(folder, corpus, missing), _audit(folder, summary, missing)
    synthetic = corpus.synthetic if corpus is not None else summary.synthetic_source if summary is not None else None
    classifier, margin = "training" in missing, making.section("evaluate").get("margin")
    return worded(
        Report(
            title=_title(evaluation, summary, synthetic=synthetic, classifier=classifier),
            synthetic=synthetic,
            shows_real=False,
            verdict=verdict(evaluation, declared_margin=margin, classifier=classifier),
            not_promised=(),
            evaluation=evaluation,
            across=_across(folder, missing),
            sites=sites,
            audit=audit,
            benchmark=load_benchmark(published) if published.is_file() else None,
            methods=(),
            checklist=(),
            distilled=summary,
            corpus=corpus,
            quantisation=_quantisation(folder, summary, missing),
            course=course,
            making=making,
            missing=missing,
        )
    )


def _missing(
    folder: Path,
    evaluation: Evaluation,
    summary: SetSummary | None,
    corpus: CorpusSummary | None,
    course: Course | None,
) -> Iterator[tuple[str, str]]:
    """What is not available, and why."""
    if summary is None:
        yield "distilled", "this folder holds an evaluation, but not the set"
    if (folder / "evaluation" / TESTED).is_file():
        yield "training", "one classifier was tested as it was received; nothing was trained to compare it with"
    if corpus is None:
        yield "corpus", "this folder holds no record of a run (run.json)"
    if not _record(folder):
        yield "making", "this folder holds no record of a run (run.json); what is shown comes from the set"
    if course is None and summary is not None and not summary.facts.outer_steps:
        yield "course", f"method {summary.method} has no outer steps, and so no course"
    elif course is None:
        yield "course", "this folder holds no history of a distillation (history.json)"
    if not evaluation.roc:
        yield "curves", "no class has a ROC curve on this test split, or there are too many classes to draw"


def _described(folder: Path, distilled: DistilledSet | None) -> tuple[CorpusSummary | None, Making]:
    """What the run's record says of the corpus and of the making.

    Raises:
        ArtifactError: the record lacks something, or something in it is of another kind.
    """
    record = _record(folder)
    try:
        described = record.get("corpus") or tested_corpus(folder)
        return corpus_summary(described) if described else None, making_of(folder, record, distilled)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{folder / 'run.json'} cannot be used: {f'it lacks {error}' if isinstance(error, KeyError) else error}",
            expected="a run record as this version of medistill writes it",
            do="repeat the run's command with --resume",
        ) from None


def _distilled(folder: Path) -> DistilledSet | None:
    return DistilledSet.load(folder / "set") if (folder / "set" / "manifest.json").is_file() else None


def _record(folder: Path) -> Mapping[str, Any]:
    return read_result(folder / "run.json", "run record") if (folder / "run.json").is_file() else {}


def _title(evaluation: Evaluation, summary: SetSummary | None, *, synthetic: bool | None, classifier: bool) -> str:
    arm, raw = evaluation.arm("distilled"), evaluation.arm("raw")
    images = summary.images if summary is not None else arm.images if arm is not None else None
    if classifier and images is not None:
        return f"Classifier trained on {counted(images, 'distilled image')}, tested as it was received"
    elsewhere = evaluation.tested == "all images" and summary is None
    if elsewhere and images is not None:
        return f"{counted(images, 'distilled image')}, tested on another corpus than their own"
    source = sum(summary.training_images.values()) if summary is not None else 0
    if not source and raw is not None:
        source = raw.images
    made = counted(images, "image") if images is not None else "Images"
    return f"{made} distilled from {f'{count(source)} ' if source else ''}{SOURCES[None if elsewhere else synthetic]}"


def _course(path: Path) -> Course | None:
    if not path.is_file():
        return None
    known = read_result(path, "history")
    try:
        course = Course(
            loss=tuple(map(float, known["loss"])),
            student_lr=tuple(map(float, known.get("student_lr", []))),
            importance_names=tuple(map(str, known.get("importance_names", []))),
            importance=tuple(tuple(map(float, row)) for row in known.get("importance", [])),
            looks=tuple(map(int, known["looks"])),
            accuracy=tuple(map(float, known["accuracy"])),
            auc=tuple(map(float, known["auc"])),
            chosen_step=int(known["chosen_step"]),
            skipped=tuple(map(int, known.get("skipped", []))),
        )
        if (
            ("student_lr" in known and len(course.loss) != len(course.student_lr))
            or not len(course.looks) == len(course.accuracy) == len(course.auc)
            or any(len(row) != len(course.importance_names) for row in course.importance)
        ):
            raise ValueError("its lists are not equally long")
        if not set(course.skipped) <= set(range(1, len(course.loss) + 1)):
            raise ValueError("it lists skipped steps that are none of its own")
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
    audit = load_audit(path) if path.is_file() else None
    of_set = summary is not None and audit is not None and summary.files.get("images.safetensors") == audit.set_digest
    if "training" in missing:
        missing["audit"] = "an audit stands with the set that the classifier was trained on"
    elif summary is None:
        missing["audit"] = "an audit stands with the set, in its bundle or in the report of its run"
    elif audit is None:
        missing["audit"] = "no audit was run; the command medistill audit does it"
    elif not of_set:
        missing["audit"] = "the audit in this folder is of another set; the command medistill audit makes it again"
    return audit if of_set else None


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
