"""H-GLaD: latents of a decoder layer after layer, no experts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from medistill.methods.latent.method import Latent
from medistill.recipe.latent import LatentRecipe
from medistill.recipe.section import Positive, Text

if TYPE_CHECKING:
    from medistill.methods.latent.decoder import Turn
    from medistill.quantisation.encoder_decoder import EncoderDecoder
    from medistill.recipe import Recipe


class Settings(LatentRecipe):
    """H-GLaD: latents of a decoder layer after layer, no experts."""

    OWN: ClassVar[tuple[str, ...]] = ("layers", "image_lr")

    name: Literal["h-glad"] = "h-glad"
    layers: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    """Layers of the decoder whose latents move, one after another from the code on; the outer steps are divided over
    them evenly. Empty: all of them."""
    image_lr: Positive = 1.0


class HGlad(Latent[Settings]):
    """Latent distillation layer after layer (H-GLaD; Zhong et al. 2025)."""

    settings_type = Settings
    display_name = "H-GLaD"
    phrase = "distillation into latents of a decoder, layer after layer (H-GLaD; Zhong et al. 2025)"
    citation = (
        "Zhong et al. 2025",
        "Zhong X, Fang H, Chen B, Gu X, Qiu M, Qi S, Xia ST. Hierarchical features matter: a deep exploration of "
        "progressive parameterization method for dataset distillation. CVPR 2025. arXiv:2406.05704.",
    )
    setting = "layers"
    layer_words = (
        "They moved at one of its layers after another, from the code on, each from where the layer before it had "
        "brought them."
    )

    def least_steps(self, recipe: Recipe) -> int:
        from medistill.methods.latent.decoder import unfitted_decoder

        settings = self.settings_of(recipe)
        return len(settings.layers) or len(unfitted_decoder(recipe, settings).layers())

    def turns(self, decoder: EncoderDecoder, settings: Settings) -> Sequence[Turn]:
        from medistill.engine.coordinates import InTurn
        from medistill.methods.latent.decoder import Turn
        from medistill.training.stages import even_slice

        names = settings.layers or [layer.name for layer in decoder.layers()]
        steps = [even_slice(settings.iterations, len(names), number) for number in range(len(names))]
        return [Turn(name, len(turn), partial(InTurn, turn=turn)) for name, turn in zip(names, steps, strict=True)]


METHOD = HGlad()
