"""Numbers, verdicts and caveats as the report words them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from medistill.evaluate.evaluation import (
    Difference,
    Evaluation,
    NonInferiority,
    OriginalsInTest,
    Superiority,
)
from medistill.evaluate.intervals import Estimate
from medistill.evaluate.subgroup import Subgroup
from medistill.recipe.arms import ARMS
from medistill.report.arm_style import ARM_STYLES
from medistill.report.caveats import caveats
from medistill.report.estimates import interval
from medistill.report.sections.glossary import GLOSSARY
from medistill.report.summaries import CorpusSummary, SetSummary
from medistill.report.verdict import verdict
from medistill.report.wording import (
    count,
    difference,
    level,
    listed,
    number,
    percent,
    seconds,
    sentences,
    short,
    thresholds,
)
from tests.factories.report_example import report_of


def plain(text: str) -> str:
    return re.sub("[\u00a0\u202f]", " ", text).replace("\u2212", "-")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (number(-0.0441), "-0.044"),
        (number(-0.0001), "0.000"),
        (difference(0.0781), "+0.078"),
        (difference(-0.0781), "-0.078"),
        (difference(0.0), "0.000"),
        (percent(0.7366), "73.7 %"),
        (short(-0.05), "-0.05"),
        (short(0.1), "0.1"),
        (sentences("One.", "", "Two."), "One. Two."),
        (level(0.95), "95 % interval"),
        (level(0.995), "99.5 % interval"),
        (count(1234567), "1 234 567"),
        (seconds(4.21), "4.2 s"),
        (seconds(59.7), "1 min 0 s"),
        (seconds(3599.6), "1 h 0 min"),
        (seconds(7500), "2 h 5 min"),
        (listed(["a"]), "a"),
        (listed(["a", "b", "c"]), "a, b and c"),
        (thresholds([0.25]), "0.25"),
        (thresholds([0.2, 0.4]), "0.30 (0.20 to 0.40)"),
        (thresholds([]), ""),
        (interval(Estimate(0.5, 0.41, 0.59)), "0.410 to 0.590"),
        (interval(Estimate(0.5, 0.41, 0.59), "share"), "41.0 to 59.0 %"),
        (interval(Estimate(0.1, -0.012, 0.212), "points"), "-1.2 to +21.2"),
        (interval(Estimate.impossible("there is none")), ""),
    ],
)
def test_numbers_are_written_as_people_read_them(written: str, expected: str) -> None:
    assert plain(written) == expected


def test_every_arm_has_a_name() -> None:
    assert set(ARM_STYLES) == set(ARMS)
    assert len({style.display_name for style in ARM_STYLES.values()}) == len(ARMS)


def evaluation(
    against_raw: Estimate, shown: NonInferiority, *, beats: Superiority = "yes", reason: str = ""
) -> Evaluation:
    none = Estimate.impossible("it is not looked at here")
    gain = Estimate(0.08, 0.05, 0.11)
    return Evaluation(
        network="ConvNet",
        parameters=9,
        class_names=("a", "b"),
        class_images=(50, 50),
        class_patients=(50, 50),
        test_images=10,
        test_patients=10,
        validation_images=5,
        validation_patients=5,
        confidence=0.95,
        replicates=100,
        margin=0.05,
        seed=0,
        schedules=(),
        arms=(),
        ensembles=(),
        differences=(
            Difference("raw", none, against_raw, (none, none), (none, none)),
            Difference("random", none, gain, (none, none), (none, none)),
        ),
        non_inferiority=shown,
        beats_random=beats,
        gap_closed=none,
        hard_label_recovery=none,
        improvement_over_random=none,
        roc=(),
        calibration=(),
        decision=(),
        subgroups=(),
        untold={},
        reason=reason,
    )


def test_verdict_tells_the_four_cases_apart() -> None:
    cases = {
        "non-inferior": evaluation(Estimate(-0.01, -0.03, 0.01), "shown"),
        "not shown": evaluation(Estimate(-0.04, -0.06, -0.02), "not shown"),
        "worse": evaluation(Estimate(-0.09, -0.12, -0.06), "not shown"),
        "cannot be judged": evaluation(Estimate.impossible("class 'a' has no image"), "cannot be judged"),
    }
    for judgement, found in cases.items():
        assert verdict(found).judgement == judgement
    assert "lose less than the margin of 0.05" in verdict(cases["non-inferior"]).against_raw
    assert "may lose more" in verdict(cases["not shown"]).against_raw
    assert "-0.120 to -0.060" in plain(verdict(cases["worse"]).against_raw)
    assert "class 'a' has no image" in verdict(cases["cannot be judged"]).against_raw


def test_verdict_on_random_images() -> None:
    base = Estimate(-0.01, -0.03, 0.01)
    found = evaluation(base, "shown", beats="no")
    below = replace(found.differences[1], macro_auc=Estimate(-0.13, -0.24, -0.04))
    assert "They do worse" in verdict(replace(found, differences=(found.differences[0], below))).against_random
    won = evaluation(base, "shown")
    for low, unsure in ((0.02, False), (-0.01, True)):
        gain = replace(won.differences[1], macro_auc=Estimate(0.03, low, 0.08))
        said = verdict(replace(won, differences=(won.differences[0], gain))).against_random
        assert "They beat" in said
        assert ("the interval includes 0" in said) == unsure
    assert "do not beat" in verdict(evaluation(base, "shown", beats="no")).against_random
    untold = evaluation(base, "shown", beats="cannot be judged", reason="a spread needs 2 networks")
    assert "a spread needs 2 networks" in verdict(untold).against_random
    alone = replace(untold, differences=())
    assert verdict(alone).judgement == "cannot be judged"
    assert "no network was trained on random originals" in verdict(alone).against_random


BASE = replace(evaluation(Estimate(-0.01, -0.03, 0.01), "shown"), originals="apart")


def test_every_report_denies_a_guarantee_and_clinical_evidence() -> None:
    real = SetSummary(4, 2, (1, 8, 8), 0.01, "IADD", "real", 10, {"a": 5}, 5, "image", False, "", {})
    corpus = CorpusSummary(("s",), {}, {}, {}, 0, {}, "image", "drawn", False, ())
    for distilled, of_corpus, synthetic in ((None, None, None), (real, corpus, False), (real, corpus, True)):
        titles = [caveat.title for caveat in caveats(report_of(BASE, distilled, of_corpus, synthetic=synthetic))]
        assert titles[:2] == ["No formal privacy guarantee", "Not clinical evidence"]
        assert ("Nothing about patients" in titles) == bool(synthetic)
        assert ("Split by image, not by patient" in titles) == (of_corpus is not None)
        assert ("Images may resemble real ones" in titles) == (distilled is not None and not synthetic)


def test_a_class_of_one_site_is_named() -> None:
    apart = {
        "north": {"COVID": 3, "Normal": 4, "Viral_Pneumonia": 0},
        "south": {"COVID": 0, "Normal": 5, "Viral_Pneumonia": 2},
    }
    corpus = CorpusSummary(("north", "south"), {}, apart, {}, 0, {}, "patient", "drawn", False, ())
    told = {caveat.title: caveat.text for caveat in caveats(report_of(BASE, None, corpus, synthetic=False))}
    assert told["Class and site go together"].startswith("COVID and Viral Pneumonia come from one site only")
    assert "medistill leave-site-out" in told["Class and site go together"]
    told = {
        caveat.title: caveat.text for caveat in caveats(report_of(BASE, None, corpus, synthetic=False, held_out=True))
    }
    assert "as far as it can be told, stands with the figures by site" in told["Class and site go together"]
    one = replace(corpus, counts_by_site={"north": {"COVID": 3, "Normal": 4}, "south": {"COVID": 0, "Normal": 5}})
    told = {caveat.title: caveat.text for caveat in caveats(report_of(BASE, None, one, synthetic=False))}
    assert told["Class and site go together"].startswith(
        "COVID comes from one site only. south has images of one class only. A network may tell classes by"
    )
    mixed = {"north": {"COVID": 3, "Normal": 4}, "south": {"COVID": 1, "Normal": 5}}
    for by_site in (mixed, {"north": {"COVID": 3, "Normal": 4}}):
        corpus = CorpusSummary(("north",), {}, by_site, {}, 0, {}, "patient", "drawn", False, ())
        assert "Class and site go together" not in [
            c.title for c in caveats(report_of(BASE, None, corpus, synthetic=False))
        ]


def test_sites_of_one_class_are_named_where_no_class_is_of_one_site() -> None:
    by_site = {
        "raddb": {"COVID": 880, "Normal": 880},
        "hannover": {"COVID": 243, "Normal": 0},
        "nih": {"COVID": 0, "Normal": 360},
    }
    corpus = CorpusSummary(tuple(by_site), {}, by_site, {}, 0, {}, "patient", "given", False, ())
    told = {caveat.title: caveat.text for caveat in caveats(report_of(BASE, None, corpus, synthetic=False))}
    assert told["Class and site go together"].startswith("hannover and nih have images of one class only. A network")


def test_small_subgroups_are_told_of() -> None:
    hidden = Subgroup("site", "south", None, None, (), (), Estimate.impossible("few"), "fewer than 10 patients")
    shown = replace(hidden, name="north", images=50, patients=40)
    for groups, expected in (((shown,), ""), ((shown, hidden), "1 subgroup of the test split is left out")):
        told = {
            c.title: plain(c.text)
            for c in caveats(report_of(replace(BASE, subgroups=groups), None, None, synthetic=False))
        }
        assert told.get("Small subgroups are not shown", "").startswith(expected)
        assert ("Small subgroups are not shown" in told) == bool(expected)


@pytest.mark.parametrize(
    ("originals", "title", "words"),
    [
        ("apart", None, ""),
        ("left out", "Tested on another corpus than the set's own", "left out: 12."),
        ("not known", "Test patients may not be new", "is not known"),
    ],
)
def test_whether_test_patients_were_originals_is_told(
    originals: OriginalsInTest, title: str | None, words: str
) -> None:
    """Of the evaluation, not of the corpus in the folder: that may be another one than the set was made from."""
    found = replace(BASE, originals=originals, left_out=12)
    told = {c.title: c.text for c in caveats(report_of(found, None, None, synthetic=False))}
    assert {"Tested on another corpus than the set's own", "Test patients may not be new"} & set(told) == {
        *([title] if title else [])
    }
    assert words in told.get(title or "", "")


def test_a_benchmark_has_no_patients() -> None:
    corpus = CorpusSummary(("s",), {}, {}, {}, 0, {}, "image", "given", False, ())
    real = SetSummary(4, 2, (1, 8, 8), 0.01, "IADD", "real", 10, {"a": 5}, 5, "image", False, "", {})
    told = {c.title: c.text for c in caveats(report_of(BASE, real, corpus, synthetic=False, benchmark=True))}
    assert list(told) == ["No formal privacy guarantee", "Not clinical evidence", "Split by image"]
    assert "a person" in told["No formal privacy guarantee"]


def test_a_run_that_departs_from_the_published_setting_says_so() -> None:
    told = {c.title for c in caveats(report_of(BASE, None, None, synthetic=False, benchmark=True, departs=True))}
    assert "Not the published setting" in told


def test_the_verdict_tells_of_a_margin_that_is_not_the_recipes() -> None:
    assert "declares a margin of 0.02, not 0.05" in verdict(BASE, declared_margin=0.02).against_raw
    for declared in (None, BASE.margin):
        assert "declares" not in verdict(BASE, declared_margin=declared).against_raw


def test_glossary_is_sorted_and_short() -> None:
    terms = [term.lower() for term, _ in GLOSSARY]
    assert terms == sorted(terms)
    assert all(len(line) <= 110 and line.endswith(".") for _, line in GLOSSARY)


def test_what_cannot_be_judged_is_not_called_non_inferior() -> None:
    told = verdict(
        evaluation(Estimate(-0.01, -0.03, 0.01), "cannot be judged", reason="networks on all originals only guess")
    )
    assert told.judgement == "cannot be judged"
    assert "only guess" in told.against_raw


def test_each_comparison_gives_its_own_reason() -> None:
    found = evaluation(
        Estimate(-0.01, -0.03, 0.01), "cannot be judged", beats="cannot be judged", reason="they were stopped early"
    )
    told = verdict(replace(found, reason_random="there is one network"))
    assert ("stopped early" in told.against_raw, "one network" in told.against_raw) == (True, False)
    assert ("stopped early" in told.against_random, "one network" in told.against_random) == (False, True)
    assert "stopped early" in verdict(found).against_random, "a record of before has one reason for both"


def test_few_patients_of_a_class_are_told_of() -> None:
    for patients, expected in (
        ((20, 40), ""),
        ((19, 40), "The test split has 19\u00a0images of a. With fewer than 20 an interval"),
        ((0, 40), ""),
    ):
        few = replace(BASE, class_names=("a", "b"), class_patients=patients)
        told = {caveat.title: caveat.text for caveat in caveats(report_of(few, None, None, synthetic=False))}
        assert told.get("Few test patients", "").startswith(expected)
        assert ("Few test patients" in told) == bool(expected)
