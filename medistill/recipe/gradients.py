"""Settings of methods that compare the gradients of a network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medistill.recipe.comparing import ComparingRecipe
from medistill.recipe.outer_loop import Init
from medistill.recipe.section import AtMost, Count, CountOrNone, Fraction, Positive, Section


class GradientRecipe(ComparingRecipe):
    """Images on which a network has the gradients that it has on originals of their class."""

    init: Init = "noise"
    image_lr: Positive = 0.1
    augment: bool = False
    """Whether a class's originals and images are augmented alike before their gradients are taken (DSA), and so are the
    images that the network trains on."""
    distance: Literal["cosine", "squared", "absolute"] = "cosine"
    """Distance of two gradients (`dis_metric`): one less the cosine of each row of weights, summed (`ours`); the sum of
    the squared differences (`mse`); or that of the absolute ones (`l1`)."""


class NetworkLoops(Section):
    """A network that is compared with for several outer steps and trained between them."""

    loops: Annotated[Count, AtMost(10_000)] = 10
    """Outer steps that a network is compared with before a fresh one takes its place (`outer_loop`); of 1 it is never
    trained."""
    network_lr: Positive = 0.01
    """Learning rate of the network (`lr_net`)."""
    network_batch: Annotated[Count, AtMost(65_536)] = 256
    """Images of each step of the network (`batch_train`)."""


class LoopedGradientRecipe(NetworkLoops, GradientRecipe):
    """The same with a network that trains on the distilled images between two outer steps."""

    network_epochs: Annotated[CountOrNone, AtMost(10_000)] = 50
    """Passes of the network over the distilled images between two outer steps (`inner_loop`)."""


class RealGradientRecipe(NetworkLoops, GradientRecipe):
    """The same with a network that trains on originals between two outer steps, and images of grey values."""

    init: Init = "real"
    image_lr: Positive = 0.005
    """Learning rate of the images' grey values, in units of full scale (`lr_img`); published are .005 at 10 images a
    class of 32 pixels, times images a class over 10, times the pixels of an image over those of 32 x 32."""
    batch_real: Annotated[Count, AtMost(65_536)] = 64
    augment: bool = True
    distance: Literal["cosine", "squared", "absolute"] = "squared"
    loops: Annotated[Count, AtMost(10_000)] = 100
    network_batch: Annotated[Count, AtMost(65_536)] = 64
    network_images: Annotated[Count, AtMost(1_000_000)] = 2000
    """Originals that the network trains on between two outer steps (`n_data`), at most those there are."""
    network_momentum: Fraction = 0.9
    """Momentum of the network."""
    network_weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """L2 penalty of the network."""

    @property
    def holds_grey(self) -> bool:
        return True
