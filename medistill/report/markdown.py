"""Markdown: a report, or a comparison of runs, in the few lines that a pull request needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.intervals import Estimate
from medistill.evaluate.site_matrix import OF_ONE_SITE, SiteCell
from medistill.report import audit_statements
from medistill.report.comparison import ComparedRun, Comparison
from medistill.report.evaluation_statements import this_run
from medistill.report.exchange import SOURCE_MEANING, SOURCE_NAMES, ExchangeStudy, headline, row_name, statements
from medistill.report.quantisation_statements import outline
from medistill.report.record import Report
from medistill.report.text_statements import first_screen_text
from medistill.report.wording import ARM_NAMES, classes_listed, count, counted, interval, level, number, percent
from medistill.report.wording import difference as signed
from medistill.report.wording import seconds as duration
from medistill.visible import visible

_SPECIAL = re.compile(r"([\\`*_\[\]#|~$])")


def escaped(text: str) -> str:
    """Text that GitHub shows as it is: no markup, no HTML, no table cell ended, nobody mentioned, nothing hidden."""
    flat = visible(" ".join(text.split()))
    safe = _SPECIAL.sub(r"\\\1", flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    return safe.replace("@", "@\u2060").replace("://", ":\u2060//")


def markdown(report: Report) -> str:
    """The verdict, the arms, the differences, other sites and networks, what is not promised, how the run was made."""
    results = [*_arms(report), *_differences(report), *_elsewhere(report), *_benchmark(report)]
    return shown_whole("\n".join([*_opening(report), *results, *_caveats(report), *_making(report)]))


def shown_whole(page: str) -> str:
    """A page without hidden characters but for those that `escaped` puts there itself."""
    return visible(page, keep="\n\u2060")


def comparison_markdown(comparison: Comparison) -> str:
    """Runs side by side."""
    runs = comparison.runs
    confidence = level(comparison.confidence)
    rows = [
        ("Recipe", [escaped(run.recipe) or "not known" for run in runs]),
        ("Method", [run.method or "not known" for run in runs]),
        ("Images a class", ["not known" if run.ipc is None else count(run.ipc) for run in runs]),
        ("Network", [escaped(run.network) for run in runs]),
        ("Seed", ["not known" if run.seed is None else str(run.seed) for run in runs]),
        ("Test images", [count(run.test_images) for run in runs]),
    ]
    rows += [
        (f"Macro AUC, {ARM_NAMES[arm].lower()}", [_arm_cell(run, arm) for run in runs])
        for arm in ARM_NAMES
        if any(run.arm(arm) is not None for run in runs)
    ]
    rows += [
        ("Distilled minus all originals", [_estimate(run.difference, sign=True) for run in runs]),
        ("Gap closed", [_estimate(run.gap_closed) for run in runs]),
        ("Hard-label recovery", [_estimate(run.hard_label_recovery, sign=True) for run in runs]),
        ("Improvement over random", [_estimate(run.improvement_over_random, sign=True) for run in runs]),
        ("Time of experts and distillation", [_time_cell(run) for run in runs]),
    ]
    lines = [f"# {counted(len(runs), 'run')} side by side", "", comparison.comparable, ""]
    lines += [f"Macro AUC with its {confidence}.", ""]
    lines += _table(["", *(escaped(run.name) for run in runs)], [[name, *cells] for name, cells in rows])
    if comparison.differences:
        lines += ["", f"## Distilled arms against that of {escaped(runs[0].name)}", ""]
        lines += _table(
            ["Run", f"Difference in macro AUC ({confidence})", f"Difference in accuracy ({confidence})"],
            [
                [escaped(entry.name), _estimate(entry.macro_auc, sign=True), _estimate(entry.accuracy, sign=True)]
                for entry in comparison.differences
            ],
        )
    if comparison.settings:
        lines += ["", "## Settings that differ", ""]
        lines += _table(
            ["Setting", *(escaped(run.name) for run in runs)],
            [[f"`{row.name}`", *(escaped(value) for value in row.values)] for row in comparison.settings],
        )
    return shown_whole("\n".join([*lines, ""]))


def exchange_markdown(study: ExchangeStudy) -> str:
    """A study in which sites exchange sets: the matrix, what the exchange gains, what must be said beside them."""
    sites, confidence = study.matrix.sites, level(study.confidence)
    lines = ["# Sites that exchange distilled sets", "", headline(study), ""]
    lines += [f"Macro AUC, or accuracy (in percent) where every test image has one class, with its {confidence}.", ""]
    lines += _table(
        ["Learnt from", "Images", *(escaped(site.name) for site in sites), "All sites"],
        [
            [
                escaped(row_name(row)),
                count(row.images) if row.images else "none",
                *(_site_cell(cell) for cell in row.cells),
                _site_cell(row.pooled),
            ]
            for row in study.matrix.rows
        ],
    )
    lines += ["", *(f"- {name}: {SOURCE_MEANING[source]}." for source, name in SOURCE_NAMES.items())]
    lines += ["", "## Sets of all sites, minus another source", ""]
    lines += _table(
        ["Tested at", "Minus", f"Macro AUC ({confidence})", f"Accuracy ({confidence})"],
        [
            [
                escaped(entry.site) or "All sites",
                f"{SOURCE_NAMES[entry.minus]}{' there' if entry.minus in OF_ONE_SITE else ''}",
                _estimate(entry.macro_auc, sign=True),
                _estimate(entry.accuracy, sign=True),
            ]
            for entry in study.matrix.differences
        ],
    )
    lines += ["", "## Read with the figures", "", *(f"- {escaped(sentence)}" for sentence in statements(study))]
    return shown_whole("\n".join([*lines, ""]))


def _site_cell(cell: SiteCell) -> str:
    if cell.macro_auc.value is None and cell.accuracy.value is not None:
        limits = interval(cell.accuracy, share=True)
        return f"{percent(cell.accuracy.value)} ({limits or 'no interval'})"
    return _estimate(cell.macro_auc)


def _opening(report: Report) -> Iterator[str]:
    evaluation = report.evaluation
    yield f"# {escaped(report.verdict.heading)}"
    yield ""
    if report.synthetic:
        yield "**Synthetic source: the originals are drawn, not taken of anybody.**"
        yield ""
    tested = counted(evaluation.test_images, "test image")
    if report.split_unit in ("patient", "study"):
        tested += f" of {counted(evaluation.test_patients, report.split_unit)}"
    yield f"{report.title}. {escaped(classes_listed(evaluation.class_names))}. {tested}."
    yield ""
    yield escaped(report.verdict.against_raw)
    yield escaped(report.verdict.against_random)
    yield from map(escaped, report.verdict.lost_classes)
    if report.audit is not None:
        yield ""
        heading = audit_statements.heading(report.audit)
        yield f"**Privacy: {heading}.** {escaped(audit_statements.consequence(report.audit))}"
    elif report.benchmark is None:
        yield ""
        state = "not audited" if report.distilled is not None else "not judged here"
        yield f"**Privacy: {state}.** {escaped(report.missing['audit'])}."
    if text := first_screen_text(report):
        yield ""
        yield escaped(text)


def _arms(report: Report) -> Iterator[str]:
    evaluation = report.evaluation
    confidence = level(evaluation.confidence)
    yield ""
    yield f"## Results on {escaped(evaluation.network)}"
    yield ""
    yield from _table(
        [
            "Trained on",
            "Images",
            f"Macro AUC ({confidence})",
            "Spread",
            f"Accuracy ({confidence})",
            "Time a network",
        ],
        [
            [
                ARM_NAMES[arm.arm],
                count(arm.images),
                _estimate(arm.macro_auc),
                "none" if arm.macro_auc_spread is None else number(arm.macro_auc_spread),
                _estimate(arm.accuracy),
                duration(arm.seconds_a_network),
            ]
            for arm in evaluation.arms
        ],
    )


def _differences(report: Report) -> Iterator[str]:
    evaluation = report.evaluation
    if not evaluation.differences:
        return
    confidence = level(evaluation.confidence)
    yield ""
    yield "## Distilled images minus other arms, paired"
    yield ""
    yield from _table(
        ["Minus", f"Macro AUC ({confidence})", f"Accuracy ({confidence})"],
        [
            [
                ARM_NAMES[entry.minus],
                _estimate(entry.macro_auc, sign=True),
                _estimate(entry.accuracy, sign=True),
            ]
            for entry in evaluation.differences
        ],
    )
    yield ""
    yield (
        f"Gap closed {_estimate(evaluation.gap_closed)}. Hard-label recovery "
        f"{_estimate(evaluation.hard_label_recovery, sign=True)}. Improvement over random "
        f"{_estimate(evaluation.improvement_over_random, sign=True)}."
    )


def _elsewhere(report: Report) -> Iterator[str]:
    rows: list[tuple[str, Evaluation | None, str]] = [(entry.network, entry, "") for entry in report.across]
    rows += [(f"Without site {site.site}, tested there", site.evaluation, site.reason) for site in report.sites]
    if not rows:
        return
    yield ""
    yield "## On other networks, and at sites that had no part"
    yield ""
    yield from _table(
        ["", "Distilled images, macro AUC", "All originals, macro AUC"],
        [
            [
                escaped(name),
                *(
                    _estimate(arm.macro_auc if arm is not None else Estimate.impossible(reason or "it was not trained"))
                    for arm in (found.arm(which) if found is not None else None for which in ("distilled", "raw"))
                ),
            ]
            for name, found, reason in rows
        ],
    )
    for site in report.sites:
        if site.note:
            yield ""
            yield f"Without site {escaped(site.site)}: {escaped(site.note)}"


def _benchmark(report: Report) -> Iterator[str]:
    ours = report.benchmark
    if ours is None:
        return
    yield ""
    yield f"## Beside published figures: {escaped(ours.dataset)}, {counted(ours.ipc, 'image')} a class"
    yield ""
    rows = [[this_run(report), number(ours.chosen_accuracy, 1)]]
    if ours.maximum_accuracy is not None:
        rows.append(["This run, best over all looks at the test split", number(ours.maximum_accuracy, 1)])
    rows += [[f"{escaped(of.method)} ({escaped(of.source)})", number(of.accuracy, 1)] for of in ours.published]
    yield from _table(["Method", "Test accuracy in percent"], rows)
    if ours.cut_down:
        yield ""
        yield "This run departs from the published setting:"
        yield ""
        yield from (f"- {escaped(said)}" for said in ours.cut_down)


def _caveats(report: Report) -> Iterator[str]:
    yield ""
    yield "## Not promised"
    yield ""
    for caveat in report.not_promised:
        yield f"- **{escaped(caveat.title)}.** {escaped(caveat.text)}"


def _making(report: Report) -> Iterator[str]:
    making, evaluation = report.making, report.evaluation
    facts = [
        ("Method", report.distilled.method if report.distilled is not None else ""),
        ("Quantised", outline(report)),
        ("Recipe", making.recipe),
        ("Seed", "" if making.seed is None else str(making.seed)),
        ("Resamples", count(evaluation.replicates)),
        ("Hardware", making.hardware),
        ("medistill", making.versions.get("medistill", "")),
        ("Recipe SHA-256", making.hashes.get("recipe", "")),
        ("Set SHA-256", making.hashes.get("set/images.safetensors", "")),
    ]
    yield ""
    yield "## How it was made"
    yield ""
    yield from (f"- {name}: {escaped(value)}" for name, value in facts if value)
    if making.commands:
        yield ""
        yield "```console"
        yield from (" ".join(command.split()).replace("```", "") for command in making.commands)
        yield "```"
    yield ""


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _estimate(estimate: Estimate, *, sign: bool = False) -> str:
    if estimate.value is None:
        return f"not available ({escaped(estimate.reason)})"
    value = signed(estimate.value) if sign else number(estimate.value)
    return f"{value} ({interval(estimate, sign=sign) or 'no interval'})"


def _time_cell(run: ComparedRun) -> str:
    return "not known" if run.making_seconds is None else duration(run.making_seconds)


def _arm_cell(run: ComparedRun, arm: str) -> str:
    figures = next((figures for figures in run.arms if figures.arm == arm), None)
    return _estimate(figures.macro_auc) if figures is not None else "not trained"
