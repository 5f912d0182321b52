"""Compare: several finished runs side by side, and paired where they were tested on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medistill.artifacts.atomic import write_json, write_text
from medistill.artifacts.new_folder import refuse_unwritable
from medistill.errors import UsageError
from medistill.evaluate.between_runs import paired_difference, same_truth
from medistill.evaluate.intervals import Estimate
from medistill.evaluate.predictions import ArmPredictions, Truth, load_arms, load_truth
from medistill.report.comparison import BetweenRuns, Comparison, compared_run, differing_settings
from medistill.report.comparison_page import comparison_markdown, render_comparison
from medistill.report.record import Report
from medistill.workflow.report import read_report


def compare_runs(runs: Sequence[str | Path], *, out: str | Path) -> Comparison:
    """Set runs side by side: write ``comparison.html``, ``comparison.json`` and ``comparison.md`` to ``out``.

    The distilled arm of each run is compared with that of the first one, with a paired interval where both runs'
    predictions lie there and were made of the same test images.

    Raises:
        UsageError: fewer than two runs, one that is given twice, or runs of other classes.
        ArtifactError: a folder that is no run, a run that is not finished, or a damaged file.
    """
    folders, out = [Path(run) for run in runs], Path(out)
    if len(folders) < 2:
        raise UsageError(
            f"{len(folders)} run was given to compare" if folders else "no run was given to compare",
            expected="two or more folders of runs",
            do="name the runs one behind the other: medistill report RUN RUN --compare",
        )
    refuse_unwritable(out)
    names = run_names(folders)
    reports = [read_report(folder) for folder in folders]
    first = reports[0]
    for name, report in zip(names, reports, strict=True):
        if report.evaluation.class_names != first.evaluation.class_names:
            raise UsageError(
                f"run {name} has the classes {', '.join(report.evaluation.class_names)}; run {names[0]} has "
                f"{', '.join(first.evaluation.class_names)}",
                expected="the same classes in the same order",
                do="compare runs of one task",
            )
    tested = [_tested(folder) for folder in folders]
    apart = [_apart(first, tested[0], report, of) for report, of in zip(reports, tested, strict=True)]
    comparison = Comparison(
        class_names=first.evaluation.class_names,
        runs=tuple(compared_run(name, report) for name, report in zip(names, reports, strict=True)),
        settings=differing_settings(reports),
        same_test=not any(apart),
        comparable=_comparable(reports, apart),
        differences=tuple(
            BetweenRuns(name, names[0], *_paired(first, tested[0], of, why))
            for name, of, why in zip(names[1:], tested[1:], apart[1:], strict=True)
        ),
        confidence=first.evaluation.confidence,
        replicates=first.evaluation.replicates,
    )
    page = render_comparison(comparison)
    write_json(out / "comparison.json", comparison.as_json())
    write_text(out / "comparison.md", comparison_markdown(comparison))
    write_text(out / "comparison.html", page)
    return comparison


def run_names(folders: Sequence[Path]) -> list[str]:
    """What runs are called: the names of their folders, with as many parents as tell equal ones apart.

    Raises:
        UsageError: a folder is given twice.
    """
    parts = [folder.resolve().parts for folder in folders]
    twice = next((folder for folder, own in zip(folders, parts, strict=True) if parts.count(own) > 1), None)
    if twice is not None:
        raise UsageError(f"the run {twice} is given twice", expected="each run once", do="leave one of them out")
    names = []
    for own in parts:
        length = 1
        while sum(other[-length:] == own[-length:] for other in parts) > 1:
            length += 1
        names.append("/".join(own[-length:]))
    return names


_Tested = tuple[Truth, ArmPredictions]


def _tested(folder: Path) -> _Tested | None:
    """What is true of a run's test images, and what its distilled arm says; None where that was not kept."""
    place = folder / "evaluation"
    if not (place / "truth.safetensors").is_file() or not (place / "distilled.safetensors").is_file():
        return None
    distilled = next(arm for arm in load_arms(place) if arm.arm == "distilled")
    return load_truth(place)[1], distilled


def _apart(first: Report, of_first: _Tested | None, report: Report, of: _Tested | None) -> str:
    """Why a run's test images are not known to be those of the first run; "" where they are the same."""
    if of_first is not None and of is not None:
        return "" if same_truth(of_first[0], of[0]) else "the runs were tested on different images"
    corpora = {entry.making.hashes.get("corpus", "") for entry in (first, report)}
    if len(corpora) == 1 and "" not in corpora:
        return ""
    return "predictions or the corpus' hash are missing, so the test images cannot be compared"


def _comparable(reports: Sequence[Report], apart: Sequence[str]) -> str:
    if any(apart):
        seeds = {report.making.seed for report in reports}
        hint = " Another seed draws another split, unless the data give one." if len(seeds) > 1 else ""
        return (
            "The figures may not be set against each other from run to run: "
            f"{next(filter(None, apart))}. A difference may come from that alone.{hint}"
        )
    if len({report.making.hashes.get("corpus", "") for report in reports}) == 1:
        return (
            "Every run was tested on the same images of the same corpus: figures and their intervals may be set "
            "against each other."
        )
    return (
        "The corpora differ, as they do where images have another size, but the test images have the same classes and "
        "the same patients in the same order. Differences are paired on the assumption that they are the same images."
    )


def _paired(first: Report, of_first: _Tested | None, of: _Tested | None, apart: str) -> tuple[Estimate, Estimate]:
    reason = apart or ("" if of_first is not None and of is not None else "predictions of a run are not in its folder")
    if reason or of_first is None or of is None:
        return Estimate.impossible(reason), Estimate.impossible(reason)
    evaluation = first.evaluation
    return paired_difference(
        of[1],
        of_first[1],
        of[0],
        evaluation.class_names,
        replicates=evaluation.replicates,
        confidence=evaluation.confidence,
        seed=evaluation.seed,
    )
