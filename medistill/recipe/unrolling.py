"""Settings of methods that unroll the student on the distilled images and take its loss on originals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from medistill.recipe.outer_loop import Init, LearnedLabels, Nested, OuterLoopRecipe
from medistill.recipe.section import AtMost, Count, CountOrNone, Fraction, Positive, Section


class RealLoss(Section):
    """The students whose loss on originals is taken, and how what they train on moves along its gradient."""

    student_steps: Annotated[Count, AtMost(10_000)] = 100
    """Student steps on the distilled images, T."""
    inner: Literal["sgd", "momentum", "adam"] = "momentum"
    """How students move: plain SGD, with momentum as evaluation does, or Adam."""
    student_lr: Positive = 0.01
    """Initial learning rate of the student, alpha."""
    student_lr_lr: Annotated[float, Field(ge=0)] = 0.003
    """Learning rate of log alpha, by Adam, and of the momentum where it is learned; 0 keeps them."""
    student_momentum: Fraction = 0.9
    """Momentum of the student."""
    learn_momentum: bool = False
    """Whether that is learned too; networks in an evaluation keep `evaluate.momentum`."""
    student_weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """L2 penalty of the student where it moves by momentum."""
    batch_syn: CountOrNone = 0
    """Distilled images a student step; 0 takes all of them."""
    batch_real: Annotated[Count, AtMost(65_536)] = 128
    """Originals of each class that the loss is taken on."""
    augment_real: bool = True
    """Whether these are augmented, as the student's images are; networks are tested on images that are not."""
    image_lr: Positive = 0.02
    """Learning rate of the images, by Adam."""
    clip: Annotated[float, Field(ge=0, lt=10)] = 2.0
    """Times its running mean, itself a tenth of it, that the norm of a gradient may have: of the images, of the labels,
    of log alpha; 0 bounds nothing."""
    decay: bool = True
    """Whether the learning rate of the images falls to 0 by half a cosine."""
    label_lr: Annotated[float, Field(ge=0)] = 0.02
    """Learning rate of the logits of soft labels, by Adam."""

    @property
    def keeps(self) -> str:
        """The setting that says of how many steps the parameters are kept at once."""
        return "student_steps"

    @property
    def learns_lr(self) -> bool:
        """Whether networks, which evaluation trains by SGD, train at alpha; that of Adam is no rate for them."""
        return self.inner != "adam"

    @property
    def differentiated(self) -> int:
        """Student steps that are differentiated, M: all of them."""
        return self.student_steps

    @property
    def pooled(self) -> int:
        """Students that go on from one outer step to a later one."""
        return 0

    def unfit(self, section: str) -> Iterator[str]:
        """What does not fit together, each in a sentence; ``section`` is where the settings stand."""
        moves = self.inner == "momentum" and self.student_lr_lr > 0 and self.student_momentum > 0
        if self.learn_momentum and not moves:
            yield (
                f'{section}.learn_momentum needs {section}.inner = "momentum", and {section}.student_momentum and '
                f"{section}.student_lr_lr above 0"
            )


class WindowedLoss(RealLoss):
    """The same with a window: a few steps of the walk are differentiated, those before it are walked alone."""

    window: Annotated[Count, AtMost(10_000)] = 30
    """Student steps that are differentiated, M, those before the loss is taken; as many as `student_steps` takes
    the whole walk."""
    pool: Annotated[CountOrNone, AtMost(1000)] = 0
    """Students that are kept on their way from one outer step to a later one, their windows one behind the other, so
    that the walk to a window is not made anew each time; 0 begins each step with a fresh one."""

    @property
    def keeps(self) -> str:
        return "window"

    @property
    def differentiated(self) -> int:
        return self.window

    @property
    def pooled(self) -> int:
        return self.pool

    def unfit(self, section: str) -> Iterator[str]:
        if self.window > self.student_steps:
            yield (
                f"{section}.window {self.window} is longer than the walk, {section}.student_steps {self.student_steps}"
            )
        elif self.pool and 2 * self.window > self.student_steps:
            yield (
                f"{section}.pool {self.pool} keeps students for another window of {self.window} steps, but a walk of "
                f"{self.student_steps} has room for one (set {section}.pool = 0, or lower {section}.window)"
            )
        yield from super().unfit(section)


class RealRecipe(WindowedLoss):
    """The loss on originals of networks that were trained on the images, beside trajectories or after them; off by
    default. Where it counts, images and soft labels move by the rates of this section, along gradients each of which is
    divided by its own size of late."""

    weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the loss on originals in the images' gradient, the rest that of the trajectories."""
    begins: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the outer steps after which the loss on originals counts alone; 1 is never."""

    @property
    def counts(self) -> bool:
        """Whether the loss on originals has a share in the images' gradient, at some outer step."""
        return self.weight > 0 or self.begins < 1


class WalkRecipe(Nested, RealLoss, LearnedLabels, OuterLoopRecipe):
    """The real loss with its exact gradient: the outer optimisation, and the students that it unrolls, whole."""

    noise_norm: Annotated[float, Field(ge=0)] = 0.0
    """L2 norm of each image that begins as noise; 0: every pixel has deviation 1."""

    @property
    def learns_labels(self) -> bool:
        return self.labels == "soft"

    @property
    def start_norm(self) -> float:
        return self.noise_norm

    def misfits(self, image_size: int) -> Iterator[str]:
        if self.stages > min(self.ipc, self.iterations):
            yield (
                f"method.stages {self.stages} needs as many images per class and outer steps, but there are {self.ipc} "
                f"(method.ipc) and {self.iterations} (method.iterations)"
            )
        yield from self.unfit("method")
        yield from super().misfits(image_size)


class PublishedWalk(WalkRecipe):
    """The same with what was published for CIFAR-10 at 10 images a class, but for the number of outer steps."""

    init: Init = "noise"
    student_steps: Annotated[Count, AtMost(10_000)] = 200
    inner: Literal["sgd", "momentum", "adam"] = "adam"
    student_lr: Positive = 0.001
    student_lr_lr: Annotated[float, Field(ge=0)] = 0.0
    batch_real: Annotated[Count, AtMost(65_536)] = 500
    image_lr: Positive = 0.001
    label_lr: Annotated[float, Field(ge=0)] = 0.001
    decay: bool = False
    noise_norm: Annotated[float, Field(ge=0)] = 1.0


class UnrolledRecipe(WindowedLoss, WalkRecipe):
    """The same with a window."""
