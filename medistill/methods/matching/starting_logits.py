"""The logits that the soft labels of trajectory matching start from."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medistill.artifacts.trajectories import Trajectories
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import Recipe
from medistill.training.fresh_network import logits
from medistill.training.images import LabelledImages
from medistill.training.randomness import generator

NOISE_CONFIDENCE = 0.9
"""Probability of its own class that an image from noise starts with; nearer to 1, softmax passes hardly a gradient."""


def starting_logits(
    pixels: Tensor, labels: Tensor, trajectories: Trajectories, recipe: Recipe, spec: NetworkSpec
) -> Tensor:
    """Return the logits (N, classes) that soft labels start from: those of expert 0 at its end, right or wrong; of an
    image with tiles, the mean of theirs.

    Noise has no right answer: there each image starts with probability `NOISE_CONFIDENCE` for the class that it is made
    for and the rest shared evenly.
    """
    if recipe.method.starts_from == "noise":
        own = NOISE_CONFIDENCE * max(1, spec.classes - 1) / (1 - NOISE_CONFIDENCE)
        return math.log(own) * torch.nn.functional.one_hot(labels, spec.classes).float()
    network = build_network(spec, generator(recipe.seed, "student"), pixels.device)
    FlatParameters(network).load(torch.from_numpy(trajectories.snapshot(0, trajectories.epochs)))
    tiles = recipe.method.tile_factor
    images = LabelledImages.of_floats(pixels, labels, normalisation=trajectories.normalisation).cut(tiles)
    said = logits(network, images, spec, recipe, pixels.device)
    return said if tiles == 1 else said.view(len(pixels), tiles**2, -1).mean(dim=1)
