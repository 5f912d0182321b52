"""Text policy: what is done here about burnt-in text, where the recipe leaves it to the machine and the images."""

from __future__ import annotations

from typing import Literal

from medistill.data.burnt_in_text import can_carry_letters, reader_name, too_small_for_letters
from medistill.recipe import DataRecipe

Origin = Literal["files", "drawn"]
"""Whether images are somebody's files, or were drawn by medistill itself; what a file says of itself is no proof."""
INSTALL = "pip install 'medistill[ocr]'"


def resolve_text_policy(recipe: DataRecipe, origin: Origin = "files") -> DataRecipe:
    """The recipe with what ``auto`` comes to: ``mask`` where images can carry letters and the reader is installed.

    This is the one place where that is decided; `prepare` keys its cache by what comes of it.
    """
    if recipe.burnt_in_text != "auto":
        return recipe
    looked_for = _can_carry_letters(recipe) and origin == "files" and reader_name() is not None
    return recipe.model_copy(update={"burnt_in_text": "mask" if looked_for else "unchecked"})


def why_unchecked(recipe: DataRecipe, origin: Origin) -> str:
    """Why nothing looked, and what that means. The recipe as it was asked for."""
    if origin == "drawn":
        return "Text burnt into the pixels was not looked for: medistill drew the images, and no text but side markers."
    size = f"{recipe.image_size} x {recipe.image_size}"
    if not _can_carry_letters(recipe):
        return (
            f"Text burnt into the pixels was not looked for: {too_small_for_letters(size)}. "
            "data.burnt_in_text=mask looks all the same."
        )
    if recipe.burnt_in_text == "auto":
        return (
            "TEXT IS UNCHECKED: the text reader is not installed. Names burnt into the pixels can be legible in images "
            f"of {size} pixels, and a set made of these cannot pass its audit. Install it with {INSTALL} and repeat."
        )
    return (
        "TEXT IS UNCHECKED, as data.burnt_in_text=unchecked asks. Names burnt into the pixels can be legible in images "
        f"of {size} pixels, and a set made of these cannot pass its audit. data.burnt_in_text=mask (or quarantine) "
        "looks."
    )


def _can_carry_letters(recipe: DataRecipe) -> bool:
    return can_carry_letters(recipe.image_size, recipe.image_size)
