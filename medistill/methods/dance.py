"""DANCE: mean features of half-trained networks matched, and classes of trained ones, no experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from medistill.methods.comparing.blending import Blending, blending_steps
from medistill.recipe.comparing import BlendingRecipe
from medistill.recipe.outer_loop import Tiles
from medistill.recipe.section import Positive

if TYPE_CHECKING:
    from medistill.engine.objectives.mean_features import MeanFeatures
    from medistill.engine.sources.blend import BlendedNetworks
    from medistill.methods.comparing.compare import Compared


class Settings(BlendingRecipe):
    """DANCE: mean features of half-trained networks matched, and classes of trained ones, no experts."""

    OWN: ClassVar[tuple[str, ...]] = ("image_lr", "tiles")

    name: Literal["dance"] = "dance"
    tiles: Tiles = 2
    image_lr: Positive = 1.6
    """Learning rate of the images. The published one (`lr_img`) is 0.01 times the images per class, of grey values
    between 0 and 1; this is it at 10 images, of values of deviation 1 where grey values have a deviation of 1/4."""


class Dance(Blending[Settings]):
    """Dual-view distribution alignment (DANCE; Zhang et al. 2024)."""

    settings_type = Settings
    display_name = "DANCE"
    phrase = "dual-view distribution alignment (DANCE; Zhang et al. 2024)"
    citation = (
        "Zhang et al. 2024",
        "Zhang H, Li S, Lin F, Wang W, Qian Z, Ge S. DANCE: dual-view distribution alignment for dataset condensation. "
        "IJCAI 2024. arXiv:2406.01063.",
    )
    loss = (
        "How far the mean features of the images are from those of originals, in the eyes of a half-trained network, "
        "and how little a trained one takes the images for their classes."
    )
    steps = blending_steps(
        "the means of each class's features, the input of the network's last layer, came closer to each other"
    )

    def features(self, compared: Compared, settings: Settings, networks: BlendedNetworks) -> MeanFeatures:
        from medistill.engine.objectives.mean_features import MeanFeatures

        return compared.features(MeanFeatures, networks)


METHOD = Dance()
