"""Features of a corpus: encoded once, in memory that does not grow with the number of images, and refused where odd."""

from __future__ import annotations

import stat
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medistill.encoders.encoder import Encoder
from medistill.encoders.features import PIECE, features_of
from medistill.errors import DataError, DivergedError
from medistill.progress import Silent
from tests.factories.drawn_corpus import drawn_corpus
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    with tiny_architecture():
        yield


class Counted(nn.Module):
    """Passes images to a network and keeps how many it was given at once."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        """Count, and pass on."""
        self.batches.append(len(images))
        out: Tensor = self.network(images)
        return out


def counted(encoder: Encoder) -> tuple[Encoder, Counted]:
    network = Counted(encoder.network)
    return Encoder(encoder.description, encoder.sha256, network, encoder.centre, encoder.scale), network


def test_every_image_is_encoded_once_and_lies_privately_as_float16(tmp_path: Path, private_cache: Path) -> None:
    encoder, network = counted(stored_tiny(tmp_path / "made"))
    corpus = drawn_corpus(tmp_path / "corpus")
    seen = features_of(corpus, encoder, CPU, Silent())
    once = list(network.batches)
    assert 0 <= sum(once) - len(corpus.images) < once[0]
    again = features_of(corpus, encoder, CPU, Silent())
    assert network.batches == once
    grey = torch.from_numpy(np.array(corpus.images)).float() / 255
    assert (seen.dtype, seen.shape) == (np.float16, (len(grey), 22))
    assert np.array_equal(seen, again)
    assert np.allclose(seen, encoder.encoded(grey).numpy(), rtol=2e-3, atol=2e-3)
    files = [file for file in (private_cache / "features").rglob("*") if file.is_file()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_it_encodes_in_full_precision_whatever_is_asked_of_training(tmp_path: Path) -> None:
    encoder = stored_tiny(tmp_path / "made")
    corpus = drawn_corpus(tmp_path / "corpus")
    with torch.autocast("cpu", torch.bfloat16):
        seen = features_of(corpus, encoder, CPU, Silent())
    grey = torch.from_numpy(np.array(corpus.images)).float() / 255
    assert np.array_equal(seen, encoder.encoded(grey).half().numpy())


@pytest.mark.parametrize("each", [4, 24, 44])
def test_the_number_of_images_decides_no_bit_of_what_is_seen(each: int, tmp_path: Path) -> None:
    """Every batch has one shape, so that no other kernel rounds what the last images are."""
    encoder, network = counted(stored_tiny(tmp_path / "made"))
    corpus = drawn_corpus(tmp_path / "corpus", each=each)
    seen = features_of(corpus, encoder, CPU, Silent())
    assert set(network.batches) == {Encoder.batch(CPU)}
    lonely = [np.concatenate([image[None], np.zeros((7, *image.shape), np.uint8)]) for image in corpus.images[-3:]]
    alone = [encoder.encoded(torch.from_numpy(some).float() / 255)[0].half().numpy() for some in lonely]
    assert np.array_equal(np.stack(alone), seen[-3:])


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    encoder, network = counted(stored_tiny(tmp_path / "made"))
    peaks = {}
    for each in (64, 512):
        corpus = drawn_corpus(tmp_path / f"of {each}", each=each, size=32)
        tracemalloc.start()
        features_of(corpus, encoder, CPU, Silent())
        peaks[each] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert max(network.batches) <= PIECE
    assert peaks[512] < peaks[64] + 200_000  # the images themselves grow by 1.4 MB, their features by 59 kB


def test_images_that_it_cannot_see_and_features_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    encoder = stored_tiny(tmp_path / "made")
    with pytest.raises(DataError, match="images of 4 pixels"):
        features_of(drawn_corpus(tmp_path / "small", size=4), encoder, CPU, Silent())
    wild = Encoder(encoder.description, "0" * 64, encoder.network, encoder.centre, encoder.scale * 1e-9)
    with pytest.raises(DivergedError, match="not finite"):
        features_of(drawn_corpus(tmp_path / "corpus"), wild, CPU, Silent())
