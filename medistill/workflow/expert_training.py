"""Training of experts: alone, side by side on a GPU, or privately; each is written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medistill.allocator import keep_freed_memory
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.trajectories import Trajectories
from medistill.errors import DivergedError, UsageError
from medistill.networks.flat import FlatParameters
from medistill.networks.footprint import micro_batch_size
from medistill.networks.registry import build_network
from medistill.privacy.accounting import Guarantee, steps_an_epoch
from medistill.progress import Task
from medistill.recipe import Recipe, experts_of
from medistill.recipe.experts import SelectedExpertsRecipe
from medistill.training.batched import train_batched
from medistill.training.context import Context
from medistill.training.difficulty import Curriculum, by_difficulty, el2n
from medistill.training.dp import PrivateSchedule, train_privately
from medistill.training.encoded import seen_by
from medistill.training.expert_schedule import expert_schedule
from medistill.training.fresh_network import augmentation_of
from medistill.training.images import LabelledImages
from medistill.training.loop import predict_logits, train
from medistill.training.randomness import generator
from medistill.workflow.spending import Use, mark_training

TOGETHER = 8
"""Experts that a GPU trains side by side, where they fit."""
SNAPSHOT_BYTES = 2 * 2**30
"""Memory of the machine that the snapshots of experts in training may fill, while there is more than one."""


@dataclass(frozen=True)
class ExpertTraining:
    """What training a group of experts needs.

    Attributes:
        context: of the run.
        trajectories: the store that they are written to.
        data: the training images.
        micro_batch: images that pass a network at once.
        at_once: experts trained side by side.
        units: int64 (N,) the unit of each training image, on the host.
        guarantee: what each unit has; None where nothing is promised.
        curriculum: which images an epoch trains on; None takes all.
        use: what they are for; a training for a release is marked in the ledger.
    """

    context: Context
    trajectories: Trajectories
    data: LabelledImages
    micro_batch: int
    at_once: int
    units: Tensor
    guarantee: Guarantee | None
    curriculum: Curriculum | None
    use: Use

    @classmethod
    def of(cls, context: Context, trajectories: Trajectories, use: Use) -> ExpertTraining:
        """Move the training images, or their features, to the device, and choose how many pass a network at once."""
        keep_freed_memory()
        corpus, recipe, spec, device = context.corpus, context.recipe, context.spec, context.device
        network = build_network(spec, generator(recipe.seed, "expert", 0), device)
        one = (trajectories.epochs + 1) * trajectories.parameters * 4
        guarantee = Guarantee.of(recipe)
        images = LabelledImages.of_split(corpus, "train", trajectories.normalisation, device)
        data = seen_by(spec.encoder, images, device, context.progress)
        whole = experts_of(recipe.method).batch_size
        micro_batch = micro_batch_size(network, spec.shape, chosen=recipe.compute.micro_batch, whole=whole)
        curriculum = _curriculum(context, data, micro_batch)
        batched = device.type == "cuda" and spec.factory is None and guarantee is None and curriculum is None
        return cls(
            context=context,
            trajectories=trajectories,
            data=data,
            micro_batch=micro_batch,
            at_once=max(1, min(TOGETHER, SNAPSHOT_BYTES // one)) if batched else 1,
            units=torch.from_numpy(_units(corpus, recipe)),
            guarantee=guarantee,
            curriculum=curriculum,
            use=use,
        )

    def run(self, waiting: list[int], task: Task) -> None:
        """Train experts in groups, which all ranks share, leaving out what another process has written meanwhile."""
        ranks = self.context.ranks
        if ranks.size == 1:
            self._run(waiting, self.at_once, task)
            return
        each = min(self.at_once, -(-len(waiting) // ranks.size))
        groups = [waiting[start : start + each] for start in range(0, len(waiting), each)]

        def elsewhere(finished: int) -> None:
            task.advance(finished * each * self.trajectories.epochs, figures="trained by other ranks")

        for number in ranks.queue(len(groups), elsewhere=elsewhere):
            self._run(groups[number], each, task)

    def _run(self, waiting: list[int], at_once: int, task: Task) -> None:
        while waiting:
            group = [expert for expert in waiting[:at_once] if not self.trajectories.has(expert)]
            try:
                if group:
                    self.train(group, task)
            except torch.OutOfMemoryError:
                if len(group) == 1:
                    raise
                at_once = len(group) // 2
                self.context.progress.say(
                    f"{len(group)} experts at once do not fit into the GPU's memory; {at_once} are tried."
                )
                continue
            appeared = len(waiting[:at_once]) - len(group)
            if appeared:
                task.advance(appeared * self.trajectories.epochs, figures="trained by another process meanwhile")
            waiting = waiting[at_once:]

    def train(self, group: list[int], task: Task) -> None:
        """Train these experts, side by side where there are several, and write them."""
        recipe, device = self.context.recipe, self.context.device
        rngs = [generator(recipe.seed, "expert", expert) for expert in group]
        networks = [build_network(self.context.spec, rng, device) for rng in rngs]
        keep = self._keeper(group, networks, task)
        drawn, size = augmentation_of(self.context.spec, recipe), self.micro_batch

        def keep_one(epoch: int, flat: FlatParameters) -> None:
            keep(epoch, flat.values[None])

        if self.guarantee is not None:
            private = _private_schedule(recipe, self.guarantee)
            if self.use == "release":
                mark_training(self.trajectories.path)
            train_privately(networks[0], self.data, self.units, private, drawn, micro_batch=size, after_epoch=keep_one)
        elif len(group) == 1:
            schedule = replace(expert_schedule(experts_of(recipe.method)), curriculum=self.curriculum)
            train(networks[0], self.data, schedule, drawn, rngs[0], micro_batch=size, after_epoch=keep_one)
        else:
            schedule = expert_schedule(experts_of(recipe.method))
            train_batched(networks, self.data, schedule, drawn, rngs, micro_batch=size, after_epoch=keep)

    def _keeper(self, group: list[int], networks: list[torch.nn.Module], task: Task) -> Callable[[int, Tensor], None]:
        """Return what takes the parameters (group, P) after each epoch, and writes the walks after the last.

        Raises:
            DivergedError: when it is called with parameters that are not finite.
        """
        settings = experts_of(self.context.recipe.method)
        snapshots = np.empty((len(group), settings.epochs + 1, self.trajectories.parameters), np.float32)
        for k, network in enumerate(networks):
            snapshots[k, 0] = FlatParameters(network).values.cpu().numpy()
        which = f"expert {group[0] + 1}" if len(group) == 1 else f"experts {', '.join(str(e + 1) for e in group)}"

        def keep(epoch: int, values: Tensor) -> None:
            snapshots[:, epoch] = values.cpu().numpy()
            for expert, reached in zip(group, snapshots[:, epoch], strict=True):
                if not np.isfinite(reached).all():
                    raise DivergedError(
                        f"expert {expert} diverged in epoch {epoch} at method.experts.lr = {settings.lr}",
                        expected="finite parameters",
                        do="lower method.experts.lr by a factor of 3",
                    )
            if epoch == settings.epochs:
                self._write(group, snapshots)
            task.advance(len(group), figures=f"{which} of {self.trajectories.count}")

        return keep

    def _write(self, group: list[int], snapshots: np.ndarray) -> None:
        """Write the walks (group, epochs + 1, P) of these experts."""
        for expert, walk in zip(group, snapshots, strict=True):
            if not self.trajectories.has(expert):  # another process may have read its own already
                self.trajectories.save_expert(expert, walk, self._made_on(len(group)))

    def _made_on(self, side_by_side: int) -> dict[str, Any]:
        """What may differ from machine to machine, and changes an expert by rounding alone."""
        return {
            "device": self.context.device.type,
            "threads": torch.get_num_threads(),
            "micro_batch": self.micro_batch,
            "together": side_by_side,
        }


def _curriculum(context: Context, data: LabelledImages, micro_batch: int) -> Curriculum | None:
    """Order the training images by the errors of a few networks, trained for a few epochs by plain SGD.

    They depend on the seed alone: experts of every process see the same order but for rounding between machines.
    """
    recipe, spec = context.recipe, context.spec
    settings = experts_of(recipe.method)
    if not isinstance(settings, SelectedExpertsRecipe) or not settings.selection.selects:
        return None
    selection, answers = settings.selection, []
    schedule = replace(expert_schedule(settings), epochs=selection.epochs, sharpness=0.0)
    for number in range(selection.networks):
        rng = generator(recipe.seed, "difficulty", number)
        network = build_network(spec, rng, context.device)
        train(network, data, schedule, augmentation_of(spec, recipe), rng, micro_batch=micro_batch)
        answers.append(predict_logits(network, data, micro_batch=micro_batch))
    context.progress.say(f"The training images were ordered by the errors of {selection.networks} networks.")
    return Curriculum(selection, settings.epochs, by_difficulty(el2n(answers, data.labels), data.labels))


def _private_schedule(recipe: Recipe, guarantee: Guarantee) -> PrivateSchedule:
    settings = experts_of(recipe.method)
    return PrivateSchedule(
        epochs=settings.epochs,
        steps=steps_an_epoch(recipe),
        expected_batch=settings.batch_size,
        sample_rate=guarantee.sample_rate,
        lr=settings.lr,
        clip=guarantee.clip,
        noise_multiplier=guarantee.sigma,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def refuse_unknown_units(corpus: Corpus, recipe: Recipe) -> None:
    """Refuse a guarantee for patients, or studies, where one is not known of a training image."""
    unit = recipe.privacy.unit
    units = corpus.units("train", unit)
    unknown = int((units < 0).sum())
    if recipe.privacy.mode != "dp" or not unknown:
        return
    if unit == "study" and corpus.split_unit == "patient":
        raise UsageError(
            "differential privacy was asked for studies, but every image's patient is known, and studies were not told "
            "apart",
            expected="the stronger promise, for a patient with all studies",
            do="leave privacy.unit at patient",
        )
    study = not (corpus.units("train", "study") < 0).any()
    weaker = "study (the study of every training image is known)" if study else "image"
    table = "add a column of patients that is filled in every row (--labels), or " if unit == "patient" else ""
    raise UsageError(
        f"differential privacy was asked for one {unit}, but the {unit} of {unknown} of {len(units)} training images "
        "is not known: somebody with several images would be protected less than the guarantee says",
        expected=f"a {unit} for every training image, named by the files or a table",
        do=f"{table}state the weaker unit openly: --set privacy.unit={weaker}",
    )


def _units(corpus: Corpus, recipe: Recipe) -> np.ndarray:
    """Int64 (N,): the unit of each training image, numbered from 0."""
    return np.unique(corpus.units("train", recipe.privacy.unit), return_inverse=True)[1]
