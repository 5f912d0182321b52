"""DDOQ: centroids of every class, weighted by their share, soft labels."""

from __future__ import annotations

from typing import ClassVar, Literal

from medistill.methods.quantising.method import Quantising
from medistill.recipe.centroids import QuantisingRecipe


class Settings(QuantisingRecipe):
    """DDOQ: centroids of every class, weighted by their share, soft labels."""

    OWN: ClassVar[tuple[str, ...]] = ("labels", "quantise.weights")

    name: Literal["ddoq"] = "ddoq"


class Ddoq(Quantising[Settings]):
    """Optimal quantisation (DDOQ; Tan and Slade 2026)."""

    settings_type = Settings
    display_name = "DDOQ"
    phrase = "optimal quantisation (DDOQ; Tan and Slade 2026)"
    citation = (
        "Tan and Slade 2026",
        "Tan HY, Slade E. Dataset distillation as pushforward optimal quantization. ICLR 2026. arXiv:2501.07681.",
    )


METHOD = Ddoq()
