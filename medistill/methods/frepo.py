"""FRePo: originals answered by kernel ridge regression on features of a pool, label values, no experts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from medistill.methods.base import Facts
from medistill.methods.comparing.method import Comparing
from medistill.recipe.comparing import ComparingRecipe
from medistill.recipe.section import AtMost, Count, Fraction, Positive

if TYPE_CHECKING:
    from medistill.engine.objectives.kernel_ridge import KernelRidge
    from medistill.methods.comparing.compare import Compared, Sockets


class Settings(ComparingRecipe):
    """FRePo: originals answered by kernel ridge regression on features of a pool, label values, no experts."""

    OWN: ClassVar[tuple[str, ...]] = ("image_lr", "momentum", "batch_real", "label_lr", "ridge")

    name: Literal["frepo"] = "frepo"
    image_lr: Positive = 3e-4
    """Learning rate of the images, by LAMB: the share of their norm that a step is long. It falls to 0 by half a cosine
    over the outer steps."""
    momentum: Fraction = 0.9
    """Share of LAMB's running mean of the gradients that stays, for images and labels (`b1`)."""
    batch_real: Annotated[Count, AtMost(65_536)] = 102
    """Originals of each class an outer step; published are 1,024 of all classes together."""
    label_lr: Annotated[float, Field(ge=0)] = 3e-4
    """Learning rate of the label values, by LAMB, falling alike; 0 keeps them."""
    ridge: Positive = 1e-6
    """Ridge of the regression, as a share of the mean of the kernel matrix's diagonal (`reg`)."""
    margin: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the term that keeps the largest label value of an image above the others; 0 leaves it out."""
    mirrored: bool = False
    """Whether the regression sees every distilled image with its mirror image, as published for CIFAR. A chest is not
    its mirror image."""
    pool_networks: Annotated[Count, AtMost(1000)] = 10
    """Networks of the pool, which take turns."""
    pool_age: Annotated[Count, AtMost(10_000)] = 100
    """Training steps after which a network of the pool makes way for one with random parameters. Those that the run
    begins with have taken a random number of steps."""
    pool_lr: Positive = 3e-4
    """Learning rate of these networks, by Adam."""

    @property
    def learns_labels(self) -> bool:
        return True

    @property
    def compares_features(self) -> bool:
        return True


class Frepo(Comparing[Settings]):
    """Neural feature regression with pooling (FRePo; Zhou, Nezhadarya and Ba 2022)."""

    settings_type = Settings
    display_name = "FRePo"
    family = "kernel ridge regression"
    phrase = "neural feature regression with pooling (FRePo; Zhou et al. 2022)"
    citation = (
        "Zhou et al. 2022",
        "Zhou Y, Nezhadarya E, Ba J. Dataset distillation using neural feature regression. NeurIPS 2022. "
        "arXiv:2206.00719.",
    )
    loss = (
        "Half the mean squared error, on originals, of the ridge regression of the images' features, in the eyes of a "
        "network of the pool, less the margin of the labels."
    )
    steps = (
        "In each outer step ({iterations} in all) a network out of a "
        "pool of {pool_networks} showed its features, the input of its last layer, of the distilled images and of up "
        "to {batch_real} originals of each class; images and labels were changed so that the ridge regression from the "
        "distilled images answered better for the originals. The networks of the pool were trained on the distilled "
        "images alone, a step whenever their turn had come, and after {pool_age} steps at most one with random "
        "parameters took the place of each."
    )

    def facts(self, settings: Settings | None = None) -> Facts:
        return replace(super().facts(settings), label_values=True)

    def objective(self, compared: Compared, settings: Settings) -> KernelRidge:
        from medistill.engine.inner_optimisers import Adam, Rates
        from medistill.engine.objectives.kernel_ridge import KernelRidge
        from medistill.engine.pool import Pool
        from medistill.engine.sources.walks import Walks, WalkSettings
        from medistill.engine.student import Student
        from medistill.networks.registry import build_network
        from medistill.training.randomness import generator

        context, optimiser = compared.context, Adam()
        spec, recipe, device = context.spec, context.recipe, context.device
        student = Student(build_network(spec, generator(recipe.seed, "student"), device))
        steps = WalkSettings(settings.pool_age, window=1, pool=settings.pool_networks)
        return KernelRidge(
            student=student,
            walks=Walks(spec, steps, recipe.augmentation, recipe.seed, device),
            originals=compared.originals,
            optimiser=optimiser,
            rates=Rates(settings.pool_lr),
            pool=Pool(settings.pool_networks, student.parameters, optimiser.moments, settings.pool_age, 1, device),
            classes=spec.classes,
            ridge=settings.ridge,
            margin=settings.margin,
            mirrored=settings.mirrored,
        )

    def sockets(self, compared: Compared, settings: Settings) -> Sockets:
        """Return the objective, pixels and label values that move by LAMB."""
        from medistill.engine.labels import LabelValues
        from medistill.engine.lamb import Lamb
        from medistill.engine.objectives.kernel_ridge import label_values
        from medistill.engine.parameterisations.pixels import Pixels
        from medistill.methods.comparing.compare import Sockets

        def moved(lr: float) -> Lamb:
            return Lamb(lr, first=settings.momentum, steps=settings.iterations)

        classes = compared.classes().classes
        start = label_values(compared.labels, classes.shape[1]).to(classes.dtype)
        return Sockets(
            self.objective(compared, settings),
            Pixels(compared.start, moved(settings.image_lr)),
            LabelValues(classes, start, moved(settings.label_lr)),
        )


METHOD = Frepo()
