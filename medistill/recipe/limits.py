"""What a recipe may ask that came from outside, in a bundle, a set or a classifier: whoever uses it pays for it.

The limits lie far above every published setting. They keep a number in a stranger's file from taking a machine for
days, or more memory than it has; whoever means such a number types it, or allows what is large.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from medistill.errors import RecipeError

LargeRecipe = Literal["refuse", "allow"]
LIMITS: Mapping[str, Mapping[str, int]] = {
    "data": {"image_size": 1024},
    "network": {"depth": 8, "width": 1024},
    "experts": {"count": 1000, "epochs": 1000, "batch_size": 65_536},
    "distill": {
        "ipc": 10_000,
        "iterations": 100_000,
        "syn_steps": 1000,
        "expert_epochs": 100,
        "segments": 64,
        "stages": 100,
        "validate_networks": 100,
        "validate_epochs": 20_000,
    },
    "evaluate": {"networks": 100, "epochs": 20_000, "raw_epochs": 2000, "batch_size": 65_536, "bootstrap": 100_000},
    "schedule": {"updates": 20_000, "most_updates": 100_000, "networks": 20},
    "quantise": {"components": 4096, "batch_size": 65_536, "passes": 1000, "refine": 10_000, "teachers": 100},
    "autoencoder": {"epochs": 10_000, "batch_size": 65_536, "width": 256, "levels": 6, "latent_channels": 64},
    "audit": {
        "networks": 100,
        "shadows": 1000,
        "shadow_networks": 100,
        "shadow_experts": 100,
        "shadow_iterations": 10_000,
        "canaries": 10_000,
    },
    "compute": {"micro_batch": 65_536},
}
"""Section -> setting -> the largest value that a received recipe may give it."""


def large_settings(recipe: Mapping[str, Any]) -> dict[str, int]:
    """Settings of a recipe's plain values that are above their limits, ``section.key`` -> value."""
    found = {}
    for section, limits in LIMITS.items():
        stated = recipe.get(section)
        for key, limit in limits.items():
            value = stated.get(key) if isinstance(stated, Mapping) else None
            if isinstance(value, int | float) and value > limit:
                found[f"{section}.{key}"] = int(value)
    return found


def refuse_large(
    received: object, origin: str, large_recipe: LargeRecipe, used: Mapping[str, Any] | None = None
) -> None:
    """Refuse a received recipe that asks for more than it may.

    Args:
        received: its plain values, as they came; anything else asks for nothing.
        origin: where it comes from, for messages.
        large_recipe: "allow" lets it pass.
        used: plain values of the recipe that is used instead, in which the user may have set what was large.

    Raises:
        RecipeError: with the setting, its value, the limit and what allows it.
    """
    if large_recipe == "allow" or not isinstance(received, Mapping):
        return
    kept = large_settings(received if used is None else used)
    for setting, value in large_settings(received).items():
        if kept.get(setting) == value:
            section, _, key = setting.partition(".")
            raise RecipeError(
                f"{origin} asks for {setting} = {value}",
                expected=f"at most {LIMITS[section][key]} in a recipe that came from outside",
                do=f"set your own with --set {setting}=N, ask the sender what it is for, or take it as it is with "
                "--allow-large-recipe",
            )
