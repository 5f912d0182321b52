"""CLP-DD: the loss on originals of the ridge classifier of an encoder's features, no experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from medistill.methods.rendering.method import ComparedRendering
from medistill.recipe.rendering import ComparedRecipe
from medistill.recipe.section import Positive

if TYPE_CHECKING:
    from medistill.engine.objectives.ridge import Ridge
    from medistill.methods.rendering.matched import Compared
    from medistill.training.context import Context


class Settings(ComparedRecipe):
    """CLP-DD: the loss on originals of the ridge classifier of an encoder's features, no experts."""

    name: Literal["clp-dd"] = "clp-dd"
    ridge: Positive = 0.1
    """Ridge of the classifier, as a share of the mean squared length of the images' features."""
    temperature: Positive = 0.2
    """What the classifier's answers for originals are divided by before the softmax."""


class ClpDd(ComparedRendering[Settings]):
    """Closed-form linear probes (CLP-DD; Peng et al. 2026)."""

    settings_type = Settings
    display_name = "CLP-DD"
    phrase = "the loss on originals of the images' linear probe in closed form (CLP-DD; Peng et al. 2026)"
    citation = (
        "Peng et al. 2026",
        "Peng B, Li G, Liu P, Ogawa T, Haseyama M. Closed-form linear-probe dataset distillation for pre-trained "
        "vision models. 2026. arXiv:2605.07194.",
    )
    loss = "The cross-entropy, on originals, of the ridge classifier of the images."
    compared = (
        "the classifier that ridge regression finds on their features had a lower cross-entropy, at temperature "
        "{temperature}, on up to {batch_real} originals of each class"
    )

    def objective(self, compared: Compared, context: Context, settings: Settings) -> Ridge:
        from medistill.engine.objectives.ridge import Ridge

        return Ridge(
            originals=compared.originals,
            classes=context.spec.classes,
            centre=compared.centre,
            spread=compared.spread,
            ridge=settings.ridge,
            temperature=settings.temperature,
        )


METHOD = ClpDd()
