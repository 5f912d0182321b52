"""IDC: gradients of a network that trains on originals matched, no experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from medistill.methods.comparing.gradients import COMPARED, GradientFamily
from medistill.recipe.gradients import RealGradientRecipe
from medistill.recipe.outer_loop import Tiles

if TYPE_CHECKING:
    from medistill.methods.comparing.compare import Compared, Sockets


class Settings(RealGradientRecipe):
    """IDC: gradients of a network that trains on originals matched, no experts."""

    OWN: ClassVar[tuple[str, ...]] = ("image_lr", "augment", "distance", "tiles")

    name: Literal["idc"] = "idc"
    tiles: Tiles = 2


class Idc(GradientFamily[Settings]):
    """The loss of efficient dataset condensation (IDC; Kim et al. 2022)."""

    settings_type = Settings
    display_name = "IDC"
    phrase = "gradient matching by networks trained on originals (IDC; Kim et al. 2022)"
    citation = (
        "Kim et al. 2022",
        "Kim JH, Kim J, Oh SJ, Yun S, Song H, Jeong J, Ha JW, Song HO. Dataset condensation via efficient "
        "synthetic-data parameterization. ICML 2022. arXiv:2205.14959.",
    )
    convolutions = True
    steps = (
        f"{COMPARED} Of networks with convolutions their kernels alone were compared. A network was compared with for "
        "{loops} outer steps, between which it trained on up to {network_images} originals, and was then replaced by "
        "one with fresh random parameters. Grey values were held between black and white."
    )

    def sockets(self, compared: Compared, settings: Settings) -> Sockets:
        from medistill.methods.comparing.compare import Sockets
        from medistill.methods.comparing.matched_gradients import grey_pixels

        images = grey_pixels(settings, compared.start, compared.normalisation)
        return Sockets(self.objective(compared, settings), images, compared.classes())


METHOD = Idc()
