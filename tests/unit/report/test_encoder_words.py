"""What a report says of a set that was made with an encoder."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medistill.report.encoder_statements import NOT_EXPECTED, NOT_MEASURED, from_scratch_learns
from medistill.report.estimates import with_interval
from medistill.report.record import Report
from medistill.report.report_page import markdown, render_html
from medistill.report.worded import worded
from medistill.report.wording import sentences
from tests.factories import report_example
from tests.factories.encoder_told import ENCODER

PROBE = "linear probe on EfficientNet-Lite0 0123456789ab"


def report(*across: str, method: str = "IADD") -> Report:
    """A report of arms on a probe, and on other networks."""
    whole = report_example.whole()
    assert whole.distilled is not None
    settings = {name: held for name, held in whole.making.settings.items() if method == "IADD"}
    known = replace(
        whole,
        distilled=replace(whole.distilled, encoder=ENCODER, method=method),
        evaluation=report_example.evaluation(network=PROBE),
        across=tuple(report_example.evaluation(network=name, weaker=0.8) for name in across),
        making=replace(whole.making, settings=settings),
    )
    return worded(known)


def test_that_a_network_from_scratch_is_not_expected_to_learn_stands_with_what_it_learned() -> None:
    alone, beside = report(PROBE), report("ConvNet, depth 3, width 32")
    assert from_scratch_learns(alone) == f"{NOT_EXPECTED} {NOT_MEASURED}"
    arms = {name: beside.across[0].arm(name) for name in ("distilled", "raw")}  # type: ignore[arg-type]
    figures = [with_interval(arm.macro_auc) for arm in arms.values() if arm is not None]
    assert len(figures) == 2
    measured = sentences(
        f"Measured: ConvNet, depth 3, width 32 trained on them had a macro AUC of {figures[0]}, trained on all "
        f"originals {figures[1]}."
    )
    assert from_scratch_learns(beside) == f"{NOT_EXPECTED} {measured}"
    (caveat,) = [one for one in beside.not_promised if one.title == "That other networks learn from the images"]
    assert measured in caveat.text
    assert ENCODER.words in caveat.text


@pytest.mark.parametrize("write", [lambda one: render_html(one, (), ()), markdown])
def test_the_page_names_the_encoder(write) -> None:  # type: ignore[no-untyped-def]
    text = write(report())
    assert ENCODER.sha256[:12] in text
    assert NOT_EXPECTED in text


def test_the_methods_text_names_it_and_does_not_tell_of_convolutional_networks() -> None:
    text = " ".join(report().methods)
    for told in (
        "linear classifiers on the features of a frozen encoder",
        ENCODER.sha256,
        ENCODER.trained_on,
        "Apache-2.0",
    ):
        assert told in text
    assert "Distilled images were augmented before the encoder saw them, originals were not" in text
    answers = " ".join(row.answer for row in report().checklist)
    assert "Deep learning: linear classifiers on the features of a frozen encoder" in answers


def test_means_of_originals_are_for_any_network() -> None:
    of_means = report(method="DDOQ")
    assert not [one for one in of_means.not_promised if "other networks" in one.title]
    assert NOT_EXPECTED not in markdown(of_means)
