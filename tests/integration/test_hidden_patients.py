"""Each way of hiding a patient that the audit claims to find is found, and what holds nobody is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medistill.artifacts.corpus import Corpus
from medistill.privacy import gate
from medistill.privacy.attack import GAPS, Attack, Evidence
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.audit import CopyFigures, Subject
from medistill.privacy.person_search import NOT_SEARCHED, PersonSearch
from medistill.recipe import AuditRecipe, load_recipe
from tests.factories.audit_signals import signals_of
from tests.factories.flat_corpus import save_flat
from tests.factories.hidden_patients import HARMLESS, harmless_set, hidden_set

EACH, RECIPE = 3, load_recipe("demo")
SEARCHES = {one.name: one for one in all_attacks() if isinstance(one, PersonSearch)}
FOUND_BY = {
    "class mean and 40 % of a patient": "copies in own detail",
    "high frequencies on the class mean": "copies in own detail",
    "mean of two": "copies in own detail",
    "mixture of three": "copies in mixtures",
    "inverted": "copies under grey curves",
    "gamma 3": "copies under grey curves",
    "blurred": "copies in blur",
    "mirrored": "copies in other poses",
    "rotated by 90": "copies in other poses",
    "rotated by 180": "copies in other poses",
    "transposed": "copies in other poses",
    "shifted by 3": "copies in other poses",
    "rotated by 8": "copies in other poses",
    "zoomed by 1.3": "copies in other poses",
    "small in the corner": "copies in other poses",
    "halves of two": "copies in parts",
    "thirds of three": "copies in parts",
    "quadrants of four": "copies in parts",
    "checkerboard of two": "copies in parts",
}


def people(folder: Path, channels: int) -> Corpus:
    """160 training and 110 held-out people at 32 pixels: a body that all share, and detail of several sizes."""
    rng, count, side = np.random.default_rng(2), 270, 32
    place = np.linspace(-1, 1, side)
    body = 60 * np.exp(-(np.hypot(*np.meshgrid(place, place)) ** 2))
    sizes = ((3.0, 120.0), (1.2, 40.0))
    detail = sum(
        much * gaussian_filter(rng.normal(size=(count, channels, side, side)), (0, 0, s, s)) for s, much in sizes
    )
    return save_flat(
        folder,
        images=np.clip(90 + body + detail, 0, 255).astype(np.uint8),
        labels=np.arange(count) % 2,
        groups=range(count),
        splits=np.repeat([0, 1, 2], [160, 40, 70]),
        class_names=("Normal", "Pneumonia"),
        site_names=["Site_A"],
        synthetic=False,
    )


@pytest.fixture(scope="module", params=[1, 3])
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return people(tmp_path_factory.mktemp("people"), request.param)


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return people(tmp_path_factory.mktemp("people"), 1)


def searched(images: np.ndarray, corpus: Corpus, attack: Attack, folder: Path) -> Evidence:
    return attack.run(signals_of(images, corpus, RECIPE, folder))


def of(found: Evidence, subject: Subject) -> CopyFigures:
    return next(one for one in found.copies if one.subject == subject)


@pytest.mark.parametrize("kind", FOUND_BY)
def test_a_hidden_patient_is_found_and_fails_the_set(kind: str, grey: Corpus, tmp_path: Path) -> None:
    attack = SEARCHES[FOUND_BY[kind]]
    signals = signals_of(hidden_set(kind, grey, EACH, 0), grey, RECIPE, tmp_path)
    found = attack.run(signals)
    assert of(found, "distilled").copies >= EACH
    (told,) = attack.judge(found, signals.facts, AuditRecipe())
    assert told.verdict == "fail"
    if attack.name != "copies in blur":  # originals as they are, are sharper than any that it looks for
        assert of(found, "random").copies == of(found, "random").images
    assert of(found, "held out").copies == 0


@pytest.mark.parametrize("name", SEARCHES)
def test_nobody_is_found_where_nobody_is(name: str, grey: Corpus, tmp_path: Path) -> None:
    for kind in ("class mean", "smooth noise", "means of 20", "strangers"):
        found = searched(harmless_set(kind, grey, EACH, 0), grey, SEARCHES[name], tmp_path)
        assert of(found, "distilled").copies == 0, kind
    assert set(HARMLESS) >= {"class mean", "smooth noise", "means of 20", "strangers"}


def test_colour_is_searched_too(corpus: Corpus, tmp_path: Path) -> None:
    found = searched(hidden_set("mean of two", corpus, EACH, 0), corpus, SEARCHES["copies in own detail"], tmp_path)
    assert of(found, "distilled").copies == 2 * EACH


def test_too_few_strangers_are_no_evidence(grey: Corpus, tmp_path: Path) -> None:
    from dataclasses import replace

    few = replace(grey, splits=np.where(np.arange(270) < 255, 0, 2))
    for attack in SEARCHES.values():
        found = searched(hidden_set("as it is", few, EACH, 0), few, attack, tmp_path)
        assert found == Evidence()
        assert attack.leaves_open(found) == NOT_SEARCHED
        assert attack.leaves_open(None) == ""
    told = gate.not_tested(tuple(SEARCHES.values()), dict.fromkeys(SEARCHES, Evidence()))
    assert set(told) == {*GAPS.values(), NOT_SEARCHED}
