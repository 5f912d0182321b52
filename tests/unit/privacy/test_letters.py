"""Letters in a set: which readings count, where they are looked for, what the gate makes of it. No reader is needed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medistill.data.burnt_in_text import Box, Reading, can_carry_letters, too_small_for_letters
from medistill.privacy.attacks.letters import LETTERS_NAME, ORIGINALS_NAME, OVERLAYS_NAME, no_text
from medistill.privacy.gate import decide
from medistill.privacy.letters import Letters, Overlay, PlantedWord, TextFigures, planted_words, read_set
from tests.factories.report_example import text_figures

CLEAN = replace(text_figures(), overlays=())
NAME = Letters("image", 3, 1, 9, 0.9)


def by_brightness(picture: np.ndarray) -> list[Reading]:
    """A reader that sees a word wherever the upper left corner is as bright as anything else."""
    return [Reading(Box(0, 8, 0, 30), 0.9, 7)] if picture[:, :8, :30].mean() > 200 else []


def test_letters_are_looked_for_in_images_and_in_means() -> None:
    """A banner that is faint in every image is the brightest thing in the mean of all."""
    images = np.full((6, 1, 64, 64), 50, np.uint8)
    images[:, :, :8, :30] = 90
    images[4, :, :8, :30] = 255
    found = read_set(images, np.array([0, 0, 0, 1, 1, 1]), by_brightness)
    assert [(one.seen, one.number) for one in found] == [
        ("image", 4),
        ("mean of a class", 0),
        ("mean of a class", 1),
        ("mean of the set", 0),
    ]
    assert {(one.places, one.letters, one.sure) for one in found} == {(1, 7, 0.9)}


@pytest.mark.parametrize(("score", "letters", "counts"), [(0.9, 2, False), (0.5, 9, False), (0.6, 3, True)])
def test_unsure_readings_and_those_of_two_letters_do_not_count(score: float, letters: int, counts: bool) -> None:
    found = read_set(
        np.zeros((1, 1, 64, 64), np.uint8), np.zeros(1, int), lambda _: [Reading(Box(0, 5, 0, 9), score, letters)]
    )
    assert bool(found) is counts


def test_a_planted_word_counts_as_found_only_where_it_was_planted() -> None:
    images = np.full((3, 1, 96, 96), 50, np.uint8)
    elsewhere = planted_words(images, lambda _: [Reading(Box(0, 20, 0, 96), 0.9, 9)])
    assert [(one.images, one.found, one.in_mean) for one in elsewhere] == [(3, 0, False)] * 3
    whole = planted_words(images, lambda seen: [Reading(Box(60, 96, 0, 96), 0.9, 9)] if seen.max() > 100 else [])
    assert [(one.contrast, one.found) for one in whole] == [(15, 0), (30, 0), (60, 3)]


def verdicts(text: TextFigures) -> dict[str, str]:
    return {one.name: one.verdict for one in no_text(text)}


def test_a_set_of_masked_originals_without_letters_passes() -> None:
    assert verdicts(CLEAN) == {ORIGINALS_NAME: "pass", LETTERS_NAME: "pass", OVERLAYS_NAME: "pass"}
    assert decide(no_text(CLEAN)) == "pass"
    assert CLEAN.clean


@pytest.mark.parametrize(
    ("changes", "name", "verdict", "reason"),
    [
        ({"originals": "", "policy": ""}, ORIGINALS_NAME, "not enough evidence", "data.burnt_in_text=mask"),
        ({"originals": "", "policy": "", "drawn_here": True}, ORIGINALS_NAME, "pass", "drew the originals itself"),
        ({"found": (NAME,)}, LETTERS_NAME, "fail", "images 3"),
        ({"found": (Letters("mean of the set", 0, 1, 9, 0.9),)}, LETTERS_NAME, "fail", "1 mean of several"),
        (
            {"reader": "", "images": 0, "planted": ()},
            LETTERS_NAME,
            "not enough evidence",
            "pip install 'medistill[ocr]'",
        ),
        ({"planted": (PlantedWord(60, 6, 2, False),)}, LETTERS_NAME, "not enough evidence", "planted"),
        ({"planted": (PlantedWord(60, 6, 2, True),)}, LETTERS_NAME, "pass", ""),
        ({"overlays": (Overlay("north", 300, 0.03, 16, 0.9, 0.005),)}, OVERLAYS_NAME, "fail", ""),
        ({"overlays": (Overlay("north", 300, 0.03, 16, 0.9, 0.2),)}, OVERLAYS_NAME, "pass", ""),
        ({"overlays": (Overlay("north", 300, 0.03, 0, 0.9, 0.005),)}, OVERLAYS_NAME, "pass", ""),
    ],
)
def test_what_the_gate_makes_of_it(changes: dict[str, object], name: str, verdict: str, reason: str) -> None:
    text = replace(CLEAN, **changes)  # type: ignore[arg-type]
    (criterion,) = [one for one in no_text(text) if one.name == name]
    assert criterion.verdict == verdict
    assert reason in criterion.reason
    assert text.clean is all(one.verdict == "pass" for one in no_text(text))


@pytest.mark.parametrize("side", [32, 63])
def test_images_too_small_for_letters_pass_with_that_as_the_reason(side: int) -> None:
    assert not can_carry_letters(side, 200)
    small = TextFigures(side, False, "", "", False, "", 0, (), (), ())
    assert {one.verdict for one in no_text(small)} == {"pass"}
    assert all(one.reason == too_small_for_letters(str(side)) for one in no_text(small))
    assert can_carry_letters(64, 64)
