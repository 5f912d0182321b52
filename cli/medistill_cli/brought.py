"""The encoder-decoder that --decoder brings to a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medistill.recipe import Recipe


def brought(folder: Path | None) -> str | None:
    """Bring what --decoder names into the private cache; its SHA-256, or None without the option."""
    if folder is None:
        return None
    from medistill.quantisation.decoders import bring_decoder

    return bring_decoder(folder)


def refuse_unused(decoder: str | None, recipe: Recipe) -> None:
    """Refuse --decoder for a recipe that quantises nothing."""
    from medistill.errors import UsageError

    if decoder is not None and recipe.method.quantisation is None:
        raise UsageError(
            f"--decoder was given, but {recipe.method.name} with images that begin as {recipe.method.starts_from} "
            "encodes nothing",
            expected="a method that quantises",
            do="add --method ddoq or --set method.init=quantised, or leave --decoder out",
        )


def bring_again(folder: Path | None, recipe: Recipe) -> None:
    """Bring what --decoder names, which must be what the recipe of a finished run or set was given."""
    from medistill.errors import UsageError

    decoder = brought(folder)
    quantisation = recipe.method.quantisation
    given = "" if quantisation is None else quantisation.decoder
    if decoder is not None and decoder != given:
        made = f"with the decoder {given[:12]}" if given else "without a decoder"
        raise UsageError(
            f"--decoder is {decoder[:12]}, but the set was made {made}",
            expected="the folder that was given when it was distilled",
            do="give that one" if given else "leave --decoder out",
        )
