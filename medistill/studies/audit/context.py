"""Context of an audit: the set, its corpus and what both are worked on with; made once, passed down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.networks.own import NetworkFactory
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe
from medistill.training.context import Context
from medistill.training.device import choose_device
from medistill.workflow.experts import network_spec


@dataclass(frozen=True)
class AuditContext(Context):
    """What an audit works with: beside what any work needs, where ``out`` is the folder of the answers of networks.

    Attributes:
        distilled: the set.
        network: the user's own, where the set was made with it (see `train_experts`).
        built_in: the corpus is the one that medistill draws, into which nobody wrote text.
    """

    distilled: DistilledSet
    network: NetworkFactory | None
    built_in: bool


def audit_context(
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
    """Return what an audit works with, on the device and by the network that are asked for.

    Args:
        distilled: the set.
        corpus: that it was made from.
        recipe: of the set; its section ``audit`` holds the thresholds.
        out: folder of the audit.
        network: the user's own, where the set was made with it.
        device: "auto", "cpu" or "cuda".
        built_in: the corpus is the one that medistill draws.
        progress: told how far the work is.
    """
    spec, chosen = network_spec(corpus, recipe, network), choose_device(device)
    return AuditContext(corpus, recipe, spec, chosen, out / "membership", progress, distilled, network, built_in)
