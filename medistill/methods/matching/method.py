"""The family of methods that match the trajectories of experts."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from medistill.methods.base import Facts, Method, Needs
from medistill.recipe.matching import MatchingRecipe

Settings = TypeVar("Settings", bound=MatchingRecipe)


class TrajectoryMatching(Method[Settings]):
    """A method of the family: it says what it is called and cites; its settings say what it does."""

    needs: ClassVar[Needs] = "experts"
    display_name: ClassVar[str]
    phrase: ClassVar[str]
    citation: ClassVar[tuple[str, str]]
    """How the phrase cites the work, and the work."""

    def facts(self, settings: Settings | None = None) -> Facts:
        return Facts(
            display_name=self.display_name,
            family="trajectory matching",
            phrase=self.phrase,
            citations=dict([self.citation]),
            experts=True,
            outer_steps=True,
        )
