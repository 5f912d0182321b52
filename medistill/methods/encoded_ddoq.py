"""Encoded DDOQ: centroids of every class in the features of a frozen encoder, and images rendered from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from medistill.methods.base import Distilled
from medistill.methods.rendering.method import Rendering
from medistill.recipe.method import Start
from medistill.recipe.quantise import FeatureCellsRecipe
from medistill.recipe.rendering import RenderingRecipe

if TYPE_CHECKING:
    from medistill.artifacts.trajectories import Trajectories
    from medistill.training.context import Context


class Settings(RenderingRecipe):
    """Encoded DDOQ: centroids of every class in the features of a frozen encoder, and images rendered from them."""

    OWN: ClassVar[tuple[str, ...]] = (*RenderingRecipe.OWN, "quantise.weights")

    name: Literal["encoded-ddoq"] = "encoded-ddoq"
    quantise: FeatureCellsRecipe = FeatureCellsRecipe()

    @property
    def starts_from(self) -> Start:
        return "quantised"

    @property
    def quantisation(self) -> FeatureCellsRecipe:
        return self.quantise


class EncodedDdoq(Rendering[Settings]):
    """Optimal quantisation (DDOQ; Tan and Slade 2026) in the features of an encoder."""

    settings_type = Settings
    display_name = "encoded-DDOQ"
    phrase = "optimal quantisation (DDOQ; Tan and Slade 2026) of an encoder's features, from which images were rendered"
    citation = (
        "Tan and Slade 2026",
        "Tan HY, Slade E. Dataset distillation as pushforward optimal quantization. ICLR 2026. arXiv:2501.07681.",
    )
    loss = "How far the features of the images are from the centroids that they were rendered from."
    compared = "the features of each came closer to its centroid"

    def distil(
        self,
        context: Context,
        class_ids: Sequence[int],
        trajectories: Trajectories | None,
        origin: Mapping[str, Any],
    ) -> Distilled:
        from medistill.methods.rendering.centroids import rendered_centroids

        return rendered_centroids(context, self.settings_of(context.recipe), class_ids, origin)


METHOD = EncodedDdoq()
