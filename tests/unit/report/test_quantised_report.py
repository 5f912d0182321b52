"""A report of a quantised run: its section, figures, tables and words against the record that they tell of."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from medistill.artifacts.atomic import write_json
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.quantised_summary import QuantisedSummary
from medistill.errors import ArtifactError
from medistill.quantisation.record import Quantisation
from medistill.recipe import Recipe, load_recipe
from medistill.recipe.load import sections_of
from medistill.report import quantisation_plots
from medistill.report.caveats import caveats
from medistill.report.exchange import statements
from medistill.report.methods_text import methods
from medistill.report.quantisation_statements import (
    bound,
    given_up,
    labels,
    weighting,
)
from medistill.report.record import Report
from medistill.report.render import csv
from medistill.report.report_page import markdown, render_html
from medistill.report.sections import tables
from medistill.report.sections.quantisation import describe_cells
from medistill.report.summaries import SetSummary
from medistill.sharing.outgoing import outgoing_report, site_names
from medistill.workflow.report import read_report
from tests.factories import exchange_example, report_example, reported_run

KNOWN = report_example.quantisation()
STATED = {
    "encoder": "pca",
    "dimension": 64,
    "min_cluster_size": 5,
    "smallest_cluster": KNOWN.smallest,
    "weights": "mass",
    "labels": "soft",
    "temperature": 2.0,
    "teachers": 3,
}


def plain(text: str) -> str:
    return re.sub(r"[\s\u00a0\u202f]+", " ", re.sub(r"<[^>]*>", " ", text)).replace("\u2212", "-")


def section(page: str, name: str = "quantisation") -> str:
    """The words of a section of a page; empty where there is none."""
    found = re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    return plain(found.group()) if found else ""


def distilled() -> SetSummary:
    found = report_example.quantised().distilled
    assert found is not None
    return found


def quantised_run(folder: Path, recipe: Recipe, *, keep: int = 9, **provenance: object) -> Path:
    """A finished run whose set says that it is quantised; ``keep`` of its 9 images are left."""
    run = reported_run.whole_run(folder / "run", recipe, folder / "cache")
    (run / "history.json").unlink()
    made = reported_run.distilled_set(recipe, synthetic=False)
    told = {"method": "DDOQ", "starts_from": "quantised", "quantisation": STATED, **provenance}
    known = {name: value for name, value in made.provenance.as_json().items() if name != "chosen_step"}
    for file in (run / "set").iterdir():
        file.unlink()
    (run / "set").rmdir()
    DistilledSet(
        images=made.images[:keep],
        labels=made.labels[:keep],
        weights=made.weights[:keep],
        stage=made.stage[:keep],
        student_lr=made.student_lr,
        normalisation=made.normalisation,
        class_names=made.class_names,
        provenance={**known, **told},
    ).save(run / "set")
    return run


def test_a_run_is_read_with_its_record(tmp_path: Path, recipe: Recipe) -> None:
    run = quantised_run(tmp_path, recipe, keep=8)
    write_json(run / "quantisation.json", KNOWN.as_json())
    report = read_report(run)
    assert report.quantisation == KNOWN
    assert report.missing["course"] == "method DDOQ has no outer steps, and so no course"
    assert "quantisation" not in report.missing
    assert report.distilled is not None
    assert report.distilled.quantised == QuantisedSummary(**STATED)
    assert (report.distilled.chosen_step, report.distilled.uneven, report.distilled.facts.centroids) == (
        None,
        True,
        True,
    )
    assert "8 images (up to 3 a class) were distilled" in plain(" ".join(report.methods))


def test_a_record_that_is_lacking_is_missed_only_where_the_set_is_quantised(
    tmp_path: Path, recipe: Recipe, report: Report
) -> None:
    found = read_report(quantised_run(tmp_path, recipe))
    assert found.quantisation is None
    assert "quantisation.json" in found.missing["quantisation"]
    assert "Not available : this folder holds no record of the quantisation" in section(render_html(found))
    assert "Each is the mean of a cell with images of 5 patients or more" in plain(" ".join(found.methods))
    assert "quantisation" not in report.missing
    assert report.quantisation is None
    page = render_html(report)
    assert section(page) == ""
    assert "#quantisation" not in page


@pytest.mark.parametrize("alter", [{"schema": 2}, {"min_cluster_size": "five"}, {"classes": [{}]}])
def test_a_damaged_record_is_refused(tmp_path: Path, recipe: Recipe, alter: dict[str, object]) -> None:
    run = quantised_run(tmp_path, recipe)
    write_json(run / "quantisation.json", {**KNOWN.as_json(), **alter})
    with pytest.raises(ArtifactError, match=r"quantisation\.json"):
        read_report(run)


def test_a_set_that_says_nonsense_of_its_centroids_is_refused(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(ArtifactError, match=r"quantisation\.dimension"):
        read_report(quantised_run(tmp_path, recipe, quantisation={**STATED, "dimension": "many"}))


def test_the_record_survives_json() -> None:
    report = report_example.quantised()
    stored = json.loads(json.dumps(report.as_json()))
    assert Quantisation.from_json(stored["quantisation"], "a test") == KNOWN
    again = TypeAdapter(Report).validate_json(
        json.dumps({k: v for k, v in stored.items() if k not in ("schema", "kind")})
    )
    assert again.as_json() == report.as_json()


def test_the_section_says_what_a_data_protection_officer_asks() -> None:
    page = render_html(report_example.quantised())
    words = section(page)
    for expected in (
        "Each is the mean of images of 5 patients or more; the smallest cell has 6.",
        "1 centroid was given up",
        "Lung Opacity has 1 image fewer than was asked for",
        "the squares of the two add up",
        "Within a class, an image counts by the share of its class that is in its cell.",
        "at temperature 2.",
        "95.7 %",
        "begin with those of smaller sets, of 1 and 10 images a class",
    ):
        assert expected in words, expected
    for of_class in KNOWN.classes:
        for value in (of_class.reconstruction, of_class.error, of_class.w2, of_class.w2_uniform, of_class.w2_random):
            assert f"{value:.2f}" in words
    assert '<a href="#quantisation">Quantisation</a>' in page
    assert "Method DDOQ has no outer steps" in section(page, "course")
    assert "means of several patients’ images" in section(page, "images")
    assert "39 images, up to 10 for each class" in section(page, "images")


def test_beside_published_figures_nothing_is_said_to_be_chosen() -> None:
    report = replace(report_example.quantised(), benchmark=report_example.whole().benchmark)
    shown = section(render_html(report), "benchmark")
    told = [row[0] for row in tables(report)["benchmark"].rows]
    assert "This run 31.4" in shown
    assert "a quantisation gives one set" in shown
    assert told[0] == "this run"
    assert "| This run |" in markdown(report)
    for text in (shown, markdown(report)):
        assert "chosen on validation data" not in text


def test_images_that_only_began_so_are_not_called_the_means() -> None:
    base = report_example.quantised()
    began = replace(
        distilled(),
        method="IADD",
        quantised=QuantisedSummary(min_cluster_size=5, smallest_cluster=6, encoder="pca", dimension=64),
    )
    page = render_html(replace(base, distilled=began, course=report_example.course(), missing={}))
    words = section(page)
    assert "The distilled images began as these means and were changed from there" in words
    assert "Weights in the loss" not in words
    assert "Labels are" not in words
    assert "400 outer steps" in section(page, "course")


def test_no_patient_is_claimed_where_none_is_known() -> None:
    base = report_example.quantised()
    assert base.corpus is not None
    known = KNOWN.replaced(patient_unit="image")
    report = replace(base, quantisation=known, corpus=replace(base.corpus, split_unit="image"))
    words = section(render_html(report))
    assert "Each is the mean of 5 images or more" in words
    assert "patient" not in words.lower()
    assert "patient" not in describe_cells(known)


def test_another_encoder_has_another_bound_and_unit() -> None:
    known = KNOWN.replaced(grey_codes=False, explained=None, words="an autoencoder", decoder="e" * 64, licence="CC0")
    words = section(render_html(replace(report_example.quantised(), quantisation=known)))
    assert "at most the reconstruction error plus what quantising adds" in words
    assert "squares" not in bound(known)
    assert "W2 in units of the code" in words
    assert "what the mean of their codes decodes to (an autoencoder)" in words
    assert "e" * 64 in words
    assert "CC0" in words
    figure = quantisation_plots.rate(known)
    assert figure.axes[0].get_ylabel() == "W2, units of the code"


def test_a_rate_that_was_not_measured_is_told() -> None:
    untold = KNOWN.replaced(classes=tuple(of_class.replaced(rate=()) for of_class in KNOWN.classes))
    words = section(render_html(replace(report_example.quantised(), quantisation=untold)))
    assert "Not available : it was not measured, or the distance is 0." in words


def test_tables_are_the_record_to_the_last_digit() -> None:
    found = tables(report_example.quantised())
    for of_class, row in zip(KNOWN.classes, csv.rows(found["quantisation"]), strict=True):
        cells = dict(zip(csv.headings(found["quantisation"]), row, strict=True))
        assert cells["class"] == of_class.class_name
        assert int(cells["fewest patients in a cell"]) == min(of_class.cell_patients)
        assert int(cells["distilled images"]) == len(of_class.cell_images)
        assert float(cells["error"]) == of_class.error
        assert cells["W2 with equal weights"] == str(of_class.w2_uniform)
    rows = [row for row in csv.rows(found["cells"]) if row[0] == "Normal"]
    assert [int(row[1]) for row in rows] == list(range(1, 11))
    assert tuple(int(row[2]) for row in rows) == KNOWN.classes[2].cell_images
    assert tuple(int(row[3]) for row in rows) == KNOWN.classes[2].cell_patients
    assert len(found["rate"].rows) == 4 * 8
    assert not {"quantisation", "cells", "rate"} & set(tables(report_example.whole()))


def test_methods_and_checklist_know_no_expert_and_no_outer_step() -> None:
    report = report_example.quantised()
    text = plain("\n".join(report.methods))
    for expected in (
        "by optimal quantisation (DDOQ; Tan and Slade 2026)",
        "arXiv:2501.07681",
        "encoded (64 principal components)",
        "competitive learning vector quantisation (10 passes)",
        "the answers of 1 network trained on the training split, at temperature 2.",
        "No set was chosen among several",
        "0.01 on the distilled images (1 000 updates of up to 64 images); each was constant",
        "multiplied by its weight",
    ):
        assert expected in text, expected
    everything = "\n".join([text, *(plain(row.answer) for row in report.checklist), plain(markdown(report))])
    assert not re.search(r"expert|outer step|learned with|look at the validation", everything.replace("No expert", ""))
    answers = {(row.checklist, row.item): plain(row.answer) for row in report.checklist}
    assert "up to 10 images of every class. Within a class, an image counts by" in answers["TRIPOD+AI", "13"]
    assert "64 principal components; at least 5 patients a cell" in plain(markdown(report))


def begun() -> Report:
    """A run of IADD whose images began as centroids."""
    base = report_example.quantised()
    recipe = load_recipe("covid-xray-cpu", ["method.init=quantised"])
    settings = {name: values for name, values in sections_of(recipe).items() if name}
    return replace(base, making=replace(base.making, settings=settings), course=report_example.course())


def test_a_fixed_schedule_tells_the_rate_of_the_set() -> None:
    base = report_example.quantised()
    fixed = replace(base, evaluation=replace(base.evaluation, schedules=()))
    assert "0.0123 on the distilled images; each fell" in plain("\n".join(methods(fixed)))
    began = replace(begun(), distilled=replace(distilled(), method="IADD"), evaluation=fixed.evaluation)
    assert "0.0123 on the distilled images, learned with them; each fell" in plain("\n".join(methods(began)))


def test_nested_sets_are_told() -> None:
    base = report_example.quantised()
    quantise = {**base.making.section("method.quantise"), "nested": (1, 10)}
    settings = {**base.making.settings, "method.quantise": quantise}
    text = plain("\n".join(methods(replace(base, making=replace(base.making, settings=settings)))))
    assert "Centroids were nested at 1 and 10 images a class: those of a smaller set stayed" in text
    assert "nested" not in plain("\n".join(base.methods))


def test_a_set_that_does_not_tell_its_encoder_tells_the_rest() -> None:
    silent = replace(distilled(), quantised=QuantisedSummary(min_cluster_size=5, smallest_cluster=6))
    text = plain("\n".join(methods(replace(report_example.quantised(), distilled=silent))))
    assert "the training images of each class were encoded and their codes quantised" in text
    assert "(0" not in text
    assert "images of 5 patients or more; the smallest cell has 6." in text
    brought = QuantisedSummary(
        min_cluster_size=5, smallest_cluster=6, encoder="brought", dimension=256, decoder="e" * 64, licence="CC0"
    )
    text = plain(
        "\n".join(methods(replace(report_example.quantised(), distilled=replace(distilled(), quantised=brought))))
    )
    assert f"(an encoder-decoder that was brought, SHA-256 {'e' * 64}, licence CC0, with codes of 256 numbers)" in text


def test_a_run_that_only_began_so_still_tells_of_its_experts() -> None:
    base = report_example.quantised()
    began = replace(
        distilled(),
        method="IADD",
        quantised=QuantisedSummary(min_cluster_size=5, smallest_cluster=6, encoder="pca", dimension=64),
    )
    settings = {name: values for name, values in sections_of(load_recipe("covid-xray-cpu")).items() if name}
    making = replace(base.making, settings=settings)
    text = plain("\n".join(methods(replace(base, distilled=began, making=making, course=report_example.course()))))
    assert "They started from the centroids of an optimal quantisation (Tan and Slade 2026)" in text
    assert "images of 5 patients or more; the smallest cell has 6." in text
    assert "experts were trained" in text
    assert "No expert" not in text


def test_hard_labels_equal_weights_and_several_teachers_are_told() -> None:
    base, stated = report_example.quantised(), distilled().quantised
    assert stated is not None
    told = replace(base, distilled=replace(distilled(), quantised=stated.replaced(teachers=3, weights="uniform")))
    assert "the mean answers of 3 networks" in plain(labels(told))
    assert "counts as much as every other. The classes weigh in the loss alike." in weighting(told)
    hard = stated.replaced(labels="hard", teachers=0, temperature=None)
    report = replace(base, distilled=replace(distilled(), quantised=hard))
    assert labels(report) == "Labels are one class each."
    quantise = {**base.making.section("method.quantise"), "priors": "corpus"}
    settings = {**base.making.settings, "method.quantise": quantise}
    common = replace(base, making=replace(base.making, settings=settings))
    assert "as they are common in the training split" in weighting(common)
    titles = [
        c.title
        for c in caveats(report_example.report_of(base.evaluation, report.distilled, base.corpus, synthetic=False))
    ]
    assert "Labels come from a network that saw patients" not in titles


def test_caveats_say_of_how_many_and_whether_it_was_measured() -> None:
    base = report_example.quantised()

    def told(audited: bool, **how: bool) -> dict[str, str]:
        audit = base.audit if audited else None
        found = caveats(
            report_example.report_of(
                base.evaluation, distilled(), base.corpus, audit=audit, **{"synthetic": False, **how}
            )
        )
        return {caveat.title: plain(caveat.text) for caveat in found}

    mean = told(audited=True)["A mean can resemble a patient"]
    assert "Each is of 6 patients or more; what would have been of fewer than 5 was given up." in mean
    assert "The audit measures" in mean
    assert "No audit was run" in told(audited=False)["A mean can resemble a patient"]
    assert "Nothing here tried" in told(audited=False)["Labels come from a network that saw patients"]
    for how in ({"synthetic": True}, {"benchmark": True}):
        assert not {"A mean can resemble a patient", "Images may resemble real ones"} & set(told(audited=True, **how))
    silent = replace(distilled(), quantised=None)
    (text,) = [
        caveat.text
        for caveat in caveats(report_example.report_of(base.evaluation, silent, base.corpus, synthetic=False))
        if caveat.title == "A mean can resemble a patient"
    ]
    assert "given up" not in text


def test_nothing_given_up_and_one_is_singular() -> None:
    whole = KNOWN.replaced(classes=tuple(of_class.replaced(given_up=0, set_aside=0) for of_class in KNOWN.classes))
    assert plain(given_up(whole)) == "No centroid had to be given up: every cell has 5 patients or more."
    one = whole.replaced(classes=(whole.classes[0].replaced(set_aside=1), *whole.classes[1:]))
    assert plain(given_up(one)).endswith("5 patients or more. 1 image unlike the others was left out of every mean.")
    two = KNOWN.replaced(classes=tuple(of_class.replaced(given_up=2) for of_class in KNOWN.classes[:2]))
    assert plain(given_up(two)) == (
        "4 centroids were given up, since fewer than 5 patients would have been in each of their cells: COVID has 2 "
        "images fewer and Lung Opacity has 2 images fewer than was asked for. 4 images unlike the others were left out "
        "of every mean."
    )


def test_a_study_of_means_says_so() -> None:
    study = exchange_example.study()
    text = "\n".join(statements(replace(study, starts_from="quantised")))
    assert "means of several patients' images" in text
    assert "start from real images" not in text


def test_what_leaves_keeps_the_record_and_its_caveats() -> None:
    report = report_example.quantised()
    left = outgoing_report(report, site_names(report, report.audit))
    assert left.quantisation == KNOWN
    assert {"A mean can resemble a patient", "Labels come from a network that saw patients"} <= {
        caveat.title for caveat in left.not_promised
    }
    assert "No expert was trained" in " ".join(left.methods)
