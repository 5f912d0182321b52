"""Which recipe a command takes, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

ENCODED_SIZE = 128
"""Side in pixels of images for an encoder, where nobody says another: it sees little in the sizes that a network from
scratch is content with."""
WITH_ENCODER, PRIVATE_WITH_ENCODER = "encoded-ddoq", "private-means"
"""Methods that an encoder takes where none is named, without and with differential privacy."""

if TYPE_CHECKING:
    from medistill.progress import Progress
    from medistill.recipe import Recipe


def choose_recipe(
    name: str | None,
    overrides: Sequence[str],
    *,
    data: Path | None,
    device: str,
    progress: Progress,
    stored: Path | None = None,
    encoder: str | None = None,
) -> Recipe:
    """Load the recipe that was asked for, or the one that fits, and tell the user of a choice that was made for them.

    Args:
        name: shipped name or TOML file; None chooses.
        overrides: ``section.key=value``, in order.
        data: folder of images, or None for the built-in corpus.
        device: what --device says.
        progress: where the choice is told.
        stored: the recipe of a run that is to be resumed.
        encoder: SHA-256 of the one that was named: where nobody says how large images are, they are not small then.

    Raises:
        RecipeError: no such recipe, an unknown setting or a value out of range.
    """
    from medistill.recipe import load_recipe

    if name is None and stored is not None and stored.is_file():
        return load_recipe(stored, overrides)
    why = ""
    if name is None:
        name, why = _fitting(data, device)
    larger = [] if encoder is None else _larger(name, overrides)
    recipe = load_recipe(name, [*overrides, *larger])
    if why:
        progress.say(f"Recipe {name}, {why}. Choose another one with --recipe.")
    if larger:
        progress.say(
            f"Images of {ENCODED_SIZE} pixels, since an encoder was named. Choose another size with --set "
            "data.image_size=N."
        )
    return recipe


def _larger(name: str, overrides: Sequence[str]) -> list[str]:
    """The override by which images are of `ENCODED_SIZE`, where they would be smaller and nobody asked for that."""
    from medistill.recipe import load_recipe

    if is_chosen("data.image_size", name, overrides) or load_recipe(name).data.image_size >= ENCODED_SIZE:
        return []
    return [f"data.image_size={ENCODED_SIZE}"]


def is_chosen(setting: str, recipe: str | None, overrides: Sequence[str]) -> bool:
    """Whether the user chose a setting himself: by --set, or in a recipe of his own.

    Args:
        setting: ``section.key``.
        recipe: what --recipe says.
        overrides: ``section.key=value``.
    """
    if any(override.partition("=")[0].strip() == setting for override in overrides):
        return True
    from medistill.recipe import recipe_names
    from medistill.recipe.load import parse_toml, read_text

    if recipe is None or recipe in recipe_names():
        return False
    section, _, key = setting.partition(".")
    settings = parse_toml(*read_text(recipe)).get(section)
    return isinstance(settings, dict) and key in settings


def method_for(
    method: str | None,
    encoder: str | None,
    recipe: str | None,
    settings: Sequence[str] | None,
    *,
    stored: Path | None,
    private: bool,
) -> str | None:
    """The method that a command takes: the one that was named, or with an encoder the one that is made for it.

    Args:
        method: what --method says.
        encoder: SHA-256 of the one that was named; without, the recipe's method stays.
        recipe: what --recipe says.
        settings: what --set says.
        stored: the recipe of a run that is to be resumed, which keeps its method.
        private: whether --dp-epsilon was given.
    """
    resumed = recipe is None and stored is not None and stored.is_file()
    if method is not None or encoder is None or resumed or is_chosen("method.name", recipe, settings or ()):
        return method
    from medistill.method_names import method_names

    wanted = PRIVATE_WITH_ENCODER if private else WITH_ENCODER
    return wanted if wanted in method_names() else None


def _fitting(data: Path | None, device: str) -> tuple[str, str]:
    if data is None:
        return "demo", "which is made for the built-in corpus, since neither --data nor --recipe was given"
    from medistill.training.device import choose_device

    if choose_device(device).type == "cuda":
        return "covid-xray", "since there is a GPU"
    return "covid-xray-cpu", "since networks are trained on the processor here, without a GPU"


def words_of(
    data: Path | None,
    labels: Path | None,
    recipe: str | None,
    settings: Sequence[str] | None,
    **others: str | float | None,
) -> list[str]:
    """The options of a command as they are typed, for the next command that should take the same."""
    named = {"data": data, "labels": labels, "recipe": recipe, **others}
    words = [
        word
        for name, value in named.items()
        if value is not None
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    return words + [word for setting in settings or () for word in ("--set", setting)]


def overrides_of(
    settings: Sequence[str] | None,
    *,
    method: str | None = None,
    ipc: int | None = None,
    seed: int | None = None,
    sites: str | None = None,
    classes: str | None = None,
    across: str | None = None,
    burnt_in_text: str | None = None,
    dp_epsilon: float | None = None,
    dp_delta: float | None = None,
    decoder: str | None = None,
    denoiser: str | None = None,
    encoder: str | None = None,
) -> list[str]:
    """Write the options that stand for a setting as ``section.key=value``: the method, --set, then the others.

    ``decoder``, ``denoiser`` and ``encoder`` are the SHA-256 of what was brought.
    """
    overrides = [*([] if method is None else [f"method.name={method}"]), *(settings or ())]
    if ipc is not None:
        overrides.append(f"method.ipc={ipc}")
    if burnt_in_text is not None:
        overrides.append(f"data.burnt_in_text={burnt_in_text}")
    if seed is not None:
        overrides.append(f"seed={seed}")
    for key, names in (("data.sites", sites), ("data.classes", classes), ("evaluate.across", across)):
        if names is not None:
            listed = [name.strip() for name in names.split(",") if name.strip()]
            overrides.append(f"{key}={json.dumps(listed, ensure_ascii=False)}")
    if dp_epsilon is not None or dp_delta is not None:
        overrides.append("privacy.mode=dp")
    for key, value in (("privacy.epsilon", dp_epsilon), ("privacy.delta", dp_delta)):
        if value is not None:
            overrides.append(f"{key}={value!r}")
    if decoder is not None:
        overrides += ["method.quantise.encoder=brought", f'method.quantise.decoder="{decoder}"']
    if denoiser is not None:
        overrides += ["method.denoiser.source=brought", f'method.denoiser.sha256="{denoiser}"']
    if encoder is not None:
        overrides += ["network.name=probe", f'network.encoder="{encoder}"']
    return overrides
