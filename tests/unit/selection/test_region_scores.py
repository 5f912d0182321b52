"""Scores of regions, against a loop over pixels in float64; what a trained denoiser finds in planted images."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from medistill.denoising.denoiser import Architecture, Denoiser, noise_levels
from medistill.denoising.denoiser_training import train_denoiser
from medistill.errors import ArtifactError
from medistill.recipe import DenoiserRecipe
from medistill.selection.region_scores import NoiseErrors, Regions, best_regions
from medistill.training.randomness import generator
from tests.factories.planted import planted_corpus

CPU = torch.device("cpu")
SMALL = Architecture(2, 8, 8, 2, ("a", "b"), noise_levels(3))
GREY = torch.rand(3, 2, 8, 8, generator=generator(1, "grey"), dtype=torch.float64)


def drawn() -> Denoiser:
    """A denoiser with random parameters, in float64."""
    denoiser = Denoiser.drawn(SMALL, generator(0, "drawn"))
    denoiser.network.double()
    return denoiser


def naive_map(denoiser: Denoiser, grey: torch.Tensor, of: int, class_id: int, draws: int, seed: int) -> np.ndarray:
    """The score of every pixel of one image, added up value by value."""
    rng, network = generator(seed, "noise"), denoiser.network
    scores, levels = np.zeros((8, 8)), len(SMALL.noise)
    for level in range(levels):
        for _ in range(draws):
            noise = torch.randn(grey.shape, generator=rng).double()[of : of + 1]
            share = SMALL.noise[level]
            noisy = math.sqrt(1 - share) * (2 * grey[of : of + 1] - 1) + math.sqrt(share) * noise
            at = F.one_hot(torch.tensor([level]), levels).double()
            with torch.no_grad():
                told, untold = (
                    network(noisy, at, F.one_hot(torch.tensor([c]), 3).double()) for c in (class_id, len(SMALL.classes))
                )
            for y in range(8):
                for x in range(8):
                    for channel in range(2):
                        place = (0, channel, y, x)
                        gain = float(noise[place] - untold[place]) ** 2 - float(noise[place] - told[place]) ** 2
                        scores[y, x] += gain / (2 * levels * draws)
    return scores


@pytest.mark.parametrize("at_once", [1, 2, 64])
def test_a_score_is_that_of_a_loop_over_pixels(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medistill.denoising.denoiser.ACTIVATION", at_once * SMALL.width * 16)
    denoiser = drawn()
    assert denoiser.at_once == at_once
    scorer = NoiseErrors.of(denoiser, ("b", "a"), draws=2)
    for class_id, condition in ((0, 1), (1, 0)):
        maps = scorer.maps(GREY, class_id, generator(5, "noise")).numpy()
        expected = [naive_map(denoiser, GREY, of, condition, 2, 5) for of in range(3)]
        np.testing.assert_allclose(maps, expected, atol=1e-12)
        assert np.abs(maps).max() > 1e-3, "the class says something"


class Given:
    """A scorer that was told its maps, row by row in the order in which they are asked for."""

    def __init__(self, maps: np.ndarray) -> None:
        self.maps_left = torch.from_numpy(maps)

    def maps(self, grey: torch.Tensor, class_id: int, rng: torch.Generator) -> torch.Tensor:
        """Give the next ones."""
        found, self.maps_left = self.maps_left[: len(grey)], self.maps_left[len(grey) :]
        return found


@pytest.mark.parametrize(("side", "batch"), [(4, 3), (8, 7), (2, 100), (1, 1)])
def test_the_best_regions_are_those_of_a_loop_over_windows(side: int, batch: int) -> None:
    rng = np.random.default_rng(2)
    images, maps = rng.integers(0, 256, (30, 2, 8, 8), np.uint8), rng.normal(size=(20, 8, 8)).astype(np.float32)
    maps[7] = maps[3]  # equal scores
    rows, told, step = np.arange(5, 25), [], max(1, side // 2)
    found = best_regions(
        Given(maps), images, rows, 0, side=side, most=9, batch=batch, seed=0, device=CPU, tick=told.append
    )
    every = []
    for row, scores in zip(rows, maps, strict=True):
        windows = [(y, x) for y in range(0, 9 - side, step) for x in range(0, 9 - side, step)]
        means = [float(scores[y : y + side, x : x + side].astype(np.float64).mean()) for y, x in windows]
        best = int(np.argmax(means))
        every.append((-means[best], row, *windows[best]))
    expected = sorted(every)[:9]
    np.testing.assert_allclose(found.scores, [-one[0] for one in expected], atol=1e-6)
    assert [tuple(one) for one in zip(found.rows, found.top, found.left, strict=True)] == [one[1:] for one in expected]
    cut = [images[row, :, y : y + side, x : x + side] for _, row, y, x in expected]
    np.testing.assert_array_equal(found.pixels(images, side, 4), cut)
    assert sum(told) == 20


def test_no_more_is_held_than_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    most, added = [], Regions.__add__

    def counted(self: Regions, other: Regions) -> Regions:
        found = added(self, other)
        most.append(len(found.rows))
        return found

    monkeypatch.setattr(Regions, "__add__", counted)
    maps, images = np.random.default_rng(0).normal(size=(100, 4, 4)).astype(np.float32), np.zeros((100, 1, 4, 4), "u1")
    found = best_regions(
        Given(maps), images, np.arange(100), 0, side=2, most=6, batch=10, seed=0, device=CPU, tick=lambda count: None
    )
    assert len(found.rows) == 6
    assert max(most) == 16


def test_a_denoiser_that_runs_away_is_named() -> None:
    denoiser = drawn()
    with torch.no_grad():
        denoiser.network.head.bias.fill_(1e200)
    with pytest.raises(ArtifactError, match="noise that is NaN or infinite"):
        NoiseErrors.of(denoiser, ("a", "b"), draws=1).maps(GREY, 0, generator(0, "noise"))


def test_what_shows_the_class_scores_highest_in_planted_images(tmp_path: Path) -> None:
    corpus, places = planted_corpus(tmp_path / "corpus")
    recipe = DenoiserRecipe(updates=200, width=16, depth=2, levels=3, lr=4e-3)
    architecture = Architecture(1, 16, 16, 2, corpus.class_names, noise_levels(3))
    denoiser = train_denoiser(corpus, architecture, recipe, seed=0, device=CPU, folder=tmp_path / "denoiser")
    scorer = NoiseErrors.of(denoiser, corpus.class_names, draws=2)
    held_out = np.concatenate([corpus.rows("val"), corpus.rows("test")])  # nothing that it was trained on
    hits, evidence, elsewhere = [], [], []
    for c in range(2):
        rows = held_out[corpus.labels[held_out] == c]
        found = best_regions(
            scorer, corpus.images, rows, c, side=8, most=1000, batch=32, seed=0, device=CPU, tick=lambda count: None
        )
        hits += [tuple(places[row]) == (y, x) for row, y, x in zip(found.rows, found.top, found.left, strict=True)]
        maps = scorer.maps(torch.from_numpy(corpus.images[rows]).float() / 255, c, generator(1, "maps")).numpy()
        for scores, (y, x) in zip(maps, places[rows], strict=True):
            inside = np.zeros((16, 16), bool)
            inside[y : y + 8, x : x + 8] = True
            evidence.append(scores[inside].mean())
            elsewhere.append(scores[~inside].mean())
    assert len(hits) == 60
    assert np.mean(hits) > 0.8, "of nine windows each, where chance gives 0.11"
    assert np.mean(evidence) > 4 * abs(np.mean(elsewhere))
