"""M3D: all moments of features of fresh networks matched, by a kernel, no experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from medistill.methods.comparing.method import Comparing
from medistill.recipe.comparing import ComparingRecipe
from medistill.recipe.outer_loop import Tiles
from medistill.recipe.section import Positive

if TYPE_CHECKING:
    from medistill.engine.objectives.mmd import Mmd
    from medistill.methods.comparing.compare import Compared


class Settings(ComparingRecipe):
    """M3D: all moments of features of fresh networks matched, by a kernel, no experts."""

    OWN: ClassVar[tuple[str, ...]] = ("image_lr", "tiles")

    name: Literal["m3d"] = "m3d"
    tiles: Tiles = 2
    image_lr: Positive = 100.0
    """Learning rate of the images. The kernel is as wide as the features of a class lie apart, so the loss does not
    grow with their number; the published rate could not be found, and this one is ours."""

    @property
    def compares_features(self) -> bool:
        return True


class M3d(Comparing[Settings]):
    """Maximum mean discrepancy minimised (M3D; Zhang et al. 2024)."""

    settings_type = Settings
    display_name = "M3D"
    family = "distribution matching"
    phrase = "distribution matching by a kernel (M3D; Zhang et al. 2024)"
    citation = (
        "Zhang et al. 2024",
        "Zhang H, Li S, Wang P, Zeng D, Ge S. M3D: dataset condensation by minimizing maximum mean discrepancy. "
        "AAAI 2024. arXiv:2312.15927.",
    )
    loss = "How differently the features of images and originals are distributed, in the eyes of a fresh network."
    steps = (
        "No network was trained to make them. In each outer step ({iterations} in all) a network with fresh random "
        "parameters was shown the distilled images and up to {batch_real} originals of each class, augmented alike; "
        "the distilled images were then changed so that the maximum mean discrepancy between the two, under a mixture "
        "of five Gaussians on the input of the network's last layer, became smaller."
    )

    def objective(self, compared: Compared, settings: Settings) -> Mmd:
        from medistill.engine.objectives.mmd import Mmd

        return compared.features(Mmd, compared.fresh)


METHOD = M3d()
