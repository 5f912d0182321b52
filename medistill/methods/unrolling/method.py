"""The family of methods that take the real loss of unrolled students."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from medistill.methods.base import Distilled, Facts, Method, Needs
from medistill.recipe.unrolling import WalkRecipe

if TYPE_CHECKING:
    from medistill.artifacts.trajectories import Trajectories
    from medistill.engine.sources.windows import WindowRule
    from medistill.training.context import Context

Settings = TypeVar("Settings", bound=WalkRecipe)

MOVED = {
    "sgd": "by stochastic gradient descent",
    "momentum": "by stochastic gradient descent with momentum",
    "adam": "by Adam",
}
"""How a student moves, for a methods section, by `method.inner`."""
FRESH = (
    "In each outer step ({{iterations}} in all) a network with random parameters took up to {{student_steps}} training "
    "steps {moved} on the distilled images"
)
POOLED = (
    "In each outer step ({{iterations}} in all) a network, out of a pool of {{pool}} whose turns came one after "
    "another, took {{window}} training steps {moved} on the distilled images. It went on from where it had stopped in "
    "an earlier outer step; where that left no room within {{student_steps}} steps, one with random parameters took "
    "its place, after a random number of steps of its own"
)
ASKED = (
    "the network's loss was then taken on up to {batch_real} originals of each class, and the images were changed so "
    "that it fell."
)


class UnrolledLoss(Method[Settings]):
    """A method of the family: it says what it is called and cites, and how it draws its windows.

    Attributes:
        window_words: which steps its loss goes back through where each network is a fresh one, for a methods section,
            in which settings stand as ``{student_steps}``.
    """

    needs: ClassVar[Needs] = "nothing"
    family = "the unrolled loss on originals"
    window_words: ClassVar[str]

    def facts(self, settings: Settings | None = None) -> Facts:
        known = settings or self.settings_type()  # type: ignore[call-arg]  # each has its own name
        template, window = FRESH, self.window_words
        if known.pooled:
            template, window = POOLED, "The loss was carried back through these {window} steps."
        return replace(
            super().facts(settings),
            outer_steps=True,
            learned_lr=known.learns_lr and known.student_lr_lr > 0,
            loss="The loss on originals of a network that was trained on the images.",
            steps=f"{template.format(moved=MOVED[known.inner])}; {ASKED} {window} The gradient through these steps was "
            "exact.",
        )

    def windows(self, settings: Settings) -> WindowRule:
        """The rule by which the steps that are differentiated are drawn."""
        from medistill.engine.sources.windows import RandomWindows

        return RandomWindows()

    def distil(
        self,
        context: Context,
        class_ids: Sequence[int],
        trajectories: Trajectories | None,
        origin: Mapping[str, Any],
    ) -> Distilled:
        from medistill.methods.unrolling.unroll import unroll

        settings = self.settings_of(context.recipe)
        return unroll(context, settings, self.windows(settings), class_ids, origin)
