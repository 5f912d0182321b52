"""Training of a denoiser: it learns, it resumes to the same bits, it sees classes alike and reads in batches."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medistill.artifacts.corpus import Corpus
from medistill.denoising import denoiser_training
from medistill.denoising.denoiser import Architecture, Denoiser, noise_levels, state_of
from medistill.denoising.denoiser_training import STATE, train_denoiser
from medistill.errors import DivergedError
from medistill.progress import Silent, SilentTask
from medistill.recipe import DenoiserRecipe
from medistill.training.randomness import generator
from tests.factories.planted import planted_corpus

SMALL = Architecture(1, 16, 8, 2, ("lying", "standing"), noise_levels(3))
RECIPE = DenoiserRecipe(updates=7, batch_size=8, lr=3e-3, width=8, depth=2, levels=3)
CPU = torch.device("cpu")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return planted_corpus(tmp_path / "corpus", each=16)[0]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoiser_training, "ROUND", 3)


class Killed(Silent):
    """Kills the work after so many updates, and counts them."""

    def __init__(self, after: int | None = None) -> None:
        self.after, self.seen, self.done = after, 0, 0

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        """Start a bar."""
        self.done = done
        watcher = self

        class Bar(SilentTask):
            def advance(self, steps: int = 1, *, figures: str = "") -> None:
                """Count, and kill."""
                watcher.seen += steps
                watcher.done += steps
                if watcher.seen == watcher.after:
                    raise KeyboardInterrupt

        return Bar()


def trained(corpus: Corpus, folder: Path, recipe: DenoiserRecipe = RECIPE, progress: Silent = Silent()) -> Denoiser:
    return train_denoiser(corpus, SMALL, recipe, seed=5, device=CPU, folder=folder, progress=progress)


def error(denoiser: Denoiser, corpus: Corpus) -> float:
    """Share of the noise that it does not see, in a batch of its own."""
    rng = generator(9, "error")
    grey = torch.from_numpy(corpus.images[corpus.rows("test")]).float() / 255
    level = torch.randint(3, (len(grey),), generator=rng)
    noise = torch.randn(grey.shape, generator=rng)
    condition = torch.from_numpy(corpus.labels[corpus.rows("test")])
    with torch.no_grad():
        seen = denoiser.predicted(denoiser.noisy(grey, noise, level), level, condition)
    return float((seen - noise).square().mean())


def test_it_learns_to_see_noise(corpus: Corpus, tmp_path: Path) -> None:
    before = error(Denoiser.drawn(SMALL, generator(5, "denoiser")), corpus)
    after = error(trained(corpus, tmp_path / "x", RECIPE.model_copy(update={"updates": 60, "batch_size": 16})), corpus)
    assert after < 0.6 < 0.9 < before


@pytest.mark.parametrize("updates", [2, 3, 5, 6])
def test_a_training_that_was_killed_goes_on_to_the_same_bits(updates: int, corpus: Corpus, tmp_path: Path) -> None:
    undisturbed = state_of(trained(corpus, tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        trained(corpus, tmp_path / "killed", progress=Killed(after=updates))
    kept = updates >= 3
    assert (tmp_path / "killed" / STATE).is_file() == kept
    if kept:
        assert stat.S_IMODE((tmp_path / "killed" / STATE).stat().st_mode) == 0o600
    bar = Killed()
    torch.manual_seed(77)
    resumed = state_of(trained(corpus, tmp_path / "killed", progress=bar))
    assert (bar.done, bar.seen) == (7, 7 - updates // 3 * 3)
    assert sorted(file.name for file in (tmp_path / "killed").iterdir()) == ["denoiser.json", "weights.safetensors"]
    for name, array in undisturbed.items():
        assert array.tobytes() == resumed[name].tobytes(), name


def test_numbers_that_run_away_are_told_and_nothing_is_kept(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"before update 3 at method\.denoiser\.lr = 1e\+30"):
        trained(corpus, tmp_path / "wide", RECIPE.model_copy(update={"lr": 1e30}))
    assert not list((tmp_path / "wide").iterdir())


def test_a_rare_class_is_seen_as_often_and_a_batch_is_read_at_once(corpus: Corpus, tmp_path: Path) -> None:
    read: list[np.ndarray] = []

    class Counting(np.ndarray):
        def __getitem__(self, rows: object) -> np.ndarray:
            read.append(np.array(rows))
            return np.asarray(self)[rows]  # type: ignore[index]

    train = corpus.rows("train")
    rare = np.where(np.arange(len(corpus.splits)) == train[corpus.labels[train] == 1][0], 0, corpus.labels)
    splits = np.where((corpus.labels == 1) & (rare == 1), 2, corpus.splits)  # one image of the class is left
    few = replace(corpus, splits=splits, images=corpus.images.view(Counting))
    trained(few, tmp_path / "few", RECIPE.model_copy(update={"updates": 30}))
    assert {len(rows) for rows in read} == {RECIPE.batch_size}
    seen = np.concatenate(read)
    assert set(seen) <= set(few.rows("train"))
    assert 0.38 < np.mean(few.labels[seen] == 1) < 0.62
