"""Training of a denoiser on the training images, which goes on where it was killed."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import torch

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.denoising.denoiser import Architecture, Denoiser
from medistill.denoising.denoiser_folder import save
from medistill.errors import DivergedError
from medistill.progress import Progress, Silent
from medistill.recipe import DenoiserRecipe
from medistill.training.adam_state import keep_training, restore_training
from medistill.training.device import sent
from medistill.training.randomness import generator

STATE = "state.safetensors"
OWN_LICENCE = "none: trained on the images of this cache, which it must not leave"
OWN_CORPUS = "the training images of a corpus in this cache"
ROUND = 50
"""Updates after which the state is written, and the loss told."""


def train_denoiser(
    corpus: Corpus,
    architecture: Architecture,
    recipe: DenoiserRecipe,
    *,
    seed: int,
    device: torch.device,
    folder: Path,
    progress: Progress = Silent(),
) -> Denoiser:
    """Train one, and leave it in ``folder`` in the format of `denoiser_folder`.

    An update lowers the mean of |e - e(x_v, v, c)|^2 over images whose class is drawn first, each alike, then the image
    among those of the class; c is the class, or untold in a share of them, and v one of the levels. After every `ROUND`
    updates the state is written: a training that was killed goes on with that, on a CPU (with as many threads) to the
    same bits. Images are read batch by batch.

    Args:
        corpus: of which the training images are seen.
        architecture: what to train.
        recipe: how.
        seed: of the recipe.
        device: where.
        folder: a private one of this training's own.
        progress: told how far it is.

    Raises:
        DivergedError: the loss left the finite numbers; the last good state is kept.
        ArtifactError: the state is damaged, or cannot be written.
    """
    denoiser = Denoiser.drawn(architecture, generator(seed, "denoiser")).to(device)
    adam = torch.optim.Adam(denoiser.network.parameters(), lr=recipe.lr)
    path, key = private_folder(folder) / STATE, _key(corpus, architecture, recipe, seed)
    done = restore_training(path, key, denoiser.network, adam, "denoiser's state", progress.say, counted="updates")
    batches = _Batches(corpus, denoiser, recipe, seed, device)
    total = torch.zeros((), device=device)
    with progress.task("Training the denoiser", recipe.updates, done=done) as task:
        for update in range(done, recipe.updates):
            adam.param_groups[0]["lr"] = recipe.lr / 2 * (1 + math.cos(math.pi * update / recipe.updates))
            loss = batches.loss(update)
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.detach()
            at = update + 1
            if at % ROUND and at < recipe.updates:
                task.advance(1)
                continue
            error = float(total)
            if not np.isfinite(error) or not _finite(denoiser):
                raise _diverged(at, recipe)
            if at < recipe.updates:
                keep_training(path, key, denoiser.network, adam, at, "updates")
            else:
                save(folder, denoiser, OWN_LICENCE, OWN_CORPUS)
                path.unlink(missing_ok=True)
            task.advance(1, figures=f"{100 * error / ((update % ROUND) + 1):.1f} % of the noise not seen")
            total.zero_()
    return denoiser


class _Batches:
    """The batches of a training, each by its number.

    Args:
        corpus: whose training images they are of.
        denoiser: that is trained.
        recipe: how.
        seed: of the recipe.
        device: where the images go.
    """

    def __init__(
        self, corpus: Corpus, denoiser: Denoiser, recipe: DenoiserRecipe, seed: int, device: torch.device
    ) -> None:
        self.images, self.denoiser, self.recipe = corpus.images, denoiser, recipe
        self.seed, self.device = seed, device
        train = corpus.rows("train")
        labels = corpus.labels[train]
        self.rows = train[np.argsort(labels, kind="stable")]
        self.classes, self.first, self.count = np.unique(np.sort(labels), return_index=True, return_counts=True)

    def loss(self, update: int) -> torch.Tensor:
        """The mean squared error of a pixel's noise in one batch."""
        rng, size = generator(self.seed, "denoiser", update), self.recipe.batch_size
        drawn = torch.randint(len(self.classes), (size,), generator=rng).numpy()
        at = self.first[drawn] + (torch.rand(size, generator=rng).double().numpy() * self.count[drawn]).astype(np.int64)
        untold = torch.rand(size, generator=rng) < self.recipe.without
        condition = torch.from_numpy(self.classes[drawn]).long().masked_fill(untold, self.denoiser.untold)
        level = torch.randint(len(self.denoiser.architecture.noise), (size,), generator=rng)
        grey = sent(torch.from_numpy(self.images[self.rows[at]]), self.device).float() / 255
        noise = sent(torch.randn(grey.shape, generator=rng), self.device)
        level, condition = sent(level, self.device), sent(condition, self.device)
        seen = self.denoiser.predicted(self.denoiser.noisy(grey, noise, level), level, condition)
        return torch.nn.functional.mse_loss(seen.float(), noise)


def _diverged(update: int, recipe: DenoiserRecipe) -> DivergedError:
    return DivergedError(
        f"the denoiser diverged before update {update} at method.denoiser.lr = {recipe.lr}",
        expected="finite losses and weights",
        do="lower method.denoiser.lr by a factor of 3",
    )


def _finite(denoiser: Denoiser) -> bool:
    return all(bool(parameter.isfinite().all()) for parameter in denoiser.network.parameters())


def _key(corpus: Corpus, architecture: Architecture, recipe: DenoiserRecipe, seed: int) -> str:
    """What a state belongs to; which images they are, the folder tells."""
    rows = corpus.rows("train")
    made_with = {
        "images": [len(corpus.images), hashlib.sha256(np.ascontiguousarray(rows, np.int64).tobytes()).hexdigest()],
        "architecture": architecture.as_json(),
        "recipe": recipe.model_dump(mode="json"),
        "seed": seed,
    }
    return json.dumps(made_with, sort_keys=True)
