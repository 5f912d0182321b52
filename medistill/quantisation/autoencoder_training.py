"""Training of an autoencoder on the training images, which goes on where it was killed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medistill.artifacts.atomic import private_folder
from medistill.errors import DivergedError
from medistill.progress import Progress, Silent
from medistill.quantisation.autoencoder import Architecture, Autoencoder
from medistill.quantisation.decoder_folder import save
from medistill.recipe import AutoencoderRecipe
from medistill.training.adam_state import keep_training, restore_training
from medistill.training.device import sent
from medistill.training.randomness import generator

STATE = "state.safetensors"
OWN_LICENCE = "none: fitted to the images of this cache, which it must not leave"
OWN_CORPUS = "the training images of a corpus in this cache"


def train_autoencoder(
    images: np.ndarray,
    rows: np.ndarray,
    architecture: Architecture,
    recipe: AutoencoderRecipe,
    *,
    seed: int,
    device: torch.device,
    folder: Path,
    progress: Progress = Silent(),
) -> Autoencoder:
    """Train one, and leave it in ``folder`` in the format of `decoder_folder`.

    After every epoch the state is written: a training that was killed goes on with that epoch, on a CPU (with as many
    threads) to the same bits. Images are read batch by batch.

    Args:
        images: uint8 (N, C, H, W), 0 to 255; may be a memory map.
        rows: int64, those to train on.
        folder: a private one of this training's own.

    Raises:
        DivergedError: the loss left the finite numbers; the state of the last good epoch is kept.
        ArtifactError: the state is damaged, or cannot be written.
    """
    autoencoder = Autoencoder.drawn(architecture, generator(seed, "autoencoder")).to(device)
    adam = torch.optim.Adam(autoencoder.network.parameters(), lr=recipe.lr)
    path = private_folder(folder) / STATE
    key = _key(images, rows, architecture, recipe, seed)
    updates = -(-len(rows) // recipe.batch_size)
    done = restore_training(path, key, autoencoder.network, adam, "autoencoder's state", progress.say, updates=updates)
    with progress.task("Training the autoencoder", recipe.epochs * len(rows), done=done * len(rows)) as task:
        for epoch in range(done + 1, recipe.epochs + 1):
            numbers = generator(seed, "autoencoder", epoch)
            shuffled = rows[torch.randperm(len(rows), generator=numbers).numpy()]
            squares, seen = 0.0, 0
            for start in range(0, len(rows), recipe.batch_size):
                batch = shuffled[start : start + recipe.batch_size]
                grey = sent(torch.from_numpy(images[batch]), device).float() / 255
                squares += len(batch) * _step(autoencoder, adam, grey, recipe.kl, numbers)
                seen += len(batch)
                last = seen == len(rows)
                if not np.isfinite(squares) or (last and not _finite(autoencoder)):
                    raise DivergedError(
                        f"the autoencoder diverged in epoch {epoch} at method.autoencoder.lr = {recipe.lr}",
                        expected="finite losses and weights",
                        do="lower method.autoencoder.lr by a factor of 3",
                    )
                if last and epoch < recipe.epochs:
                    keep_training(path, key, autoencoder.network, adam, epoch)
                elif last:
                    save(folder, autoencoder, OWN_LICENCE, OWN_CORPUS)
                    path.unlink(missing_ok=True)
                error = 255 * (squares / seen) ** 0.5
                task.advance(len(batch), figures=f"epoch {epoch} of {recipe.epochs}, {error:.1f} grey levels off")
    return autoencoder


def _finite(autoencoder: Autoencoder) -> bool:
    return all(bool(parameter.isfinite().all()) for parameter in autoencoder.network.parameters())


def _step(
    autoencoder: Autoencoder, adam: torch.optim.Adam, grey: Tensor, weight: float, numbers: torch.Generator
) -> float:
    """One update on images (B, C, H, W): mean squared error of a pixel plus ``weight`` times the divergence of a code.

    The Kullback-Leibler divergence of N(mean, deviation^2) from N(0, 1), summed over a code and averaged over images:
    (mean^2 + deviation^2 - 1) / 2 - ln deviation (Kingma & Welling 2014, appendix B). The code that is decoded is
    drawn from that normal.

    Returns:
        The mean squared error, or NaN where the loss was not finite.
    """
    mean, deviation = (part.float() for part in autoencoder.network.encode(grey))
    noise = sent(torch.randn(mean.shape, generator=numbers), mean.device)
    mean_square = torch.nn.functional.mse_loss(autoencoder.network.decode(mean + deviation * noise).float(), grey)
    divergence = ((mean.square() + deviation.square() - 1) / 2 - deviation.log()).sum() / len(grey)
    loss = mean_square + weight * divergence
    adam.zero_grad()
    loss.backward()
    adam.step()
    return float(torch.where(torch.isfinite(loss), mean_square, torch.nan).detach())


def _key(images: np.ndarray, rows: np.ndarray, architecture: Architecture, recipe: AutoencoderRecipe, seed: int) -> str:
    """What a state belongs to; which images they are, the folder tells."""
    made_with = {
        "images": [len(images), hashlib.sha256(np.ascontiguousarray(rows, np.int64).tobytes()).hexdigest()],
        "architecture": architecture.as_json(),
        "recipe": recipe.model_dump(mode="json"),
        "seed": seed,
    }
    return json.dumps(made_with, sort_keys=True)
