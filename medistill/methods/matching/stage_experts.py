"""The experts of a later stage of PDD: networks that learned the images so far go on with the originals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.making import array_digest
from medistill.artifacts.trajectories import Trajectories, open_trajectories
from medistill.engine.images import Images
from medistill.errors import DivergedError
from medistill.evaluate.protocol import small_schedule
from medistill.networks.flat import FlatParameters
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import build_network
from medistill.recipe import whole_matching
from medistill.training.context import Context
from medistill.training.expert_schedule import expert_schedule
from medistill.training.fresh_network import augmentation_of
from medistill.training.images import LabelledImages
from medistill.training.loop import train
from medistill.training.randomness import generator


@dataclass(frozen=True)
class StageExperts:
    """Makes the experts of a stage, and keeps them in ``out/state``.

    Attributes:
        context: of the run.
        base: the experts of the run, whose normalisation and networks these have.
    """

    context: Context
    base: Trajectories

    def __call__(self, stage: int, previous: Trajectories, images: Images, rate: float) -> Trajectories:
        """Return the experts of a stage; those that are there are not made again.

        Each begins where one of the stage before began, is trained on the images so far as networks of an evaluation
        are, and goes on with the originals as experts are, as many epochs as segments reach.

        Args:
            stage: from 1.
            previous: the experts of the stage before.
            images: of all stages before, normalised.
            rate: alpha, by which networks are trained on them.

        Ranks share them.

        Raises:
            DivergedError: a network left the finite numbers.
        """
        ranks = self.context.ranks
        store = ranks.first(lambda: self._store(stage, previous, images, rate))
        waiting = ranks.told(store.missing)
        if waiting:
            self.context.progress.say(f"Stage {stage + 1}: {len(waiting)} experts are trained from the images so far.")
        originals = self._originals() if waiting else None
        for number in ranks.queue(len(waiting)):
            assert originals is not None  # noqa: S101  (where any is waiting)
            expert = waiting[number]
            store.save_expert(expert, self._walk(stage, expert, previous, images, rate, originals))
        return store

    def _walk(
        self,
        stage: int,
        expert: int,
        previous: Trajectories,
        images: Images,
        rate: float,
        originals: LabelledImages,
    ) -> np.ndarray:
        """Return the snapshots (epochs + 1, P) of one expert."""
        context, recipe = self.context, self.context.recipe
        settings, drawn = whole_matching(recipe.method), augmentation_of(context.spec, recipe)
        rng = generator(recipe.seed, "stage expert", stage, expert)
        network = build_network(context.spec, rng, context.device)
        FlatParameters(network).load(torch.from_numpy(previous.snapshot(expert, 0)))
        schedule = replace(expert_schedule(settings.followed), epochs=self._epochs)
        size = micro_batch_size(
            network, context.spec.shape, chosen=recipe.compute.micro_batch, whole=schedule.batch_size
        )
        so_far = LabelledImages.of_floats(images.pixels, images.labels.argmax(dim=1), soft_labels=images.labels)
        learning = small_schedule(recipe.evaluate, lr=rate, epochs=settings.former_epochs)
        snapshots = [train(network, so_far, learning, drawn, rng, micro_batch=size).values.cpu().numpy().copy()]
        train(
            network,
            originals,
            schedule,
            drawn,
            rng,
            micro_batch=size,
            after_epoch=lambda _, flat: snapshots.append(flat.values.cpu().numpy().copy()),
        )
        walk = np.stack(snapshots)
        if not np.isfinite(walk).all():
            raise DivergedError(
                f"expert {expert + 1} of stage {stage + 1} diverged; the images so far had the rate {rate:.3g}",
                expected="finite parameters",
                do="lower method.student_lr or method.experts.lr by a factor of 3",
            )
        return walk

    @property
    def _epochs(self) -> int:
        """How far segments reach."""
        settings = whole_matching(self.context.recipe.method)
        return settings.max_start_epoch - 1 + settings.expert_epochs

    def _originals(self) -> LabelledImages:
        context = self.context
        return LabelledImages.of_split(context.corpus, "train", self.base.normalisation, context.device)

    def _store(self, stage: int, previous: Trajectories, images: Images, rate: float) -> Trajectories:
        made_with = self._made_with(stage, previous, images, rate)
        whitening = self.base.normalisation.whitening
        normalisation = replace(self.base.normalisation, whitening=None)
        return open_trajectories(
            private_folder(private_folder(self.context.out / "state") / "experts"),
            {
                "key": hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest(),
                "count": self.base.count,
                "epochs": self._epochs,
                "names": list(self.base.names),
                "shapes": [list(shape) for shape in self.base.shapes],
                "normalisation": normalisation.as_json(),
                "store": self.base.store,
                "made_with": made_with,
            },
            whitening=None if whitening is None else lambda: whitening,
        )

    def _made_with(self, stage: int, previous: Trajectories, images: Images, rate: float) -> Mapping[str, Any]:
        """Return everything that decides the snapshots but for rounding."""
        recipe = self.context.recipe
        settings = whole_matching(recipe.method)
        arrays = {"pixels": images.pixels.cpu().numpy(), "labels": images.labels.cpu().numpy()}
        learned = ("batch_size", "momentum", "weight_decay")
        return {
            "stage": stage,
            "previous": previous.key,
            "images": array_digest(arrays),
            "rate": rate.hex(),
            "seed": recipe.seed,
            "former_epochs": settings.former_epochs,
            "epochs": self._epochs,
            "evaluate": recipe.evaluate.model_dump(mode="json", include=set(learned)),
        }
