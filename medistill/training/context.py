"""Context: what nearly every step of the work needs beside its own arguments, made once and passed down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from medistill.artifacts.corpus import Corpus
from medistill.networks.registry import NetworkSpec
from medistill.progress import Progress
from medistill.ranks.ranks import ALONE, Ranks
from medistill.recipe import Recipe


@dataclass(frozen=True)
class Context:
    """What is worked on, how, where, and who is told of it. A record: it has no methods and decides nothing.

    Attributes:
        corpus: the images.
        recipe: every setting.
        spec: the network that is trained.
        device: where the arithmetic runs.
        out: folder of what is written.
        progress: told how far the work is.
        before_draw: called right before noise is drawn for the one release of a run; it raises where that must not be.
        ranks: the processes that share the work; a process alone shares it with none.
    """

    corpus: Corpus
    recipe: Recipe
    spec: NetworkSpec
    device: torch.device
    out: Path
    progress: Progress
    before_draw: Callable[[], None] = field(default=lambda: None, kw_only=True)
    ranks: Ranks = field(default=ALONE, kw_only=True)
