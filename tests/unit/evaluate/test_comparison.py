"""The comparison of arms against scikit-learn, against a bootstrap in plain loops, by simulation, and on bad input."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from medistill.errors import ArtifactError, DataError
from medistill.evaluate.comparison import compare as compare_arms
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.intervals import Estimate, proportion_estimate, resamples
from medistill.evaluate.judgement import beats_random
from medistill.evaluate.predictions import ArmPredictions, Truth, load_arms, load_truth, save_arm, save_truth
from medistill.recipe import EvaluateRecipe
from medistill.recipe.arms import ARMS, ArmName

NAMES = ("normal", "covid", "pneumonia")
SETTINGS = EvaluateRecipe(bootstrap=100, margin=0.05)
compare = partial(compare_arms, network="ConvNet", parameters=1234)


def truth(seed: int, patients: int = 30, per_patient: int = 2) -> Truth:
    numbers = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients) * 7 + 3, per_patient)
    labels = np.repeat(np.arange(patients) % 3, per_patient)
    order = numbers.permutation(len(groups))
    return Truth(labels[order], groups[order], {"view": tuple("PA" if group % 2 else "AP" for group in groups[order])})


def arm(name: ArmName, validation: Truth, test: Truth, *, skill: float, seed: int, networks: int = 3) -> ArmPredictions:
    numbers = np.random.default_rng(seed)

    def probabilities(of: Truth) -> np.ndarray:
        scores = numbers.normal(size=(networks, len(of.labels), len(NAMES)))
        scores[:, np.arange(len(of.labels)), of.labels] += skill
        raised = np.exp(scores)
        return (raised / raised.sum(axis=2, keepdims=True)).astype(np.float32)

    return ArmPredictions(
        name, probabilities(validation), probabilities(test), images=30, bytes=30 * 64, epochs=10, seconds=1.5
    )


@pytest.fixture(scope="module")
def truths() -> tuple[Truth, Truth]:
    return truth(0), truth(1)


@pytest.fixture(scope="module")
def arms(truths: tuple[Truth, Truth]) -> list[ArmPredictions]:
    return [
        arm("distilled", *truths, skill=1.5, seed=3),
        arm("raw", *truths, skill=2.0, seed=1),
        arm("random", *truths, skill=0.5, seed=2),
    ]


@pytest.fixture(scope="module")
def evaluation(arms: list[ArmPredictions], truths: tuple[Truth, Truth]) -> Evaluation:
    return compare(arms, *truths, NAMES, SETTINGS, seed=5)


def best_threshold(scores: np.ndarray, cases: np.ndarray) -> float:
    """The lowest of the best thresholds, tried one by one."""
    levels = np.unique(scores.astype(float))
    tried = np.concatenate([levels[:1], (levels[1:] + levels[:-1]) / 2])
    index = [(scores[cases] >= t).mean() + (scores[~cases] < t).mean() for t in tried]
    return float(tried[int(np.argmax(np.round(index, 12)))])


def pairs_won(scores: np.ndarray, cases: np.ndarray) -> float:
    """Area under the ROC curve, by looking at every pair of a case and a control."""
    gap = scores[cases][:, None] - scores[~cases]
    return float((gap > 0).mean() + (gap == 0).mean() / 2)


def naive(
    predictions: ArmPredictions, thresholds: np.ndarray, labels: np.ndarray, rows: np.ndarray
) -> dict[str, float]:
    """Statistics on the test images ``rows`` (with repeats), network by network."""
    table: dict[str, list[float]] = {}
    for of_network, after in zip(thresholds, predictions.test[:, rows], strict=True):
        table.setdefault("accuracy", []).append(float(np.mean(after.argmax(axis=1) == labels[rows])))
        for c in range(len(NAMES)):
            cases, called = labels[rows] == c, after[:, c] >= of_network[c]
            table.setdefault(f"auc {c}", []).append(pairs_won(after[:, c], cases))
            table.setdefault(f"sensitivity {c}", []).append(float(called[cases].mean()))
            table.setdefault(f"specificity {c}", []).append(float(1 - called[~cases].mean()))
            table.setdefault(f"ppv {c}", []).append(float(cases[called].mean()))
            table.setdefault(f"f1 {c}", []).append(float(2 * (cases & called).sum() / (cases.sum() + called.sum())))
            table.setdefault(f"brier {c}", []).append(float(np.mean((after[:, c] - cases) ** 2)))
    found = {name: float(np.mean(values)) for name, values in table.items()}
    return found | {"macro": float(np.mean([found[f"auc {c}"] for c in range(len(NAMES))]))}


def chosen_thresholds(predictions: ArmPredictions, validation: Truth) -> np.ndarray:
    """(S, C)."""
    return np.array(
        [
            [best_threshold(one[:, c], validation.labels == c) for c in range(len(NAMES))]
            for one in predictions.validation
        ]
    )


def renormalised(predictions: ArmPredictions) -> np.ndarray:
    """Probabilities (S, N, C) that sum to 1 in double precision, which scikit-learn asks for."""
    test = predictions.test.astype(np.float64)
    return test / test.sum(axis=2, keepdims=True)


def test_values_are_those_of_scikit_learn(
    evaluation: Evaluation, arms: list[ArmPredictions], truths: tuple[Truth, Truth]
) -> None:
    labels = truths[1].labels
    for predictions in arms:
        result, thresholds = evaluation.arm(predictions.arm), chosen_thresholds(predictions, truths[0])
        assert result is not None
        found = predictions.test.argmax(axis=2)
        assert result.accuracy.value == pytest.approx(np.mean([accuracy_score(labels, one) for one in found]))
        areas = []
        for c, of_class in enumerate(result.classes):
            called = predictions.test[:, :, c] >= thresholds[:, c, None]
            areas.append(np.mean([roc_auc_score(labels == c, one[:, c]) for one in predictions.test]))
            point = of_class.point("youden")
            assert point.thresholds == pytest.approx(thresholds[:, c])
            assert of_class.auc.value == pytest.approx(areas[-1], abs=1e-12)
            assert point.sensitivity.value == pytest.approx(np.mean([recall_score(labels == c, k) for k in called]))
            spared = [recall_score(labels == c, k, pos_label=0) for k in called]
            assert point.specificity.value == pytest.approx(np.mean(spared))
            precise = [precision_score(labels == c, k) for k in called]
            assert point.ppv.value == pytest.approx(np.mean(precise))
            negative = [precision_score(labels != c, ~k) for k in called]
            assert point.npv.value == pytest.approx(np.mean(negative))
            assert point.f1.value == pytest.approx(np.mean([f1_score(labels == c, k) for k in called]))
            balanced = [balanced_accuracy_score(labels == c, k) for k in called]
            assert point.balanced_accuracy.value == pytest.approx(np.mean(balanced))
            errors = [brier_score_loss(labels == c, one[:, c]) for one in predictions.test]
            assert of_class.brier.value == pytest.approx(np.mean(errors), abs=1e-7)
        assert result.macro_auc.value == pytest.approx(np.mean(areas), abs=1e-12)
        assert result.balanced_accuracy.value == pytest.approx(
            np.mean([balanced_accuracy_score(labels, one) for one in found])
        )
        whole = [brier_score_loss(labels, one.astype(float), scale_by_half=False) for one in renormalised(predictions)]
        assert result.brier.value == pytest.approx(np.mean(whole), abs=1e-6)
        shares = np.mean([confusion_matrix(labels, one, normalize="true") for one in found], axis=0)
        assert np.array(result.confusion) == pytest.approx(shares)
        assert result.macro_auc_spread == pytest.approx(np.std(result.network_macro_auc, ddof=1))


def test_intervals_are_those_of_a_bootstrap_in_plain_loops(
    evaluation: Evaluation, arms: list[ArmPredictions], truths: tuple[Truth, Truth]
) -> None:
    test = truths[1]
    patients = np.unique(test.groups)
    thresholds = [chosen_thresholds(predictions, truths[0]) for predictions in arms]
    samples: dict[str, list[dict[str, float]]] = {"distilled": [], "raw": []}
    for counts in resamples(len(patients), SETTINGS.bootstrap, np.random.default_rng(5)):
        for column in counts.T.astype(int):
            drawn = np.repeat(patients, column)
            rows = np.concatenate([np.flatnonzero(test.groups == patient) for patient in drawn])
            for predictions, chosen in zip(arms[:2], thresholds, strict=False):
                samples[predictions.arm].append(naive(predictions, chosen, test.labels, rows))
    for name, found in samples.items():
        result = evaluation.arm("distilled" if name == "distilled" else "raw")
        assert result is not None
        for key, estimate in (
            ("accuracy", result.accuracy),
            ("macro", result.macro_auc),
            ("auc 1", result.classes[1].auc),
            ("sensitivity 2", result.classes[2].points[0].sensitivity),
            ("specificity 0", result.classes[0].points[0].specificity),
            ("ppv 2", result.classes[2].points[0].ppv),
            ("f1 1", result.classes[1].points[0].f1),
            ("brier 1", result.classes[1].brier),
        ):
            low, high = np.quantile([sample[key] for sample in found], [0.025, 0.975])
            assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-7)
    difference = evaluation.difference("raw")
    assert difference is not None
    for key, estimate in (
        ("macro", difference.macro_auc),
        ("auc 1", difference.class_auc[1]),
        ("accuracy", difference.accuracy),
    ):
        gains = [mine[key] - other[key] for mine, other in zip(samples["distilled"], samples["raw"], strict=True)]
        assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(gains, [0.025, 0.975])), abs=1e-9)
    lost = [other["accuracy"] - mine["accuracy"] for mine, other in zip(*samples.values(), strict=True)]
    recovery = evaluation.hard_label_recovery
    assert (recovery.low, recovery.high) == pytest.approx(tuple(np.quantile(lost, [0.025, 0.975])), abs=1e-9)


def test_delongs_differences_are_those_of_the_bootstrap_with_an_interval_about_as_wide(evaluation: Evaluation) -> None:
    for difference in evaluation.differences:
        for bootstrap, delong in zip(difference.class_auc, difference.class_auc_delong, strict=True):
            assert delong.value == pytest.approx(bootstrap.value, abs=1e-12)
            assert delong.high - delong.low == pytest.approx(bootstrap.high - bootstrap.low, rel=0.35)


def test_proportion_that_is_exactly_one_has_the_exact_binomial_limit() -> None:
    estimate = proportion_estimate(1.0, np.ones(100), patients=30, confidence=0.95)
    assert estimate.low == pytest.approx(0.025 ** (1 / 30))
    assert estimate.high == 1.0
    none_found = proportion_estimate(0.0, np.zeros(100), patients=30, confidence=0.95)
    assert none_found.high == pytest.approx(1 - 0.025 ** (1 / 30))
    assert none_found.low == 0.0


def test_proportions_without_an_error_have_the_limit_for_the_patients_they_are_shares_of(
    truths: tuple[Truth, Truth],
) -> None:
    perfect = arm("raw", *truths, skill=40, seed=1)
    missed = np.isin(truths[1].groups, np.unique(truths[1].groups[truths[1].labels == 0])[:4])
    perfect.test[0, missed] = (0, 0.5, 0.5)
    result = compare([perfect], *truths, NAMES, SETTINGS, seed=0).arm("raw")
    assert result is not None
    point, other = (result.classes[c].point("youden") for c in (0, 1))
    assert [point.ppv.low, point.specificity.low] == pytest.approx([0.025 ** (1 / 6), 0.025 ** (1 / 20)])
    assert [other.sensitivity.low, other.npv.low] == pytest.approx([0.025 ** (1 / 10), 0.025 ** (1 / 16)])


def test_an_arm_does_not_differ_from_itself(arms: list[ArmPredictions], truths: tuple[Truth, Truth]) -> None:
    twin = replace(arms[0], arm="raw")
    found = compare([arms[0], twin], *truths, NAMES, SETTINGS, seed=0)
    difference = found.difference("raw")
    assert difference is not None
    assert difference.macro_auc.value == 0
    assert found.difference("random") is None
    assert found.gap_closed.value is None
    assert found.gap_closed.reason


@pytest.mark.parametrize(("margin", "expected"), [(0.5, "shown"), (0.0001, "not shown")])
def test_non_inferiority_needs_the_whole_interval_above_the_margin(
    arms: list[ArmPredictions], truths: tuple[Truth, Truth], margin: float, expected: str
) -> None:
    found = compare(arms, *truths, NAMES, SETTINGS.model_copy(update={"margin": margin}), seed=0)
    difference = found.difference("raw")
    assert difference is not None
    assert difference.macro_auc.low is not None
    assert found.non_inferiority == expected == ("shown" if difference.macro_auc.low > -margin else "not shown")


def test_non_inferiority_is_not_shown_by_the_value_alone(
    evaluation: Evaluation, arms: list[ArmPredictions], truths: tuple[Truth, Truth]
) -> None:
    told = evaluation.difference("raw").macro_auc
    margin = -(told.value + told.low) / 2
    assert told.low < -margin < told.value
    found = compare(arms, *truths, NAMES, SETTINGS.model_copy(update={"margin": margin}), seed=5)
    assert found.difference("raw").macro_auc == told
    assert found.non_inferiority == "not shown"


def test_beating_random_needs_more_than_the_seed_spread(
    evaluation: Evaluation, arms: list[ArmPredictions], truths: tuple[Truth, Truth]
) -> None:
    assert evaluation.beats_random == "yes"
    gain, results = evaluation.difference("random").macro_auc.value, {entry.arm: entry for entry in evaluation.arms}
    for wide in ("distilled", "random"):
        spreads = {name: replace(results[name], macro_auc_spread=gain / 2) for name in ("distilled", "random")}
        spreads[wide] = replace(results[wide], macro_auc_spread=gain * 2)
        assert beats_random(spreads, evaluation.differences) == ("no", ""), "both arms' spread counts"
    twins = [arms[0], replace(arms[0], arm="random")]
    assert compare(twins, *truths, NAMES, SETTINGS, seed=0).beats_random == "no"
    single = [replace(entry, validation=entry.validation[:1], test=entry.test[:1]) for entry in arms]
    lone = compare(single, *truths, NAMES, SETTINGS, seed=0)
    assert lone.beats_random == "cannot be judged"
    assert "2 networks" in lone.reason_random
    assert lone.reason == "", "that the spread is missing says nothing of all originals"


def test_order_of_the_arms_and_of_the_images_does_not_matter(
    evaluation: Evaluation, arms: list[ArmPredictions], truths: tuple[Truth, Truth]
) -> None:
    assert compare(arms[::-1], *truths, NAMES, SETTINGS, seed=5) == evaluation
    assert [result.arm for result in evaluation.arms] == ["raw", "random", "distilled"]


def finite(evaluation: Evaluation) -> Evaluation:
    """Through JSON, which refuses NaN, and back."""
    text = json.dumps(evaluation.as_json(), allow_nan=False)
    assert Evaluation.from_json(json.loads(text)) == evaluation
    return evaluation


def test_record_survives_json(evaluation: Evaluation) -> None:
    finite(evaluation)


def without(of: Truth, label: int) -> np.ndarray:
    return np.flatnonzero(of.labels != label)


def cut(of: Truth, rows: np.ndarray) -> Truth:
    traits = {trait: tuple(np.array(texts)[rows]) for trait, texts in of.traits.items()}
    return Truth(of.labels[rows], of.groups[rows], traits)


def test_class_absent_from_the_test_split_is_said(arms: list[ArmPredictions], truths: tuple[Truth, Truth]) -> None:
    rows = without(truths[1], 1)
    fewer = [replace(entry, test=entry.test[:, rows]) for entry in arms]
    found = finite(compare(fewer, truths[0], cut(truths[1], rows), NAMES, SETTINGS, seed=0))
    result = found.arm("distilled")
    assert result is not None
    kept = cut(truths[1], rows)
    scores = next(entry.test for entry in fewer if entry.arm == "distilled")
    areas = [roc_auc_score(kept.labels == c, one[:, c]) for one in scores for c in (0, 2)]
    assert result.macro_auc.value == pytest.approx(np.mean(areas), abs=1e-6)
    assert "'covid' has no image in the test split" in result.classes[1].recall.reason
    assert result.classes[0].auc.low is not None
    assert result.classes[1].points[0].sensitivity.value is None
    assert result.classes[1].points[0].specificity.value is not None
    assert result.accuracy.low is not None
    assert found.non_inferiority == found.beats_random == "cannot be judged"
    assert "covid" in found.reason
    assert "covid" in found.reason_random


def test_class_absent_from_the_validation_split_has_no_threshold(
    arms: list[ArmPredictions], truths: tuple[Truth, Truth]
) -> None:
    rows = without(truths[0], 2)
    fewer = [replace(entry, validation=entry.validation[:, rows]) for entry in arms]
    found = finite(compare(fewer, cut(truths[0], rows), truths[1], NAMES, SETTINGS, seed=0))
    result = found.arm("raw")
    assert result is not None
    assert result.classes[2].points[0].thresholds == ()
    assert "validation" in result.classes[2].points[0].sensitivity.reason
    assert result.classes[2].auc.low is not None


def test_one_patient_gives_values_without_intervals(arms: list[ArmPredictions], truths: tuple[Truth, Truth]) -> None:
    alone = replace(truths[1], groups=np.zeros_like(truths[1].groups))
    found = finite(compare(arms, truths[0], alone, NAMES, SETTINGS, seed=0))
    result = found.arm("distilled")
    assert result is not None
    assert result.macro_auc.value is not None
    assert result.macro_auc.low is None
    assert "2 patients" in result.macro_auc.reason
    assert found.non_inferiority == "cannot be judged"


def test_constant_predictions_are_not_an_auc_of_one_half(
    arms: list[ArmPredictions], truths: tuple[Truth, Truth]
) -> None:
    flat = replace(
        arms[0],
        validation=np.full_like(arms[0].validation, 1 / 3),
        test=np.full_like(arms[0].test, 1 / 3),
    )
    found = finite(compare([flat, *arms[1:]], *truths, NAMES, SETTINGS, seed=0))
    result = found.arm("distilled")
    assert result is not None
    assert result.macro_auc.value is None
    assert "same score" in result.macro_auc.reason
    assert result.classes[0].points[0].sensitivity.value is None
    assert found.non_inferiority == "cannot be judged"


def test_raw_no_better_than_random_leaves_no_gap(arms: list[ArmPredictions], truths: tuple[Truth, Truth]) -> None:
    swapped = [arms[0], replace(arms[1], arm="random"), replace(arms[2], arm="raw")]
    found = finite(compare(swapped, *truths, NAMES, SETTINGS, seed=0))
    assert found.gap_closed.value is None
    assert "no better" in found.gap_closed.reason


def test_uncertain_gap_says_why_it_has_no_interval(arms: list[ArmPredictions], truths: tuple[Truth, Truth]) -> None:
    close = arm("raw", *truths, skill=0.8, seed=40)
    candidates = [arms[0], close, arms[2]]
    found = finite(compare(candidates, *truths, NAMES, SETTINGS, seed=0))
    assert found.gap_closed.value is not None
    assert found.gap_closed.low is None
    assert "resamples of the patients all originals" in found.gap_closed.reason


def test_gap_closed_is_the_share_of_the_gap_and_needs_its_own_three_arms_only(
    evaluation: Evaluation, arms: list[ArmPredictions], truths: tuple[Truth, Truth]
) -> None:
    raw, random, distilled = (result.macro_auc.value for result in evaluation.arms)
    assert raw is not None
    assert random is not None
    assert distilled is not None
    assert evaluation.gap_closed.value == pytest.approx((distilled - random) / (raw - random))
    assert evaluation.gap_closed.low is not None
    constant = replace(arms[2], arm="kmeans", test=np.full_like(arms[2].test, 1 / 3))
    assert compare([*arms, constant], *truths, NAMES, SETTINGS, seed=5).gap_closed == evaluation.gap_closed


def test_a_gap_for_want_of_a_class_does_not_blame_the_originals(
    arms: list[ArmPredictions], truths: tuple[Truth, Truth]
) -> None:
    rows = np.append(without(truths[1], 1), np.flatnonzero(truths[1].labels == 1)[:1])
    fewer = [replace(entry, test=entry.test[:, rows]) for entry in arms]
    found = finite(compare(fewer, truths[0], cut(truths[1], rows), NAMES, SETTINGS, seed=0))
    assert found.gap_closed.low is None
    assert found.gap_closed.reason == "covid has 1 test patient"


@pytest.mark.parametrize(("skill", "margin", "expected"), [(1.5, 0.5, "shown"), (0.0, 0.001, "not shown")])
def test_originals_that_are_told_without_an_error_are_no_guesses(
    truths: tuple[Truth, Truth], skill: float, margin: float, expected: str
) -> None:
    """Their macro AUC is 1 in every resample, so it has no interval; the difference has one."""
    perfect, less = arm("raw", *truths, skill=40, seed=1), arm("distilled", *truths, skill=skill, seed=3)
    settings = SETTINGS.model_copy(update={"margin": margin})
    found = finite(compare([perfect, less], *truths, NAMES, settings, seed=0))
    result = found.arm("raw")
    assert result is not None
    assert (result.macro_auc.value, result.macro_auc.low) == (1, None)
    assert found.non_inferiority == expected
    assert "guessing" not in found.reason


@pytest.mark.parametrize("split", ["validation", "test"])
def test_nan_predictions_are_refused(arms: list[ArmPredictions], truths: tuple[Truth, Truth], split: str) -> None:
    broken = getattr(arms[0], split).copy()
    broken[1, 0, 0] = np.nan
    bad = replace(arms[0], validation=broken) if split == "validation" else replace(arms[0], test=broken)
    with pytest.raises(DataError, match=rf"1 predictions of arm 'distilled' on the {split} split"):
        compare([bad], *truths, NAMES, SETTINGS, seed=0)


def test_predictions_that_do_not_fit_are_refused(arms: list[ArmPredictions], truths: tuple[Truth, Truth]) -> None:
    def refused(chosen: Sequence[ArmPredictions], test: Truth, match: str) -> None:
        with pytest.raises(DataError, match=match):
            compare(chosen, truths[0], test, NAMES, SETTINGS, seed=0)

    refused([replace(arms[0], test=arms[0].test[:, :5])], truths[1], "shape")
    refused([arms[0], arms[0]], truths[1], "twice")
    refused([], truths[1], "no arms")
    refused(arms, cut(truths[1], np.arange(0)), "test split is empty")


def test_an_estimate_without_a_reason_must_be_whole() -> None:
    for wrong in ((None, None, None), (float("nan"), 0.0, 1.0), (0.5, None, 1.0)):
        with pytest.raises(ValueError, match="neither"):
            Estimate(*wrong)


def test_predictions_are_kept_privately(
    tmp_path: Path, arms: list[ArmPredictions], truths: tuple[Truth, Truth]
) -> None:
    folder = tmp_path / "evaluation"
    save_truth(folder, *truths)
    for entry in arms:
        save_arm(folder, entry)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    loaded = load_arms(folder)
    assert [entry.arm for entry in loaded] == ["raw", "random", "distilled"]
    assert (loaded[2].test == arms[0].test).all()
    assert loaded[2].seconds == arms[0].seconds
    for mine, other in zip(load_truth(folder), truths, strict=True):
        assert (mine.labels == other.labels).all()
        assert (mine.groups == other.groups).all()
        assert mine.traits == other.traits
    (folder / "raw.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ArtifactError, match="damaged"):
        load_arms(folder)
    with pytest.raises(ArtifactError, match="no predictions"):
        load_arms(tmp_path)


def test_to_equal_networks_that_only_guess_is_no_merit() -> None:
    numbers = np.random.default_rng(0)
    labels = np.arange(120) % 2
    truth = Truth(labels, np.arange(120), {})

    def guesses(arm: ArmName) -> ArmPredictions:
        told = numbers.dirichlet([1, 1], size=(3, 120)).astype(np.float32)
        return ArmPredictions(arm, told, told, images=10, bytes=640, epochs=1, seconds=1.0)

    recipe = EvaluateRecipe(bootstrap=200, margin=0.5)
    told = compare([guesses(arm) for arm in ARMS], truth, truth, ("a", "b"), recipe, seed=0)
    assert told.non_inferiority == "cannot be judged"
    assert "guessing" in told.reason
