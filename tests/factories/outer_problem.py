"""A small outer problem: two random walks for experts, four images of 8 x 8 pixels in two classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.trajectories import Trajectories, open_trajectories
from medistill.engine.checkpoint import load_checkpoint, save_checkpoint
from medistill.engine.objectives.trajectory import student_lr
from medistill.engine.problem import DistillationProblem, ValidationScore
from medistill.engine.sources.experts import ExpertSegments
from medistill.engine.state import State
from medistill.engine.student import Student
from medistill.methods.matching.problem import expert_segments, image_labels, trajectory_matching
from medistill.methods.optimising.origin import checkpoint_origin, refuse_another_run
from medistill.methods.optimising.problem import outer_settings, pixels
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import Recipe, validate_recipe
from medistill.training.randomness import generator
from medistill.training.stages import image_stages

CPU = torch.device("cpu")
LABELS = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])


def recipe_of(method: str = "iadd", **settings: object) -> Recipe:
    """Six outer steps; keywords are settings of the method."""
    small = {
        "data": {"image_size": 8},
        "network": {"depth": 1, "width": 4},
        "method": {
            "name": method,
            "experts": {"count": 2, "epochs": 4},
            "ipc": 2,
            "iterations": 6,
            "syn_steps": 3,
            "max_start_epoch": 2,
            "image_lr": 10.0,
            "student_lr": 0.05,
            "student_lr_lr": 1e-3,
            "validate_every": 2,
            "checkpoint_every": 1,
            **settings,
        },
    }
    return validate_recipe(small, "test")


def random_walks(folder: Path, network: nn.Module | None = None) -> Trajectories:
    """Two random walks of four epochs, which pass for experts; of the small recipe's network where none is given."""
    fresh = network or build_network(NetworkSpec(recipe_of().network, 1, 8, 2), generator(0, "walk"))
    flat = FlatParameters(fresh)
    store = open_trajectories(
        folder,
        {
            "key": "walks",
            "count": 2,
            "epochs": 4,
            "names": list(flat.names),
            "shapes": [list(s) for s in flat.shapes],
            "normalisation": Normalisation((0.5,), (0.25,)).as_json(),
        },
    )
    numbers = np.random.default_rng(0)
    for expert in range(2):
        steps = 0.05 * numbers.standard_normal((5, store.parameters), np.float32)
        store.save_expert(expert, flat.values.numpy() + steps.cumsum(axis=0))
    return store


def source(recipe: Recipe, trajectories: Trajectories) -> ExpertSegments:
    """Where the problem's segments come from."""
    return expert_segments(recipe, trajectories, recipe.augmentation, CPU)


def problem_of(recipe: Recipe, trajectories: Trajectories, path: Path | None = None, validate=None):
    """The problem: random images; soft labels, where the recipe has them, from logits that lean to the right class.

    The score is the images' mean and spread where ``validate`` is not given.
    """
    network = build_network(NetworkSpec(recipe.network, 1, 8, 2), generator(0))
    start = torch.randn(4, 1, 8, 8, generator=generator(recipe.seed, "pixels"))
    soft = recipe.method.whole.labels == "soft"
    logits = 2 * LABELS + torch.randn(4, 2, generator=generator(recipe.seed, "logits")) if soft else None

    def save(state: State) -> None:
        if path is not None:
            save_checkpoint(state, path, checkpoint_origin(recipe, trajectories.key))

    return DistillationProblem(
        settings=outer_settings(recipe.method.whole),
        objective=trajectory_matching(recipe, Student(network), trajectories, recipe.augmentation, CPU),
        parameterisation=pixels(recipe.method.image_lr, recipe.method.whole.momentum, start),
        labels=image_labels(recipe.method.whole, LABELS, logits),
        stage=image_stages([2, 2], recipe.method.whole.stages),
        precision="fp32",
        validate=validate
        or (lambda images, values, iteration: ValidationScore(float(images.pixels.mean()), float(images.pixels.std()))),
        save=save,
    )


def start(problem: DistillationProblem, micro_batch: int = 3) -> State:
    """The state before the first step."""
    state = State.start(problem.coordinates)
    state.micro_batch = micro_batch
    return state


def restored(path: Path, recipe: Recipe, trajectories: Trajectories, made_from: str | None = None) -> State:
    """The state of a checkpoint, by a run under a recipe with those experts, or with others."""
    state = State.start(problem_of(recipe, trajectories).coordinates)
    load_checkpoint(state, path, refuse_another_run(path, recipe, made_from or trajectories.key))
    return state


def bits(state: State) -> list[object]:
    """All that a state holds, to the bit."""
    return [
        *((name, tensor.numpy().tobytes()) for name, tensor in sorted(state.tensors().items())),
        student_lr(state.values).hex(),
        state.best_step,
        state.history,
    ]
