"""Context of an audit: the set, its corpus and what both are worked on with; made once, passed down."""

from __future__ import annotations

from dataclasses import dataclass

from medistill.artifacts.distilled_set import DistilledSet
from medistill.networks.own import NetworkFactory
from medistill.training.context import Context


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
