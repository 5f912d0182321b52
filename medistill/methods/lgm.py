"""LGM: the gradients of random linear layers on an encoder's features matched, no experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from medistill.methods.rendering.method import ComparedRendering
from medistill.recipe.rendering import ComparedRecipe
from medistill.recipe.section import AtMost, Count, Fraction, Positive

if TYPE_CHECKING:
    from medistill.engine.objectives.linear_gradient import LinearGradient
    from medistill.methods.rendering.matched import Compared
    from medistill.training.context import Context


class Settings(ComparedRecipe):
    """LGM: the gradients of random linear layers on an encoder's features matched, no experts."""

    OWN: ClassVar[tuple[str, ...]] = (*ComparedRecipe.OWN, "unlocked")

    name: Literal["lgm"] = "lgm"
    iterations: Annotated[Count, AtMost(100_000)] = 200
    unlocked: Fraction = 0.3
    logit_scale: Positive = 1.0
    """Deviation of the logits of a random layer, for features whose squares have the mean 1."""


class Lgm(ComparedRendering[Settings]):
    """Linear gradient matching (LGM; Cazenavette, Torralba and Sitzmann 2025)."""

    settings_type = Settings
    display_name = "LGM"
    phrase = "linear gradient matching (LGM; Cazenavette, Torralba and Sitzmann 2025)"
    citation = (
        "Cazenavette, Torralba and Sitzmann 2025",
        "Cazenavette G, Torralba A, Sitzmann V. Dataset distillation for pre-trained self-supervised vision models. "
        "NeurIPS 2025. arXiv:2511.16674.",
    )
    loss = "One less the cosine between what a random linear layer asks of the images and what it asks of originals."
    compared = (
        "the gradient of a linear layer with fresh random parameters, of the cross-entropy of the images, pointed more "
        "as that of up to {batch_real} originals of each class"
    )

    def objective(self, compared: Compared, context: Context, settings: Settings) -> LinearGradient:
        from medistill.engine.objectives.linear_gradient import LinearGradient

        return LinearGradient(
            originals=compared.originals,
            classes=context.spec.classes,
            centre=compared.centre,
            spread=compared.spread,
            scale=settings.logit_scale,
            seed=context.recipe.seed,
        )


METHOD = Lgm()
