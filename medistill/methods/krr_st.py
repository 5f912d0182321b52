"""KRR-ST: originals answered as a frozen teacher sees them, by kernel ridge regression on target vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from medistill.methods.base import Facts
from medistill.methods.comparing.method import Comparing
from medistill.recipe.comparing import ComparingRecipe
from medistill.recipe.section import AtMost, Count, Fraction, Positive

if TYPE_CHECKING:
    from torch import Tensor

    from medistill.encoders.encoder import Encoder
    from medistill.engine.objectives.kernel_targets import KernelTargets
    from medistill.methods.comparing.compare import Compared, Sockets


class Settings(ComparingRecipe):
    """KRR-ST: originals answered as a frozen teacher sees them, by kernel ridge regression on target vectors."""

    OWN: ClassVar[tuple[str, ...]] = ("image_lr", "momentum", "batch_real", "label_lr", "ridge", "teacher")

    name: Literal["krr-st"] = "krr-st"
    teacher: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    """SHA-256 of the frozen encoder whose features are the targets (`medistill encoder list`). Empty: the only one in
    the cache, whose hash the run then records."""
    image_lr: Positive = 1e-3
    """Learning rate of the images, by Adam; it falls to 0 along a line over the outer steps (`outer_lr`)."""
    momentum: Fraction = 0.9
    """Share of Adam's running mean of the gradients that stays, for images and target vectors."""
    batch_real: Annotated[Count, AtMost(65_536)] = 102
    """Originals of each class an outer step; published are 1,024 of all classes together (`outer_batch_size`)."""
    label_lr: Annotated[float, Field(ge=0)] = 1e-3
    """Learning rate of the target vectors, by Adam, falling alike; 0 keeps them (`outer_lr`)."""
    ridge: Positive = 1e-6
    """Ridge of the regression, as a share of the trace of the kernel matrix."""
    pool_networks: Annotated[Count, AtMost(1000)] = 10
    """Networks of the pool, which take turns (`num_models`)."""
    pool_age: Annotated[Count, AtMost(10_000)] = 1000
    """Training steps after which a network of the pool makes way for one with random parameters (`online_iteration`).
    Those that the run begins with have taken a random number of steps."""
    pool_lr: Positive = 0.1
    """Learning rate of these networks, by SGD (`online_lr`)."""
    pool_momentum: Fraction = 0.9
    """Momentum of these networks' SGD."""
    pool_weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    """L2 penalty of these networks (`online_wd`)."""
    pretrain_lr: Positive = 0.1
    """Learning rate to pretrain on the images with, that of the set (`pre_lr`)."""

    @property
    def learns_labels(self) -> bool:
        return True

    @property
    def compares_features(self) -> bool:
        return True

    @property
    def taught_by(self) -> str | None:
        return self.teacher

    def misfits(self, image_size: int) -> Iterator[str]:
        yield from super().misfits(image_size)
        if self.tiles > 1:
            yield (
                f"a target vector belongs to a whole image, and method.tiles {self.tiles} cuts it into parts; set "
                "method.tiles to 1"
            )


class KrrSt(Comparing[Settings]):
    """Kernel ridge regression on self-supervised targets (KRR-ST; Lee et al. 2024)."""

    settings_type = Settings
    display_name = "KRR-ST"
    family = "kernel ridge regression"
    phrase = "kernel ridge regression on self-supervised targets (KRR-ST; Lee et al. 2024)"
    citation = (
        "Lee et al. 2024",
        "Lee DB, Lee S, Ko J, Kawaguchi K, Lee J, Hwang SJ. Self-supervised dataset distillation for transfer "
        "learning. ICLR 2024. arXiv:2310.06511.",
    )
    loss = (
        "The mean squared error, on the features of a frozen teacher of originals, of the ridge regression of the "
        "images' features, in the eyes of a network of the pool."
    )
    steps = (
        "In each outer step ({iterations} in all) a network out of a pool of {pool_networks} showed its features, the "
        "input of its last layer, of the distilled images and of up to {batch_real} originals of each class; images "
        "and target vectors were changed so that the ridge regression from the distilled images came nearer to the "
        "features that a frozen teacher has of these originals. The networks of the pool were trained on the distilled "
        "images and their target vectors alone, without augmentation, a step whenever their turn had come, and after "
        "{pool_age} steps at most one with random parameters took the place of each."
    )

    def facts(self, settings: Settings | None = None) -> Facts:
        return replace(super().facts(settings), target_vectors=True)

    def teacher(self, settings: Settings) -> Encoder:
        """Return the frozen encoder whose features are the targets.

        Raises:
            UsageError: it is not in the cache.
            RecipeError: its features are more than a target vector may have numbers.
        """
        from medistill.artifacts.set_problem import MOST_TARGETS
        from medistill.encoders.store import stored_encoder
        from medistill.errors import RecipeError

        encoder = stored_encoder(settings.teacher)
        if encoder.dimension > MOST_TARGETS:
            raise RecipeError(
                f"the teacher {encoder.display_name} has {encoder.dimension} features",
                expected=f"{MOST_TARGETS} at the most, for each of which a network has an output",
                do="convert it with fewer layers (medistill encoder convert --layers), or take another",
            )
        return encoder

    def objective(self, compared: Compared, settings: Settings) -> KernelTargets:
        from medistill.encoders.features import features_of
        from medistill.engine.inner_optimisers import MomentumSGD, Rates
        from medistill.engine.objectives.kernel_targets import KernelTargets
        from medistill.engine.pool import Pool
        from medistill.engine.sources.taught_originals import TaughtOriginals
        from medistill.engine.sources.walks import Walks, WalkSettings
        from medistill.engine.student import Student
        from medistill.networks.registry import build_network
        from medistill.recipe import AugmentationRecipe
        from medistill.training.device import precision
        from medistill.training.randomness import generator

        context, optimiser = compared.context, MomentumSGD(settings.pool_weight_decay)
        recipe, device, teacher = context.recipe, context.device, self.teacher(settings)
        spec = replace(context.spec, classes=teacher.dimension)
        student = Student(build_network(spec, generator(recipe.seed, "student"), device))
        steps = WalkSettings(settings.pool_age, window=1, pool=settings.pool_networks)
        with precision("fp32", device):
            targets = features_of(context.corpus, teacher, device, context.progress)
        return KernelTargets(
            student=student,
            walks=Walks(spec, steps, AugmentationRecipe(operations=()), recipe.seed, device),
            originals=TaughtOriginals(compared.originals, targets),
            optimiser=optimiser,
            rates=Rates(settings.pool_lr, settings.pool_momentum),
            pool=Pool(settings.pool_networks, student.parameters, optimiser.moments, settings.pool_age, 1, device),
            ridge=settings.ridge,
        )

    def sockets(self, compared: Compared, settings: Settings) -> Sockets:
        """Return the objective, and pixels and target vectors that move by Adam, the latter from what the teacher sees
        in the images before the first step."""
        from medistill.engine.coordinates import Adam
        from medistill.engine.labels import TargetVectors
        from medistill.engine.parameterisations.pixels import Pixels
        from medistill.methods.comparing.compare import Sockets

        def moved(lr: float) -> Adam:
            return Adam(lr, first=settings.momentum, steps=settings.iterations, falling="line")

        return Sockets(
            self.objective(compared, settings),
            Pixels(compared.start, moved(settings.image_lr)),
            TargetVectors(compared.classes().classes, self.first_targets(compared, settings), moved(settings.label_lr)),
            student_lr=lambda learned: settings.pretrain_lr,
        )

    def first_targets(self, compared: Compared, settings: Settings) -> Tensor:
        """Return what the teacher sees in the images before the first step, float32 (N, D).

        Raises:
            DivergedError: it gives numbers that are not finite.
        """
        import torch

        from medistill.errors import DivergedError
        from medistill.training.device import precision

        context, teacher = compared.context, self.teacher(settings)
        grey = compared.normalisation.grey(compared.start.cpu().numpy())
        with precision("fp32", context.device):
            seen = teacher.to(context.device).encoded(torch.from_numpy(grey).float().to(context.device))
        if not bool(torch.isfinite(seen).all()):
            raise DivergedError(
                f"the teacher {teacher.display_name} gives features of the first images that are not finite",
                expected="finite features of every image",
                do="use another encoder (medistill encoder list), or method.init = real or quantised",
            )
        return seen


METHOD = KrrSt()
