"""Train experts on the raw training split and keep their trajectories."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.trajectories import Trajectories, open_trajectories
from medistill.errors import ArtifactError, DivergedError, UsageError
from medistill.methods.registry import method_of
from medistill.networks.flat import FlatParameters
from medistill.networks.footprint import micro_batch_size
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import NetworkSpec, build_network
from medistill.privacy.accounting import Guarantee, steps_an_epoch
from medistill.progress import Progress, Silent, Task
from medistill.recipe import Recipe, experts_of
from medistill.training.allocator import keep_freed_memory
from medistill.training.batched import train_batched
from medistill.training.device import choose_device, precision
from medistill.training.dp import PrivateSchedule, train_privately
from medistill.training.fitted_normalisation import fitted_whitening, unwhitened
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, train
from medistill.training.randomness import generator
from medistill.workflow.shard import Shard
from medistill.workflow.spending import Use, mark_trained, spend

TOGETHER = 8
"""Experts that a GPU trains side by side, where they fit."""
SNAPSHOT_BYTES = 2 * 2**30
"""Memory of the machine that the snapshots of experts in training may fill, while there is more than one."""


def network_spec(corpus: Corpus, recipe: Recipe, network: NetworkFactory | None = None) -> NetworkSpec:
    """The network that a recipe means for a corpus, or the user's own."""
    channels, image_size = corpus.images.shape[1:3]
    return NetworkSpec(recipe.network, channels, image_size, len(corpus.class_names), network)


def train_experts(
    corpus: Corpus,
    recipe: Recipe,
    *,
    network: NetworkFactory | None = None,
    shard: str = "1/1",
    use: Use = "release",
    device: str = "auto",
    progress: Progress = Silent(),
) -> Trajectories:
    """Train the experts that are not there yet.

    Snapshot 0 is the start, snapshot e the parameters after e epochs of SGD. Each expert is written whole or not at
    all, and draws its random numbers from the seed and its own number: one that was interrupted is trained again to the
    same bits on the same machine. Several processes, on one machine or many, may fill one store; none waits.

    Under differential privacy experts are trained by DP-SGD. Its random numbers are secret: an expert that is trained
    again is another one.

    Args:
        network: makes a network of the user's own, called with channels, image size and classes; None takes the
            recipe's.
        shard: ``i/n`` trains only the experts whose number leaves i - 1 over when divided by n.
        use: "shadow" for those of an audit, which are removed again: under differential privacy they are no release.

    Raises:
        DivergedError: an expert's parameters left the finite numbers.
        UsageError: the shard does not exist, or the user's own network cannot be used; or, under differential privacy,
            the budget or the total cannot be kept, patients are not known, or the extra ``dp`` is not installed.
        ArtifactError: under differential privacy, the ledger of what was spent is damaged or cannot be written.
    """
    part = Shard.parse(shard)
    place = choose_device(device)
    _refuse_unknown_units(corpus, recipe)
    spec = network_spec(corpus, recipe, network)
    trajectories = _store(corpus, recipe, spec, progress)
    mine = [expert for expert in range(trajectories.count) if part.has(expert)]
    waiting = [expert for expert in mine if not trajectories.has(expert)]
    spend(corpus, recipe, trajectories, waiting, progress, use=use)
    if not waiting and part.of == 1:
        progress.say(f"The {trajectories.count} experts are in the cache already.")
        return trajectories
    for expert in waiting:
        path = trajectories.expert_path(expert)
        if path.is_file():
            progress.say(f"{path.name} cannot be used and is trained again: {trajectories.flaw(expert)}.")
    if waiting:
        work = _Work.of(corpus, recipe, spec, trajectories, place)
        epochs = trajectories.epochs
        with (
            progress.task("Training experts", len(mine) * epochs, done=(len(mine) - len(waiting)) * epochs) as task,
            precision(recipe.compute.precision, place),
        ):
            _train_all(waiting, work, task, progress)
    if part.of > 1:
        progress.say(tally(trajectories))
    return trajectories


def followed_experts(
    corpus: Corpus,
    recipe: Recipe,
    *,
    network: NetworkFactory | None = None,
    use: Use = "release",
    device: str = "auto",
    progress: Progress = Silent(),
) -> Trajectories | None:
    """The experts that a recipe's method follows, as `train_experts` gives them; None where it follows none."""
    if method_of(recipe).needs != "experts":
        return None
    return train_experts(corpus, recipe, network=network, use=use, device=device, progress=progress)


def tally(trajectories: Trajectories) -> str:
    """How many of all experts are in the store, and the numbers of those that are not."""
    missing = trajectories.missing()
    text = f"{trajectories.count - len(missing)} of {trajectories.count} experts are in the store"
    if not missing:
        return f"{text}."
    runs: list[list[int]] = []
    for expert in missing:
        if runs and expert == runs[-1][-1] + 1:
            runs[-1].append(expert)
        else:
            runs.append([expert])
    numbers = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"{text}; missing, counted from 0: {numbers}."


def refuse_other_experts(
    trajectories: Trajectories, corpus: Corpus, recipe: Recipe, network: NetworkFactory | None = None
) -> None:
    """Check that experts were made of this corpus, with this network, normalisation and these settings, and are whole.

    Only the seed may differ: experts of another seed are as good.

    Raises:
        ArtifactError: they were not, with each field that differs; or some are missing.
    """
    expected = _made_with(corpus, recipe, network_spec(corpus, recipe, network), unwhitened(corpus, recipe))
    differences = trajectories.differences({**expected, "seed": trajectories.made_with.get("seed")})
    count = experts_of(recipe.method).count
    if trajectories.count != count:
        differences.append(f"method.experts.count: seen {trajectories.count}, expected {count}")
    if differences:
        raise ArtifactError(
            f"the trajectories in {trajectories.path} were made otherwise ({'; '.join(differences)})",
            expected="experts of this corpus, network and recipe",
            do="call train_experts with this corpus, recipe and network (`medistill experts`), and take its result",
        )
    if trajectories.missing():
        raise ArtifactError(
            f"experts are missing in {trajectories.path}: {tally(trajectories)}",
            expected="every expert that the recipe asks for",
            do="run `medistill experts` without --shard, or the shards that have not finished",
        )


def _made_with(corpus: Corpus, recipe: Recipe, spec: NetworkSpec, normalisation: Normalisation) -> dict[str, Any]:
    """Everything that decides the snapshots but for rounding, and, under differential privacy, for secret numbers."""
    guarantee = Guarantee.of(recipe)
    private = ("unit", "mechanism", "sigma", "clip", "sample_rate", "steps", "experts")
    return {
        "seed": recipe.seed,
        "corpus": corpus.content,
        "network": spec.identity(),
        "augmentation": recipe.augmentation.model_dump(mode="json"),
        "experts": experts_of(recipe.method).model_dump(mode="json", exclude={"count"}),
        "precision": recipe.compute.precision,
        "normalisation": normalisation.as_json(),
        "zca": recipe.data.zca_regularisation if recipe.data.zca else None,
        **({} if guarantee is None else {"privacy": {name: guarantee.as_json()[name] for name in private}}),
    }


def _refuse_unknown_units(corpus: Corpus, recipe: Recipe) -> None:
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


def _store(corpus: Corpus, recipe: Recipe, spec: NetworkSpec, progress: Progress) -> Trajectories:
    """The store that these experts belong to, made where it is not there."""
    settings, normalisation = experts_of(recipe.method), unwhitened(corpus, recipe)
    made_with = _made_with(corpus, recipe, spec, normalisation)
    flat = FlatParameters(build_network(spec, generator(recipe.seed, "expert", 0)))

    return open_trajectories(
        private_folder(cache_root() / "trajectories"),
        {
            "key": hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest(),
            "count": settings.count,
            "epochs": settings.epochs,
            "names": list(flat.names),
            "shapes": [list(shape) for shape in flat.shapes],
            "normalisation": normalisation.as_json(),
            "store": settings.store,
            "made_with": made_with,
        },
        whitening=(lambda: fitted_whitening(corpus, recipe, progress)) if recipe.data.zca else None,
    )


@dataclass(frozen=True)
class _Work:
    """What training a group of experts needs.

    Attributes:
        at_once: experts trained side by side.
        units: int64 (N,) the unit of each training image, and ``guarantee`` what it has, where there is one.
    """

    recipe: Recipe
    spec: NetworkSpec
    trajectories: Trajectories
    data: LabelledImages
    place: torch.device
    micro_batch: int
    at_once: int
    units: Tensor
    guarantee: Guarantee | None

    @classmethod
    def of(
        cls, corpus: Corpus, recipe: Recipe, spec: NetworkSpec, trajectories: Trajectories, place: torch.device
    ) -> _Work:
        """Move the training images to the device and measure the network."""
        keep_freed_memory()
        network = build_network(spec, generator(recipe.seed, "expert", 0), place)
        one = (trajectories.epochs + 1) * trajectories.parameters * 4
        guarantee = Guarantee.of(recipe)
        batched = place.type == "cuda" and spec.factory is None and guarantee is None
        return cls(
            recipe=recipe,
            spec=spec,
            trajectories=trajectories,
            data=LabelledImages.of_split(corpus, "train", trajectories.normalisation, place),
            place=place,
            micro_batch=micro_batch_size(
                network,
                spec.channels,
                spec.image_size,
                chosen=recipe.compute.micro_batch,
                whole=experts_of(recipe.method).batch_size,
            ),
            at_once=max(1, min(TOGETHER, SNAPSHOT_BYTES // one)) if batched else 1,
            units=torch.from_numpy(_units(corpus, recipe)).to(place),
            guarantee=guarantee,
        )

    def train(self, group: list[int], task: Task) -> None:
        """Train these experts, side by side where there are several, and write them."""
        settings = experts_of(self.recipe.method)
        schedule = Schedule(
            settings.epochs,
            settings.batch_size,
            settings.lr,
            settings.momentum,
            settings.weight_decay,
            sharpness=settings.sharpness,
            surrogate_gap=settings.surrogate_gap,
        )
        numbers = [generator(self.recipe.seed, "expert", expert) for expert in group]
        networks = [build_network(self.spec, one, self.place) for one in numbers]
        snapshots = np.empty((len(group), settings.epochs + 1, self.trajectories.parameters), np.float32)
        for k, network in enumerate(networks):
            snapshots[k, 0] = FlatParameters(network).values.cpu().numpy()

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
                for expert, walk in zip(group, snapshots, strict=True):
                    if not self.trajectories.has(expert):  # another process may have read its own already
                        self.trajectories.save_expert(expert, walk, self.made_on(len(group)))
                    if self.guarantee is not None:
                        mark_trained(self.trajectories, expert)
            which = f"expert {group[0] + 1}" if len(group) == 1 else f"experts {', '.join(str(e + 1) for e in group)}"
            task.advance(len(group), figures=f"{which} of {self.trajectories.count}")

        augmentation, micro_batch = self.recipe.augmentation, self.micro_batch
        if self.guarantee is not None:
            train_privately(
                networks[0],
                self.data,
                self.units,
                _private_schedule(self.recipe, self.guarantee),
                augmentation,
                micro_batch=micro_batch,
                after_epoch=lambda epoch, flat: keep(epoch, flat.values[None]),
            )
        elif len(group) == 1:
            train(
                networks[0],
                self.data,
                schedule,
                augmentation,
                numbers[0],
                micro_batch=micro_batch,
                after_epoch=lambda epoch, flat: keep(epoch, flat.values[None]),
            )
        else:
            train_batched(
                networks, self.data, schedule, augmentation, numbers, micro_batch=micro_batch, after_epoch=keep
            )

    def made_on(self, together: int) -> dict[str, Any]:
        """What may differ from machine to machine, and changes an expert by rounding alone."""
        return {
            "device": self.place.type,
            "threads": torch.get_num_threads(),
            "micro_batch": self.micro_batch,
            "together": together,
        }


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


def _train_all(waiting: list[int], work: _Work, task: Task, progress: Progress) -> None:
    """Train experts in groups, leaving out what another process has written meanwhile."""
    at_once = work.at_once
    while waiting:
        group = [expert for expert in waiting[:at_once] if not work.trajectories.has(expert)]
        try:
            if group:
                work.train(group, task)
        except torch.OutOfMemoryError:
            if len(group) == 1:
                raise
            at_once = len(group) // 2
            progress.say(f"{len(group)} experts at once do not fit into the GPU's memory; {at_once} are tried.")
            continue
        appeared = len(waiting[:at_once]) - len(group)
        if appeared:
            task.advance(appeared * work.trajectories.epochs, figures="trained by another process meanwhile")
        waiting = waiting[at_once:]
