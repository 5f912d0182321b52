"""The family of methods whose images are rendered from latents of a decoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from medistill.methods.base import Distilled, Facts
from medistill.methods.comparing.method import Comparing
from medistill.recipe.latent import LatentRecipe

if TYPE_CHECKING:
    from medistill.artifacts.trajectories import Trajectories
    from medistill.engine.objectives.base import Objective
    from medistill.methods.comparing.compare import Compared, Sockets
    from medistill.methods.latent.decoder import Turn
    from medistill.quantisation.encoder_decoder import EncoderDecoder
    from medistill.recipe import Recipe
    from medistill.training.context import Context

Settings = TypeVar("Settings", bound=LatentRecipe)

DECODERS = {
    "pca": "principal components of the training images make",
    "autoencoder": "the decoder of an autoencoder that was trained on the training images makes",
    "brought": "the decoder of an autoencoder that was trained elsewhere makes",
}
"""What renders, for a methods section, by `method.quantise.encoder`."""
COMPARED = {
    "dm": "the means of each class's features, in the eyes of a network with fresh random parameters, came closer to "
    "those of up to {settings.batch_real} originals of the class",
    "doscond": "the gradients of their cross-entropy, in the weights of a network with fresh random parameters, came "
    "closer to those of up to {settings.batch_real} originals of each class",
    "unrolled": "the loss fell that a network had on up to {settings.unrolled.batch_real} originals of each class "
    "after up to {settings.unrolled.student_steps} training steps on the images; the loss was carried back through "
    "the last {settings.unrolled.differentiated} of them",
}
"""What a step does, for a methods section, by `method.objective`."""


class Latent(Comparing[Settings]):
    """A method of the family: it says what it is called and cites, and which layers move when.

    Attributes:
        setting: the setting that names its layers.
        layer_words: which latents move, for a methods section, in which settings stand as ``{layer}``.
    """

    family = "latent distillation"
    setting: ClassVar[str]
    layer_words: ClassVar[str]

    def facts(self, settings: Settings | None = None) -> Facts:
        from medistill.methods.registry import find_method

        known = settings or self.settings_type()  # type: ignore[call-arg]  # each has its own name
        unrolled, lender = known.objective == "unrolled", find_method(known.objective)
        words = COMPARED[known.objective].format(settings=known)
        return replace(
            Facts(self.display_name, self.family, self.phrase, dict([self.citation]), outer_steps=True),
            learned_lr=unrolled and known.unrolled.learns_lr and known.unrolled.student_lr_lr > 0,
            loss=lender.facts().loss,
            steps=f"The images are what {DECODERS[known.quantise.encoder]} of latents. {self.layer_words} In each "
            f"outer step ({{iterations}} in all) the latents were changed so that {words}. The decoder does not travel "
            "with the set.",
        )

    @abstractmethod
    def turns(self, decoder: EncoderDecoder, settings: Settings) -> Sequence[Turn]:
        """Return the layers that move, from the code on, each with its outer steps.

        Args:
            decoder: that renders.
            settings: of the method.
        """

    def check(self, recipe: Recipe) -> None:
        from medistill.methods.latent.decoder import check_layers, unfitted_decoder

        settings = self.settings_of(recipe)
        decoder = unfitted_decoder(recipe, settings)
        check_layers(decoder, [turn.layer for turn in self.turns(decoder, settings)], self.setting)

    def objective(self, compared: Compared, settings: Settings) -> Objective[Any]:
        from medistill.methods.latent.losses import LOSSES

        return LOSSES[settings.objective](compared, settings).objective

    def distil(
        self,
        context: Context,
        class_ids: Sequence[int],
        trajectories: Trajectories | None,
        origin: Mapping[str, Any],
    ) -> Distilled:
        from medistill.methods.comparing.compare import compare
        from medistill.methods.latent.decoder import decoder_of

        settings = self.settings_of(context.recipe)
        decoder = decoder_of(context, settings)
        turns = self.turns(decoder, settings)
        return compare(
            context, settings, class_ids, origin, lambda compared: self._filled(compared, settings, decoder, turns)
        )

    def _filled(
        self, compared: Compared, settings: Settings, decoder: EncoderDecoder, turns: Sequence[Turn]
    ) -> Sockets:
        """Return what goes into the outer loop; what rendering loses at the start is said, and kept in the history."""
        from medistill.methods.comparing.compare import Sockets
        from medistill.methods.latent.decoder import decoder_digest, rendered, rendering_error
        from medistill.methods.latent.losses import LOSSES

        loss = LOSSES[settings.objective](compared, settings)
        latents = rendered(compared, settings, decoder, loss, turns)
        lost = rendering_error(compared, latents)
        compared.context.progress.say(
            f"Rendered from latents of {decoder.words}, the images at the start are {lost:.1f} of 255 grey levels from "
            "what they are to show (root mean square)."
        )
        return Sockets(
            loss.objective,
            latents,
            compared.classes(),
            decoder_digest(decoder),
            student_lr=loss.student_lr,
            history={"rendering_error": lost},
        )
