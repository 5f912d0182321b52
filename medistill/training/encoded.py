"""Encoded images: what a frozen encoder sees in labelled images, in their place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from medistill.artifacts.corpus import Corpus
from medistill.encoders.encoder import Encoder
from medistill.encoders.features import features_of
from medistill.errors import DivergedError
from medistill.progress import Progress, Silent
from medistill.training.context import Context
from medistill.training.device import precision
from medistill.training.images import LabelledImages, on_device


def seen_by(
    encoder: Encoder | None, images: LabelledImages, device: torch.device, progress: Progress = Silent()
) -> LabelledImages:
    """Return the images as a network sees them: by an encoder's features, where it has one, encoded in fp32.

    Those of a corpus are read from the private cache, and made there where they are missing.

    Args:
        encoder: None leaves the images as they are.
        images: of a corpus, or with a normalisation that is known; features are left as they are.
        device: where the arithmetic runs.
        progress: told how far the encoding is.

    Raises:
        DivergedError: the encoder gives numbers that are not finite.
    """
    if encoder is None or images.pixels.ndim == 2:
        return images
    if images.origin is None:
        with precision("fp32", device):
            seen = encoder.to(device).encoded(images.grey(slice(None)))
        if not bool(torch.isfinite(seen).all()):
            raise DivergedError(
                f"the encoder {encoder.display_name} gives features that are not finite",
                expected="images with finite grey values, and an encoder that sees them as finite numbers",
                do="use another encoder (medistill encoder list), or distil the set again",
            )
    else:
        corpus, rows = images.origin
        pixels, at = on_device(_kept(corpus, encoder, device, progress), rows, device)
        return replace(images, pixels=pixels, rows=at)
    return replace(images, pixels=seen, rows=None)


def encode_corpus(context: Context) -> None:
    """Encode the images of a corpus once, with a bar of its own, where a probe will ask for them and the cache lacks
    them: what comes later finds them there.

    Raises:
        DataError: the images are too small for the encoder.
        DivergedError: it gives numbers that are not finite.
    """
    if context.spec.encoder is not None:
        _kept(context.corpus, context.spec.encoder, context.device, context.progress)


def features_at(corpus: Corpus, rows: np.ndarray, encoder: Encoder, device: torch.device) -> LabelledImages:
    """Return what an encoder sees in rows of a corpus, whose pixels are then not read."""
    pixels, at = on_device(_kept(corpus, encoder, device, Silent()), rows, device)
    return replace(LabelledImages.of_floats(pixels, torch.from_numpy(corpus.labels[rows]).to(device)), rows=at)


def _kept(corpus: Corpus, encoder: Encoder, device: torch.device, progress: Progress) -> np.ndarray:
    """Return the features of every image of a corpus, in full precision whatever a run asks for."""
    with precision("fp32", device):
        return features_of(corpus, encoder, device, progress)
