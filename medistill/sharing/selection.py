"""Selection: what a recipe that a stranger may have written says of which originals a set was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medistill.artifacts.provenance import Importance


def drawn_by(recipe: Mapping[str, Any] | None) -> Importance | None:
    """Return how the originals were drawn that images began as; None where at random, or where they began otherwise."""
    method = (recipe or {}).get("method")
    init = method.get("init") if isinstance(method, Mapping) else None
    return "leverage" if init == "leverage" else "distance" if init == "distance" else None


def pruned_share(recipe: Mapping[str, Any] | None) -> float | None:
    """Return which share of each class was left out for its loss before the set was made; None where nothing was."""
    return _share(recipe, "share")


def thinned_share(recipe: Mapping[str, Any] | None) -> float | None:
    """Return which share of the others was left out for its effect; None where nothing was."""
    return _share(recipe, "effect_share")


def _share(recipe: Mapping[str, Any] | None, name: str) -> float | None:
    prune = (recipe or {}).get("prune")
    share = prune.get(name) if isinstance(prune, Mapping) else None
    return share if type(share) is float and 0 < share < 1 else None
