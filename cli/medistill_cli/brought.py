"""What --decoder, --denoiser and --encoder bring to a command: networks of others, checked and cached."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medistill.progress import Progress
    from medistill.recipe import Recipe


def brought(folder: Path | None) -> str | None:
    """Bring what --decoder names into the private cache; its SHA-256, or None without the option."""
    if folder is None:
        return None
    from medistill.quantisation.decoders import bring_decoder

    return bring_decoder(folder)


def brought_denoiser(folder: Path | None) -> str | None:
    """Bring what --denoiser names into the private cache; its SHA-256, or None without the option."""
    if folder is None:
        return None
    from medistill.denoising.denoisers import bring_denoiser

    return bring_denoiser(folder)


def named_encoder(name: str | None) -> str | None:
    """SHA-256 of the encoder that --encoder names, brought first where that is a folder; None without the option."""
    if name is None:
        return None
    from medistill.encoders.store import add_encoder, encoder_named

    return add_encoder(name).sha256 if name and Path(name).is_dir() else encoder_named(name)


def bring_encoder_again(name: str | None, recipe: Recipe) -> None:
    """Bring what --encoder names, which must be what the recipe of a finished run or set was given."""
    from medistill.errors import UsageError

    encoder, given = named_encoder(name), recipe.network.encoder
    if encoder is not None and encoder != given:
        made = f"with the encoder {given[:12]}" if given else "without an encoder"
        raise UsageError(
            f"--encoder is {encoder[:12]}, but the set was made {made}",
            expected="the one that was given when it was distilled",
            do="give that one" if given else "leave --encoder out",
        )


def refuse_unused(decoder: str | None, recipe: Recipe) -> None:
    """Refuse --decoder for a recipe that decodes nothing."""
    from medistill.errors import UsageError

    if decoder is not None and recipe.method.codes is None:
        raise UsageError(
            f"--decoder was given, but {recipe.method.name} with images that begin as {recipe.method.starts_from} "
            "encodes nothing",
            expected="a method that quantises, or renders images from latents",
            do="add --method ddoq or --set method.init=quantised, or leave --decoder out",
        )


def bring_again(folder: Path | None, recipe: Recipe) -> None:
    """Bring what --decoder names, which must be what the recipe of a finished run or set was given."""
    decoder = brought(folder)
    codes = recipe.method.codes
    given = "" if codes is None else codes.decoder
    _refuse_another("decoder", decoder, given, without="without a decoder")


def bring_denoiser_again(folder: Path | None, recipe: Recipe) -> None:
    """Bring what --denoiser names, which must be what the recipe of a finished run or set was given."""
    denoiser, settings = brought_denoiser(folder), recipe.method.scored_by
    given = "" if settings is None else settings.sha256
    _refuse_another("denoiser", denoiser, given, without="without a denoiser that was brought")


def _refuse_another(noun: str, named: str | None, given: str, *, without: str) -> None:
    """Refuse another network than the recipe of a finished run or set was given; none brought is right."""
    from medistill.errors import UsageError

    if named is not None and named != given:
        made = f"with the {noun} {given[:12]}" if given else without
        raise UsageError(
            f"--{noun} is {named[:12]}, but the set was made {made}",
            expected="the folder that was given when it was distilled",
            do="give that one" if given else f"leave --{noun} out",
        )


def public_space(
    recipe: Recipe,
    public: Path | None,
    *,
    patients: Path | None,
    labels: Path | None,
    sites: str | None,
    components: int | None,
    stored: Path | None,
    device: str,
    progress: Progress,
) -> str:
    """The digest of the space that --public names: whitened on images, or taken over from a set that carries one.

    Where --public is not given: that of the run that goes on, or what `drawn_space` says.

    Args:
        recipe: it must have a probe where --public is given.
        public: what --public says.
        patients: what --data says.
        labels: what --public-labels says.
        sites: what --public-sites says.
        components: what --components says.
        stored: the recipe of a run that is to be resumed.
        device: what --device says.
        progress: told how far it is.

    Raises:
        UsageError: the recipe has no probe, or an option is of no use without --public.
    """
    from medistill.errors import UsageError

    if public is None:
        if labels is not None or sites is not None or components is not None:
            raise UsageError(
                "--public-labels, --public-sites or --components was given without --public",
                expected="the images that they are of",
                do="add --public FOLDER",
            )
        if stored is None or not stored.is_file() or recipe.network.projection:
            return drawn_space(recipe, device, progress)
        from medistill.recipe import load_recipe

        return load_recipe(stored).network.projection
    if recipe.network.name != "probe":
        raise UsageError(
            f"--public was given, and the network is {recipe.network.name}",
            expected="a probe, whose space it whitens",
            do="add --encoder NAME (see `medistill encoder list`), or leave --public out",
        )
    from medistill.workflow.public_projection import COMPONENTS, bring_projection, fit_public_projection

    if public.is_file() or any((public / name).is_file() for name in ("manifest.json", "set/manifest.json")):
        return bring_projection(public)
    names = tuple(name.strip() for name in (sites or "").split(",") if name.strip())
    return fit_public_projection(
        public,
        recipe,
        patients=patients,
        labels=labels,
        sites=names,
        components=components or COMPONENTS,
        device=device,
        progress=progress,
    )


def drawn_space(recipe: Recipe, device: str, progress: Progress) -> str:
    """The digest of the recipe's space, empty where it has none. Where its method wants a whitened one and none is
    named, it is whitened on drawn radiographs.

    Args:
        recipe: of the run.
        device: what --device says.
        progress: told how far it is.
    """
    if recipe.network.name != "probe" or recipe.network.projection or not recipe.method.wants_space:
        return recipe.network.projection
    from medistill.workflow.public_projection import fit_invented_projection

    return fit_invented_projection(recipe, device=device, progress=progress)


def with_space(recipe: Recipe, digest: str) -> Recipe:
    """The recipe with a space in the place of its own."""
    if digest == recipe.network.projection:
        return recipe
    from medistill.recipe import override_recipe

    return override_recipe(recipe, [f'network.projection="{digest}"'], "the recipe")
