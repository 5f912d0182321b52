"""D4M: the centroids of ddoq with equal weights."""

from __future__ import annotations

from typing import ClassVar, Literal

from medistill.methods.quantising.method import Quantising
from medistill.recipe.centroids import QuantisingRecipe
from medistill.recipe.quantise import CentroidsRecipe, Weighting


class Centroids(CentroidsRecipe):
    """Optimal quantisation of each class in a latent space, whose centroids weigh alike."""

    weights: Weighting = "uniform"


class Settings(QuantisingRecipe):
    """D4M: the centroids of ddoq with equal weights."""

    OWN: ClassVar[tuple[str, ...]] = ("labels", "quantise.weights")

    name: Literal["d4m"] = "d4m"
    quantise: Centroids = Centroids()


class D4m(Quantising[Settings]):
    """Clustering in a latent space (as D4M does; Su et al. 2024)."""

    settings_type = Settings
    display_name = "D4M"
    phrase = "clustering in a latent space (as D4M does; Su et al. 2024)"
    citation = (
        "Su et al. 2024",
        "Su D, Hou J, Gao W, Tian Y, Tang B. D4M: dataset distillation via disentangled diffusion model. CVPR 2024. "
        "arXiv:2407.15138.",
    )


METHOD = D4m()
