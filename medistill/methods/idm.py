"""IDM: mean features of networks that learn meanwhile matched, and their classes, no experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from medistill.methods.comparing.method import Comparing
from medistill.recipe.comparing import ComparingRecipe, QueueRecipe
from medistill.recipe.outer_loop import Tiles
from medistill.recipe.section import Positive

if TYPE_CHECKING:
    from medistill.engine.objectives.queued import Queued
    from medistill.methods.comparing.compare import Compared


class Settings(ComparingRecipe):
    """IDM: mean features of networks that learn meanwhile matched, and their classes, no experts."""

    OWN: ClassVar[tuple[str, ...]] = ("image_lr", "tiles")

    name: Literal["idm"] = "idm"
    tiles: Tiles = 2
    image_lr: Positive = 0.2
    class_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the cross-entropy of the images to the network that sees them, times its accuracy in training in
    percent (`ce_weight`); 0 leaves it out."""
    queue: QueueRecipe = QueueRecipe()

    @property
    def compares_features(self) -> bool:
        return True


class Idm(Comparing[Settings]):
    """Improved distribution matching (IDM; Zhao, Li, Qin and Yu 2023)."""

    settings_type = Settings
    display_name = "IDM"
    family = "distribution matching"
    phrase = "improved distribution matching (IDM; Zhao, Li, Qin and Yu 2023)"
    citation = (
        "Zhao, Li, Qin and Yu 2023",
        "Zhao G, Li G, Qin Y, Yu Y. Improved distribution matching for dataset condensation. CVPR 2023. "
        "arXiv:2307.09742.",
    )
    loss = (
        "How far the mean features of the images are from those of originals, in the eyes of a network of a queue, and "
        "how little that network takes the images for their classes, by as much as it knows of them."
    )
    steps = (
        "In each outer step ({iterations} in all) a network of a growing queue was shown the distilled images and up "
        "to {batch_real} originals of each class, augmented alike; the distilled images were then changed so that the "
        "means of each class's features, the input of the network's last layer, came closer to each other, and so that "
        "the network took them for their classes. Then some networks of the queue were trained a little on originals."
    )

    def objective(self, compared: Compared, settings: Settings) -> Queued:
        from medistill.methods.comparing.queued import queued

        return queued(compared, settings.queue, settings.class_weight)


METHOD = Idm()
