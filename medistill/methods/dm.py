"""DM: mean features of fresh networks matched, no experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from medistill.methods.comparing.method import Comparing
from medistill.recipe.comparing import ComparingRecipe
from medistill.recipe.section import Positive

if TYPE_CHECKING:
    from medistill.engine.objectives.mean_features import MeanFeatures
    from medistill.methods.comparing.compare import Compared


class Settings(ComparingRecipe):
    """DM: mean features of fresh networks matched, no experts."""

    OWN: ClassVar[tuple[str, ...]] = ("image_lr",)

    name: Literal["dm"] = "dm"
    image_lr: Positive = 1.0
    """Learning rate of the images (`lr_img`). The loss sums over the features: with fewer of them, as in a narrower
    network or of smaller images, a larger one fits."""

    @property
    def compares_features(self) -> bool:
        return True


class Dm(Comparing[Settings]):
    """Distribution matching (DM; Zhao and Bilen 2023)."""

    settings_type = Settings
    display_name = "DM"
    family = "distribution matching"
    phrase = "distribution matching (DM; Zhao and Bilen 2023)"
    citation = (
        "Zhao and Bilen 2023",
        "Zhao B, Bilen H. Dataset condensation with distribution matching. WACV 2023. arXiv:2110.04181.",
    )
    loss = "How far the mean features of the images are from those of originals, in the eyes of a fresh network."
    steps = (
        "No network was trained to make them. In each outer step ({iterations} in all) a network with fresh random "
        "parameters was shown the distilled images and up to {batch_real} originals of each class, augmented alike; "
        "the distilled images were then changed so that the means of each class's features, the input of the "
        "network's last layer, came closer to each other."
    )

    def objective(self, compared: Compared, settings: Settings) -> MeanFeatures:
        from medistill.engine.objectives.mean_features import MeanFeatures

        return compared.features(MeanFeatures, compared.fresh)


METHOD = Dm()
