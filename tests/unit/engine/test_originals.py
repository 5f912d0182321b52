"""Batches of originals: whose they are, that they do not repeat, and on what they depend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.engine.sources.originals import Originals
from tests.factories.drawn_corpus import drawn_corpus

NORMALISATION = Normalisation((0.5,), (0.25,))
SHOWN = torch.arange(4)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Three classes, 12 training images each."""
    return drawn_corpus(tmp_path / "corpus", size=8)


def source(corpus: Corpus, class_ids: tuple[int, ...] = (0, 2), batch: int = 5, seed: int = 3) -> Originals:
    return Originals(corpus, class_ids, batch, NORMALISATION, seed, torch.device("cpu"))


def rows_of(corpus: Corpus, pixels: torch.Tensor) -> list[int]:
    """The row of the corpus that each image is; no two are alike there."""
    grey = ((pixels * 0.25 + 0.5) * 255).round().numpy().astype(np.uint8)
    return [int(np.flatnonzero((corpus.images == one).all(axis=(1, 2, 3)))[0]) for one in grey]


def test_a_batch_of_each_class_is_of_training_images_of_it_without_repeats(corpus: Corpus) -> None:
    asked = source(corpus)
    drawn = asked.draw(0, SHOWN)
    rows = rows_of(corpus, drawn.batch(slice(None)))
    assert drawn.pixels.dtype == torch.uint8
    assert drawn.labels.tolist() == [0] * 5 + [2] * 5 == corpus.labels[rows].tolist()
    assert len(set(rows)) == len(rows) == asked.count
    assert set(rows) <= set(corpus.rows("train").tolist())


def test_of_a_class_with_fewer_than_a_batch_all_are_taken(corpus: Corpus) -> None:
    asked = source(corpus, batch=100)
    train = corpus.rows("train")
    rows = rows_of(corpus, asked.draw(0, SHOWN).batch(slice(None)))
    assert sorted(rows) == sorted(train[np.isin(corpus.labels[train], (0, 2))].tolist())
    assert asked.count == len(rows)


def test_what_is_drawn_depends_on_seed_iteration_and_number_alone(corpus: Corpus) -> None:
    def drawn(seed: int = 3, iteration: int = 7, number: int = 0, class_ids: tuple[int, ...] = (0, 2)) -> list[int]:
        asked = source(corpus, class_ids, seed=seed)
        asked.draw(1, SHOWN)
        return rows_of(corpus, asked.draw(iteration, SHOWN, number).batch(slice(None)))

    first = drawn()
    assert first == drawn()
    assert len({tuple(rows) for rows in (first, drawn(seed=4), drawn(iteration=8), drawn(number=1))}) == 4
    assert first[5:] == drawn(class_ids=(2,)), "what is drawn of a class does not hang on the others"
