"""A context of work that runs on a processor and is told to nobody."""

from __future__ import annotations

from pathlib import Path

import torch

from medistill.artifacts.corpus import Corpus
from medistill.networks.registry import network_spec
from medistill.progress import Silent
from medistill.recipe import Recipe
from medistill.training.context import Context


def on_cpu(corpus: Corpus, recipe: Recipe, out: Path) -> Context:
    """Return the context of a corpus and a recipe, with the recipe's network."""
    return Context(corpus, recipe, network_spec(corpus, recipe), torch.device("cpu"), out, Silent())
