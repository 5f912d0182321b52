"""Images of a corpus where they lie: batches against plain indexing, and what is not copied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medistill.artifacts import scratch
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.whitening import Whitening
from medistill.encoders.encoder import Encoder
from medistill.encoders.features import features_of
from medistill.progress import Silent
from medistill.training import images
from medistill.training.encoded import features_at, seen_by
from medistill.training.images import LabelledImages, sent_in_pieces
from tests.factories.drawn_corpus import drawn_corpus
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

CPU, PLAIN = torch.device("cpu"), Normalisation((0.4,), (0.2,))
ROWS = np.array([5, 40, 2, 2, 71])
SOME = (torch.tensor([3, 0]), slice(1, 4), slice(None))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return drawn_corpus(tmp_path_factory.mktemp("corpora"))


@pytest.fixture
def encoder(tmp_path: Path) -> Iterator[Encoder]:
    with tiny_architecture():
        yield stored_tiny(tmp_path)


@pytest.mark.parametrize("some", SOME, ids=str)
def test_a_batch_is_gathered_from_the_file(some: torch.Tensor | slice, corpus: Corpus) -> None:
    data = LabelledImages.of_corpus(corpus, ROWS, PLAIN, CPU)
    assert np.shares_memory(data.pixels.numpy(), corpus.images)
    assert len(data) == len(ROWS)
    grey = np.array(corpus.images[ROWS])[some if isinstance(some, slice) else some.numpy()]
    np.testing.assert_allclose(data.batch(some), (grey / 255 - 0.4) / 0.2, atol=1e-6)
    np.testing.assert_allclose(data.grey(some), grey / 255, atol=1e-7)
    assert torch.equal(data.stored(some), torch.from_numpy(grey))
    np.testing.assert_array_equal(data.labels, corpus.labels[ROWS])


def test_whitened_images_are_the_same_in_a_file_and_in_memory(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    white = replace(Normalisation.full_scale(1), whitening=Whitening.of(corpus.images, 0.1, corpus.rows("train")))
    in_memory = LabelledImages.of_split(corpus, "train", white, CPU).batch(slice(None))
    monkeypatch.setattr(scratch, "SMALL", 0)
    in_a_file = LabelledImages.of_split(corpus, "train", white, CPU).batch(slice(None))
    assert torch.equal(in_a_file, in_memory)
    np.testing.assert_allclose(in_memory, white.apply(corpus.images[corpus.rows("train")]), atol=1e-5)


@pytest.mark.parametrize("bytes_at_once", [1, 700, 2**20])
def test_what_is_sent_in_pieces_is_what_was_asked_for(
    bytes_at_once: int, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "SENT", bytes_at_once)
    np.testing.assert_array_equal(sent_in_pieces(corpus.images, ROWS, CPU), corpus.images[ROWS])
    assert sent_in_pieces(corpus.images, ROWS[:0], CPU).shape == (0, *corpus.images.shape[1:])


def test_features_stay_in_the_cache_until_they_are_asked_for(corpus: Corpus, encoder: Encoder) -> None:
    kept = features_of(corpus, encoder, CPU, Silent())
    of_images = seen_by(encoder, LabelledImages.of_corpus(corpus, ROWS, PLAIN, CPU), CPU)
    for data in (of_images, features_at(corpus, ROWS, encoder, CPU)):
        assert data.pixels.dtype == torch.float16
        np.testing.assert_array_equal(data.batch(torch.tensor([1, 4])), kept[ROWS[[1, 4]]].astype(np.float32))
        np.testing.assert_array_equal(data.stored(slice(None)), kept[ROWS])
        np.testing.assert_array_equal(data.labels, corpus.labels[ROWS])
