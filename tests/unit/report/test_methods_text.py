"""The methods text: its figures against the run, its citations against its references, its grammar at one."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from medistill.evaluate.protocol import small_schedule
from medistill.evaluate.published import BenchmarkResult
from medistill.methods.registry import citations, recipe_facts
from medistill.recipe import Recipe, load_recipe
from medistill.recipe.load import sections_of
from medistill.report.checklist import checklist
from medistill.report.methods_text import REFERENCES, methods
from medistill.report.record import Report
from tests.factories import report_example


def words(report: Report) -> str:
    return "\n".join(methods(report)).replace("\u2212", "-")


def test_figures_are_those_of_the_run(report: Report) -> None:
    text = words(report)
    settings = report.making.settings
    for expected in (
        "36 images came from 2 sites: Site A and Site & B",
        "36 were accepted and 1 refused (truncated: 1)",
        "9 images (3 a class) were distilled from 90 training images",
        f"In each outer step ({settings['method']['iterations']} in all)",
        f"took {settings['method']['syn_steps']} steps",
        f"{settings['method.experts']['count']} experts were trained",
        "the images after outer step 20",
        "3 networks an arm (ConvNet, depth 3, width 32; 12 345 parameters)",
        "all originals (90 images, 10 epochs, 900 images shown to a network)",
        "0.0123 on the distilled images, learned with them",
        "95 % intervals are percentiles over 100 resamples",
        "lies above -0.05",
        f"a specificity of {settings['evaluate']['specificity']}",
        "worked out by site and sex; those of fewer than 10 patients are not shown",
        "medistill 0.1.0 and torch 2.13.0",
        "the seed 7",
    ):
        assert expected in text, expected


def test_citations_and_references_belong_together(report: Report) -> None:
    paragraphs = methods(report)
    text, listed = (
        "\n".join(paragraphs[: paragraphs.index("References.")]),
        paragraphs[paragraphs.index("References.") + 1 :],
    )
    known = {**REFERENCES, **citations()}
    marks = {mark for mark, work in known.items() if work in listed}
    assert marks == {mark for mark in known if mark in text}
    cited = set(re.findall(r"[A-Z][\w-]+(?: et al\.| and [A-Z]\w+)?,? \(?(?:19|20)\d\d\)?", text))
    assert {re.sub(r"[,()]", "", mark) for mark in cited} == {re.sub(r"[,()]", "", mark) for mark in marks}
    for mark in marks:
        assert re.findall(r"\d{4}", mark)[0] in known[mark]
        assert mark.split()[0] in known[mark]


def test_what_is_not_known_stays_out(bare: Report) -> None:
    paragraphs = methods(bare)
    text = "\n".join(paragraphs)
    assert not any(paragraph.startswith(("Distillation.", "Software.")) for paragraph in paragraphs)
    assert not re.search(r"None|nan\b|\{|\}|  | \.|\.\.|\u00a0|\u202f", text)
    assert "patients or, where none is known, images" in text


def test_authors_fill_in_what_only_they_know(report: Report) -> None:
    assert "[to be completed: period and place of the examinations" in words(report)
    assert "[to be completed" not in words(replace(report, synthetic=True))


def test_no_patients_are_claimed_where_none_are_known(report: Report) -> None:
    assert report.corpus is not None
    assert report.distilled is not None
    result = BenchmarkResult("CIFAR-10", 1, 30.0, None, None, None, (), ())
    by_image = replace(report, benchmark=result, corpus=replace(report.corpus, split_unit="image"))
    text = words(by_image)
    assert "public benchmark CIFAR-10" in text
    assert "patient" not in text
    assert "one person, may be" in text
    assert "Lateral views" not in text


def test_every_arm_lowers_its_learning_rate(report: Report, recipe: Recipe) -> None:
    for rate in (recipe.evaluate.raw_lr, recipe.evaluate.lr):
        assert small_schedule(recipe.evaluate, lr=rate, epochs=20).decay_epoch == 11
    assert "learned with them; each fell to a tenth after half of the epochs" in words(report)


def test_a_margin_that_is_not_the_recipes_is_not_called_declared(report: Report) -> None:
    assert "with a margin of 0.05 that the recipe declares" in words(report)
    changed = replace(report, evaluation=replace(report.evaluation, margin=0.2))
    assert "with a margin of 0.2, in place of the 0.05 that the recipe of the run declares" in words(changed)
    unknown = replace(changed, making=replace(changed.making, settings={}))
    assert "with a margin of 0.2. " in words(unknown)


def test_a_set_in_stages_is_chosen_in_the_last(report: Report) -> None:
    assert "Of 3 looks at the validation split" in words(report)
    method = {**report.making.section("method"), "stages": 2}
    staged = replace(report, making=replace(report.making, settings={**report.making.settings, "method": method}))
    assert "Of the looks at the validation split in the last stage" in words(staged)


def test_a_given_split_may_lack_a_part(report: Report) -> None:
    assert report.corpus is not None
    text = words(replace(report, corpus=replace(report.corpus, split_source="given")))
    assert "given with the data; a part that was not given was drawn at random from the training images." in text


def test_many_classes_are_counted(report: Report) -> None:
    names = tuple(f"class_{k}" for k in range(100))
    assert report.corpus is not None
    many = replace(
        report,
        evaluation=replace(report.evaluation, class_names=names, calibration=(), decision=()),
        corpus=replace(report.corpus, counts={"train": dict.fromkeys(names, 5) | {"class_3": 7}}),
    )
    text = words(many)
    assert "one of 100 classes. Classes are taken" in text
    assert "class 3" not in text
    assert "Vickers" not in text
    assert {row.item: row.answer for row in checklist(many)}["36"] == "Images of each class: training: 5 to 7."


def test_one_is_singular(report: Report) -> None:
    settings = {
        **report.making.settings,
        "method.experts": {**report.making.section("method.experts"), "count": 1, "epochs": 1},
        "method": {**report.making.section("method"), "syn_steps": 1, "expert_epochs": 1, "max_start_epoch": 1},
    }
    text = words(replace(report, making=replace(report.making, settings=settings)))
    assert "1 expert was trained on the training split for 1 epoch." in text
    assert "after epoch 0 and took 1 step of" in text
    assert "1 epoch later" in text
    assert not re.search(r"\b1 (?:images|epochs|networks|experts|steps|files|sites)\b", text)


def test_other_networks_and_sites_are_told(report: Report) -> None:
    example = report_example.whole()
    text = words(replace(report, across=example.across, sites=example.sites))
    assert "trained with other networks: ResNet-18; DenseNet-121." in text
    assert "In turn each site (bimcv, rsna and guangzhou) was left out" in text
    assert "could be done for 2 of 3 sites" in text


def run_with(report: Report, method: str, *overrides: str) -> Report:
    """The same run, had it been made by another method, or with other settings of it."""
    made = load_recipe("demo", [f"method.name={method}", *overrides])
    assert report.distilled is not None
    of_method = replace(report.distilled, method=recipe_facts(made).display_name)
    return replace(report, distilled=of_method, making=replace(report.making, settings=sections_of(made)))


@pytest.mark.parametrize(
    ("method", "overrides", "said"),
    [
        ("unrolled", ["method.pool=0"], "a network with random parameters took up to 200 training steps by"),
        ("unrolled", ["method.pool=3"], "out of a pool of 3 whose turns came one after another, took 15 training"),
        ("unrolled", ["method.pool=3"], "on from where it had stopped in an earlier outer step; where that left no"),
        ("unrolled", ["method.pool=3"], "The loss was carried back through these 15 steps."),
        ("unrolled", ["method.inner=momentum"], "by stochastic gradient descent with momentum on the distilled"),
        ("unrolled", ["method.inner=sgd"], "by stochastic gradient descent on the distilled"),
        ("rat-bptt", [], "took up to 200 training steps by Adam on the distilled"),
        ("rat-bptt", [], "after a random number of steps, and carried back through the 60 steps before it"),
        ("rat-bptt", ["method.pool=4"], "out of a pool of 4"),
        ("rat-bptt", ["method.pool=4"], "carried back through these 60 steps"),
    ],
)
def test_unrolled_steps_are_told_by_the_settings_of_the_run(
    report: Report, method: str, overrides: list[str], said: str
) -> None:
    text = words(run_with(report, method, *overrides))
    assert said in text
    pooled = "method.pool=3" in overrides or "method.pool=4" in overrides
    if pooled:
        assert "took up to" not in text
        assert "loss was taken after a random number" not in text


def test_a_rate_that_never_moved_is_not_called_learned(report: Report) -> None:
    momentum = ("method.inner=momentum", "method.student_lr=0.01")
    assert "learned with them" in words(run_with(report, "unrolled", *momentum))
    assert "learned with them" not in words(run_with(report, "unrolled", *momentum, "method.student_lr_lr=0"))
    assert "learned with them" not in words(run_with(report, "rat-bptt"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["method.real.weight=0.5"], ["It had a share of 0.5 in the images' gradient throughout."]),
        (
            ["method.real.weight=0.25", "method.real.begins=0.5", "method.iterations=100"],
            ["share of 0.25 in the images' gradient, and counted alone from outer step 51 on", "first 50 of 100 outer"],
        ),
        (
            ["method.real.begins=0.5", "method.iterations=100", "method.labels=soft"],
            [
                "It had no part at first, and counted alone from outer step 51 on",
                "images and labels were moved by Adam",
            ],
        ),
        (["method.real.weight=1"], ["outer steps followed them.", "It counted alone, in every outer step."]),
        (
            ["method.real.weight=0.5", "method.real.batch_real=77", "method.real.window=9", "method.real.inner=adam"],
            [
                "up to 77 originals of each class",
                "back through the last 9 steps",
                "by Adam on the distilled images: on",
            ],
        ),
    ],
)
def test_the_loss_on_originals_beside_trajectories_is_told(
    report: Report, overrides: list[str], said: list[str]
) -> None:
    text = words(run_with(report, "iadd", *overrides))
    for expected in (*said, "A second loss was that of networks with random parameters", "were moved by Adam"):
        assert expected in text
    assert "weights of the parameters in the match" not in text
    assert "A second loss" not in words(report)


def test_w_by_usefulness_is_told_and_moves_no_image_by_itself(report: Report) -> None:
    text = words(run_with(report, "iadd", "method.importance.direction=usefulness"))
    assert "The weights of the parameters in the match were learned so that the second loss fell." in text
    assert "up to 128 originals of each class" in text
    assert "moved by Adam" not in text
