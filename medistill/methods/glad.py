"""GLaD: latents of a decoder at one layer in place of pixels, no experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from medistill.methods.latent.method import Latent
from medistill.recipe.latent import LatentRecipe
from medistill.recipe.section import Positive, Text

if TYPE_CHECKING:
    from medistill.methods.latent.decoder import Turn
    from medistill.quantisation.encoder_decoder import EncoderDecoder


class Settings(LatentRecipe):
    """GLaD: latents of a decoder at one layer in place of pixels, no experts."""

    OWN: ClassVar[tuple[str, ...]] = ("layer", "image_lr")

    name: Literal["glad"] = "glad"
    layer: Text = "code"
    """Layer of the decoder whose latents move (`layer`): its code, or `block_1`, `block_2`, ... of an autoencoder,
    nearer and nearer to the pixels."""
    image_lr: Positive = 1.0


class Glad(Latent[Settings]):
    """Latent distillation at one layer (GLaD; Cazenavette et al. 2023)."""

    settings_type = Settings
    display_name = "GLaD"
    phrase = "distillation into latents of a decoder (GLaD; Cazenavette et al. 2023)"
    citation = (
        "Cazenavette et al. 2023",
        "Cazenavette G, Wang T, Torralba A, Efros AA, Zhu JY. Generalizing dataset distillation via deep generative "
        "prior. CVPR 2023. arXiv:2305.01649.",
    )
    setting = "layer"
    layer_words = "Those at its layer {layer} moved."

    def turns(self, decoder: EncoderDecoder, settings: Settings) -> Sequence[Turn]:
        from medistill.methods.latent.decoder import Turn

        return [Turn(settings.layer, settings.iterations, lambda rule: rule)]


METHOD = Glad()
