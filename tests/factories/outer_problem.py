"""A small outer problem: two random walks for experts, four images of 8 x 8 pixels in two classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.trajectories import Trajectories, open_trajectories
from medistill.engine.importance import Importance
from medistill.engine.outer import Fixed, Look
from medistill.engine.state import State
from medistill.engine.student import Student
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import Recipe, validate_recipe
from medistill.training.randomness import generator
from medistill.training.stages import image_stages

CPU = torch.device("cpu")
LABELS = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])


def recipe_of(method: str = "iadd", **distill: object) -> Recipe:
    """Six outer steps; keywords are settings of the section ``distill``, and ``importance`` that whole section."""
    importance = distill.pop("importance", {})
    settings = {
        "method": method,
        "data": {"image_size": 8},
        "network": {"depth": 1, "width": 4},
        "experts": {"count": 2, "epochs": 4},
        "distill": {
            "ipc": 2,
            "iterations": 6,
            "syn_steps": 3,
            "max_start_epoch": 2,
            "image_lr": 10.0,
            "student_lr": 0.05,
            "student_lr_lr": 1e-3,
            "validate_every": 2,
            "checkpoint_every": 1,
            **distill,
        },
        "importance": importance,
    }
    return validate_recipe(settings, "test")


def random_walks(folder: Path) -> Trajectories:
    """Two random walks of four epochs, which pass for experts."""
    network = build_network(NetworkSpec(recipe_of().network, 1, 8, 2), generator(0, "walk"))
    flat = FlatParameters(network)
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


def start(recipe: Recipe, trajectories: Trajectories) -> State:
    """Random images; soft labels, where the recipe has them, from logits that lean to the right class."""
    pixels = torch.randn(4, 1, 8, 8, generator=generator(recipe.seed, "pixels"))
    importance = Importance.start(recipe.importance, trajectories, CPU)
    soft = recipe.distill.labels == "soft"
    logits = 2 * LABELS + torch.randn(4, 2, generator=generator(recipe.seed, "logits")) if soft else None
    return State.start(pixels, recipe.distill.student_lr, importance, logits)


def fixed(recipe: Recipe, trajectories: Trajectories, path: Path | None = None, validate=None) -> Fixed:
    """The rest of the problem. A look scores by the images' mean and spread where ``validate`` is not given."""
    network = build_network(NetworkSpec(recipe.network, 1, 8, 2), generator(0))

    def save(state: State) -> None:
        if path is not None:
            state.save(path, recipe, trajectories.key)

    return Fixed(
        recipe=recipe,
        student=Student(network),
        trajectories=trajectories,
        labels=LABELS,
        stage=image_stages([2, 2], recipe.distill.stages),
        micro_batch=3,
        validate=validate or (lambda images, alpha: Look(float(images.pixels.mean()), float(images.pixels.std()))),
        save=save,
    )


def bits(state: State) -> list[object]:
    """All that a state holds, to the bit."""
    tensors = (state.pixels, state.velocity, state.average, state.best_pixels, state.importance.weights)
    soft = (state.logits, state.logits_velocity, state.best_logits)
    return [
        *(t.numpy().tobytes() for t in (*tensors, *soft) if t is not None),
        state.alpha.hex(),
        state.best_alpha.hex(),
        state.best_step,
        state.history,
    ]
