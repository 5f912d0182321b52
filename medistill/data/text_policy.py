"""Text policy: what is done here about burnt-in text, where the recipe leaves it to the machine and the images."""

from __future__ import annotations

from typing import Literal

from medistill.artifacts.corpus import TextCheck
from medistill.data.burnt_in_text import can_carry_letters, reader_name, text_check
from medistill.recipe import DataRecipe

Origin = Literal["files", "drawn"]
"""Whether images are somebody's files, or were drawn by medistill itself; what a file says of itself is no proof."""
DRAWN = TextCheck(by="medistill, which drew the images", policy="drawn")
"""The check of images in which nothing but side markers was ever drawn."""
INSTALL = "pip install 'medistill[ocr]'"


def resolve_text_policy(recipe: DataRecipe, origin: Origin = "files") -> DataRecipe:
    """The recipe with what ``auto`` comes to: ``mask`` where images can carry letters and the reader is installed.

    This is the one place where that is decided; `prepare` keys its cache by what comes of it.
    """
    if recipe.burnt_in_text != "auto":
        return recipe
    looked_for = _can_carry_letters(recipe) and origin == "files" and reader_name() is not None
    return recipe.model_copy(update={"burnt_in_text": "mask" if looked_for else "unchecked"})


def check_of(recipe: DataRecipe, origin: Origin) -> TextCheck | None:
    """How text will be looked for, or why there is none; None where neither is known. The recipe as it was asked for.

    Raises:
        UsageError: the recipe asks to look, and what should look is not installed.
    """
    if recipe.burnt_in_text == "auto" and origin == "drawn":
        return DRAWN
    return text_check(resolve_text_policy(recipe, origin))


def why_unchecked(recipe: DataRecipe) -> str:
    """Why nothing looked, and what that means. The recipe as it was asked for."""
    size = f"{recipe.image_size} x {recipe.image_size} pixels"
    if not _can_carry_letters(recipe):
        return (
            f"Text burnt into the pixels was not looked for: of letters, images of {size} can carry only such as are a "
            "twelfth of the picture's height or more. data.burnt_in_text=mask looks for them."
        )
    if recipe.burnt_in_text == "auto":
        return (
            "TEXT IS UNCHECKED: the text reader is not installed. Names burnt into the pixels can be legible in images "
            f"of {size}, and a set made of these cannot pass its audit. Install it with {INSTALL} and repeat."
        )
    return (
        "TEXT IS UNCHECKED, as data.burnt_in_text=unchecked asks. Names burnt into the pixels can be legible in images "
        f"of {size}, and a set made of these cannot pass its audit. data.burnt_in_text=mask (or quarantine) looks."
    )


def _can_carry_letters(recipe: DataRecipe) -> bool:
    return can_carry_letters(recipe.image_size, recipe.image_size)
