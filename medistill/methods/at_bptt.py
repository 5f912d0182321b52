"""AT-BPTT: unrolled, windows that follow the norms of the student's gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from medistill.methods.unrolling.method import UnrolledLoss
from medistill.recipe.section import AtMost, Count, CountOrNone
from medistill.recipe.unrolling import PublishedWalk

if TYPE_CHECKING:
    from medistill.engine.sources.windows import WindowRule


class Settings(PublishedWalk):
    """AT-BPTT: unrolled, windows that follow the norms of the student's gradients.

    Defaults are those of the published command for CIFAR-10 at 10 images a class, but for the number of outer steps and
    the ends of the stages. There each stage ends when the training accuracy has stopped to rise.
    """

    OWN: ClassVar[tuple[str, ...]] = (
        "window", "window_spread", "steep_until", "uniform_until", "student_steps", "inner", "student_lr",
        "student_lr_lr", "image_lr", "labels", "label_lr", "decay", "batch_real", "noise_norm",
    )  # fmt: skip

    name: Literal["at-bptt"] = "at-bptt"
    window: Annotated[Count, AtMost(10_000)] = 40
    """Student steps that are differentiated, M, give or take `window_spread`."""
    window_spread: Annotated[CountOrNone, AtMost(10_000)] = 10
    """Steps by which windows are longer or shorter than `window`, d."""
    steep_until: Annotated[float, Field(ge=0, le=1)] = 0.33
    """Share of the outer steps up to which windows lie where the student's gradients are steep."""
    uniform_until: Annotated[float, Field(ge=0, le=1)] = 0.67
    """Share up to which they then lie anywhere, and are longer; after it they lie where gradients are flat, and are
    shorter."""

    @property
    def differentiated(self) -> int:
        return self.window

    def misfits(self, image_size: int) -> Iterator[str]:
        longest, shortest = self.window + self.window_spread, self.window - self.window_spread
        if longest > self.student_steps:
            yield (
                f"method.window + method.window_spread, {longest}, is longer than the walk, method.student_steps "
                f"{self.student_steps}"
            )
        if shortest < 1:
            yield f"method.window - method.window_spread leaves {shortest} steps to differentiate, below 1"
        if self.steep_until > self.uniform_until:
            yield f"method.steep_until {self.steep_until:g} is above method.uniform_until {self.uniform_until:g}"
        yield from super().misfits(image_size)


class AtBptt(UnrolledLoss[Settings]):
    """Automatic truncated backpropagation through time (AT-BPTT; Li, Gou et al. 2025)."""

    settings_type = Settings
    display_name = "AT-BPTT"
    phrase = "automatic truncated backpropagation through time (AT-BPTT; Li, Gou et al. 2025)"
    citation = (
        "Li, Gou et al. 2025",
        "Li M, Gou H, Zhang D, Liang S, Xie X, Ouyang D, Qin K. Beyond random: automatic inner-loop optimization in "
        "dataset distillation. NeurIPS 2025. arXiv:2510.04838.",
    )
    window_words = (
        "The loss was taken at the end of a window of {window} steps, give or take {window_spread}, and carried back "
        "through it. Windows lay where the network's gradients were steep, then anywhere, then where they were flat."
    )

    def windows(self, settings: Settings) -> WindowRule:
        from medistill.engine.sources.windows import StagedWindows

        return StagedWindows(settings.window_spread, settings.iterations, settings.steep_until, settings.uniform_until)


METHOD = AtBptt()
