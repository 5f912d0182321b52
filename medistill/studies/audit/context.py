"""Context: the set, its corpus and what both are worked on with; made once, passed down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import NetworkSpec
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe
from medistill.training.device import choose_device
from medistill.workflow.experts import network_spec


@dataclass(frozen=True)
class AuditContext:
    """What an audit works with.

    Attributes:
        distilled: the set.
        corpus: that it was made from.
        recipe: of the set; its section ``audit`` holds the thresholds.
        kept_in: where the answers of attacked networks are kept.
        network: the user's own, where the set was made with it (see `train_experts`).
        spec: the network in either case.
        device: where torch works.
        built_in: the corpus is the one that medistill draws, into which nobody wrote text.
        progress: is told how far it is.
    """

    distilled: DistilledSet
    corpus: Corpus
    recipe: Recipe
    kept_in: Path
    network: NetworkFactory | None
    spec: NetworkSpec
    device: torch.device
    built_in: bool = False
    progress: Progress = Silent()

    @classmethod
    def of(
        cls,
        distilled: DistilledSet,
        corpus: Corpus,
        recipe: Recipe,
        *,
        out: Path,
        network: NetworkFactory | None = None,
        device: str = "auto",
        built_in: bool = False,
        progress: Progress = Silent(),
    ) -> AuditContext:
        """With the device and the network that a recipe asks for; ``out`` is the folder of the audit."""
        spec = network_spec(corpus, recipe, network)
        kept_in, chosen = out / "membership", choose_device(device)
        return cls(distilled, corpus, recipe, kept_in, network, spec, chosen, built_in, progress)

    def folder(self) -> Path:
        """Where the answers of attacked networks are kept, made private if it is not there."""
        return private_folder(self.kept_in)
