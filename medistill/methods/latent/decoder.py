"""The decoder that images are rendered by: which it is, its layers, and the latents that it begins with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medistill.artifacts.channels import per_channel
from medistill.artifacts.making import array_digest
from medistill.artifacts.normalisation import Normalisation
from medistill.engine.coordinates import Bounded, UpdateRule
from medistill.engine.parameterisations.latent import Latents, Layer
from medistill.errors import RecipeError
from medistill.methods.comparing.compare import Compared
from medistill.methods.latent.losses import Loss
from medistill.methods.quantising.quantise import quantise
from medistill.methods.quantising.spaces import code_space
from medistill.quantisation.autoencoder import Autoencoder, state_of
from medistill.quantisation.decoders import architecture_of, brought_decoder
from medistill.quantisation.encoder_decoder import DecoderLayer, EncoderDecoder
from medistill.quantisation.pca import PrincipalComponents
from medistill.recipe import Recipe
from medistill.recipe.latent import LatentRecipe
from medistill.training.context import Context

MEASURED = 16
"""Images that pass the decoder together where no gradient is asked for."""


@dataclass(frozen=True)
class Turn:
    """A layer that moves, and what makes its rule.

    Attributes:
        layer: by its name.
        steps: outer steps in which it moves.
        held: puts a rule that moves in every step into that turn.
    """

    layer: str
    steps: int
    held: Callable[[UpdateRule], UpdateRule]


def decoder_of(context: Context, settings: LatentRecipe) -> EncoderDecoder:
    """Return the decoder of a recipe, fitted or trained where it is not brought; it stays in this house.

    Raises:
        DataError: a code has more numbers than there are training images, or these are all alike.
        ArtifactError: one that was brought makes images of another shape.
    """
    return code_space(context, settings.quantise).encoder


def unfitted_decoder(recipe: Recipe, settings: LatentRecipe) -> EncoderDecoder:
    """Return a decoder with the layers of a recipe's, to be asked what they are: nothing is fitted or trained for it,
    and one that is not brought has the shapes of its parameters alone.

    Raises:
        UsageError: it was brought, and is not in the cache.
        ArtifactError: the recipe asks for an autoencoder that cannot be built.
    """
    codes, channels, size = settings.quantise, recipe.data.channels, recipe.data.image_size
    if codes.encoder == "brought":
        return brought_decoder(codes.decoder)[0]
    if codes.encoder == "autoencoder":
        architecture = architecture_of(recipe, channels, size)
        return Autoencoder(architecture, architecture.empty_network())
    pixels = channels * size**2
    mean, basis = torch.empty(pixels, device="meta"), torch.empty(codes.components, pixels, device="meta")
    return PrincipalComponents(mean, basis, (channels, size, size), explained=1.0)


def check_layers(decoder: EncoderDecoder, names: Sequence[str], setting: str) -> None:
    """Refuse layers that a decoder does not have, or that do not follow one another.

    Args:
        decoder: whose layers they are to be.
        names: of them.
        setting: that names them.

    Raises:
        RecipeError: with the layers that there are.
    """
    there = decoder.layers()
    known = [layer.name for layer in there]
    expected = f"layers of {decoder.words}, from the code on: {', '.join(layer.words for layer in there)}"
    for name in names:
        if name not in known:
            raise RecipeError(
                f"method.{setting} names the layer {name!r}, which the decoder does not have",
                expected=expected,
                do=f"set method.{setting} to one of these, or choose another decoder (method.quantise.encoder)",
            )
    if list(names) != sorted(set(names), key=known.index):
        raise RecipeError(
            f"method.{setting} names the layers {', '.join(names)}, which are not in the decoder's order",
            expected=expected,
            do=f"name each layer of method.{setting} once, in that order",
        )


def rendered(
    compared: Compared, settings: LatentRecipe, decoder: EncoderDecoder, loss: Loss, turns: Sequence[Turn]
) -> Latents:
    """Return images by latents of a decoder, which begin as the codes of the images at the start.

    Args:
        compared: of the run.
        settings: of the method.
        decoder: that renders.
        loss: along whose gradient they move.
        turns: the layers that move.
    """
    there, seen = decoder.layers(), _codes(compared, decoder)
    names = [layer.name for layer in there]
    moving = [names.index(turn.layer) for turn in turns]
    seen = _through(there[: moving[0]], seen)
    layers: list[Layer] = []
    for turn, first, last in zip(turns, moving, [*moving[1:], len(there)], strict=True):
        unit = float(seen.square().mean().sqrt()) or 1.0
        start = seen / unit
        largest = settings.bound * float(start.abs().max())
        rule = turn.held(Bounded(loss.rule(turn.steps), largest))
        begun = torch.zeros_like(start) if layers else start
        onward = _onward(there[first:last], compared.normalisation if last == len(there) else None)
        layers.append(Layer(turn.layer, begun, unit, rule, onward))
        seen = _through(there[first:last], seen)
    return Latents(layers, loss.setting)


def rendering_error(compared: Compared, latents: Latents) -> float:
    """Return how far the images at the start are from what they are to show, the root mean squared difference of a
    pixel in grey levels (0 to 255)."""
    first = latents.render({name: one.start for name, one in latents.coordinates().items()})
    apart = _grey(compared.normalisation, first) - _grey(compared.normalisation, compared.start)
    return float(255 * np.sqrt(np.mean(np.square(apart, dtype=np.float64))))


def decoder_digest(decoder: EncoderDecoder) -> str:
    """Return the SHA-256 of the weights of an autoencoder; empty of principal components, which follow from the
    corpus."""
    return array_digest(state_of(decoder)) if isinstance(decoder, Autoencoder) else ""


def _codes(compared: Compared, decoder: EncoderDecoder) -> Tensor:
    """Return the codes (N, D) that images begin with: centroids as they are, other images encoded."""
    context = compared.context
    if context.recipe.method.starts_from == "quantised":
        return torch.from_numpy(quantise(context, compared.class_ids).codes).to(context.device)
    return decoder.encode(torch.from_numpy(_grey(compared.normalisation, compared.start)).to(context.device))


def _grey(normalisation: Normalisation, images: Tensor) -> np.ndarray:
    grey: np.ndarray = normalisation.grey(images.cpu().numpy()).astype(np.float32)
    return grey


@torch.no_grad()
def _through(layers: Sequence[DecoderLayer], latents: Tensor) -> Tensor:
    """Return latents after some layers, a few images at a time."""
    pass_on = _onward(layers, None)
    return torch.cat([pass_on(some) for some in latents.split(MEASURED)])


def _onward(layers: Sequence[DecoderLayer], normalisation: Normalisation | None) -> Callable[[Tensor], Tensor]:
    """Return what passes some layers one after another, and normalises what leaves the last one where that is asked
    for."""

    def pass_on(latents: Tensor) -> Tensor:
        for layer in layers:
            latents = layer.onward(latents)
        return latents if normalisation is None else _normalised(latents, normalisation)

    return pass_on


def _normalised(grey: Tensor, normalisation: Normalisation) -> Tensor:
    """Return grey values (B, C, H, W) in units of full scale as networks see them, with a gradient."""
    mean, std = (per_channel(each, grey) for each in (normalisation.mean, normalisation.std))
    scaled = (grey - mean) / std
    whitening = normalisation.whitening
    if whitening is None:
        return scaled
    centre, matrix = (torch.from_numpy(each).to(grey, non_blocking=True) for each in (whitening.mean, whitening.matrix))
    return ((scaled.flatten(1) - centre) @ matrix).view_as(grey)
