"""NCFM: random Fourier features of half-trained networks matched, and classes of trained ones, no experts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from medistill.methods.comparing.blending import Blending, blending_steps
from medistill.recipe.comparing import BlendingRecipe
from medistill.recipe.outer_loop import Tiles
from medistill.recipe.section import AtMost, Count, Fraction, Positive

if TYPE_CHECKING:
    from medistill.engine.objectives.fourier import Fourier
    from medistill.engine.parameterisations.base import Parameterisation
    from medistill.engine.sources.blend import BlendedNetworks
    from medistill.methods.comparing.compare import Compared


class Settings(BlendingRecipe):
    """NCFM: random Fourier features of half-trained networks matched, and classes of trained ones, no experts."""

    OWN: ClassVar[tuple[str, ...]] = ("image_lr", "momentum", "batch_real", "tiles")

    name: Literal["ncfm"] = "ncfm"
    tiles: Tiles = 2
    image_lr: Positive = 0.004
    """Learning rate of Adam on the images; it falls to 0 by half a cosine over the outer steps. The published one
    (`lr_img` times `lr_scale_adam`) is 0.001, of grey values between 0 and 1; this is it of values of deviation 1 where
    grey values have a deviation of 1/4."""
    momentum: Fraction = 0.9
    """Share of the running mean of gradients that stays in Adam."""
    batch_real: Annotated[Count, AtMost(65_536)] = 1024
    frequencies: Annotated[Count, AtMost(65_536)] = 4096
    """Frequencies at which characteristic functions are compared, drawn anew each outer step (`num_freqs`)."""
    match_weight: Positive = 300.0
    """Weight of the distance of characteristic functions."""
    amplitude: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of their amplitudes in it (`alpha_for_loss`)."""
    phase: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Weight of their phases (`beta_for_loss`); at 1/2 as that of the amplitudes it is the distance in the plane."""

    def misfits(self, image_size: int) -> Iterator[str]:
        if self.amplitude == self.phase == 0:
            yield (
                "method.amplitude = 0 and method.phase = 0 match nothing of characteristic functions; set one of them "
                "above 0 (published are 0.5 and 0.5)"
            )
        yield from super().misfits(image_size)


class Ncfm(Blending[Settings]):
    """Neural characteristic function matching (NCFM; Wang et al. 2025)."""

    settings_type = Settings
    display_name = "NCFM"
    phrase = "matching of neural characteristic functions (NCFM; Wang et al. 2025)"
    citation = (
        "Wang et al. 2025",
        "Wang S, Yang Y, Liu Z, Sun C, Hu X, He C, Zhang L. Dataset distillation with neural characteristic function: "
        "a minmax perspective. CVPR 2025. arXiv:2502.20653.",
    )
    loss = (
        "How far the characteristic functions of the features of images and originals are apart, in the eyes of a "
        "half-trained network, and how little a trained one takes the images for their classes."
    )
    steps = blending_steps(
        "the characteristic functions of each class's features, the input of the network's last layer divided by its "
        "length, came closer to each other at {frequencies} random frequencies"
    )

    def features(self, compared: Compared, settings: Settings, networks: BlendedNetworks) -> Fourier:
        from medistill.engine.objectives.fourier import Fourier

        return compared.features(
            Fourier,
            networks,
            frequencies=settings.frequencies,
            weight=settings.match_weight,
            amplitude=settings.amplitude,
            phase=settings.phase,
        )

    def parameterisation(self, compared: Compared, settings: Settings) -> Parameterisation:
        from medistill.engine.coordinates import Adam
        from medistill.engine.parameterisations.pixels import Pixels

        return Pixels(compared.start, Adam(settings.image_lr, settings.momentum, steps=settings.iterations))


METHOD = Ncfm()
