"""The prune section of a recipe: which training images no method sees."""

from __future__ import annotations

from typing import Annotated

from medistill.recipe.section import AtMost, Count, Fraction, Section


class PruneRecipe(Section):
    """Training images that are left out before any method sees them: those of each class that a network finds hardest
    early in its training (level 1 of BiLP; Xu et al. 2024)."""

    share: Fraction = 0.0
    """Share of each class's training images that is left out, those of the highest mean loss; 0 leaves none out, and
    trains no network. Never a whole class: of n images floor(share n) go."""
    epochs: Annotated[Count, AtMost(1000)] = 5
    """Epochs after each of which the loss of every training image is taken. A probe is fitted, and has one."""
    networks: Annotated[Count, AtMost(100)] = 1
    """Fresh networks over which the loss is averaged too."""

    @property
    def active(self) -> bool:
        """Whether anything is left out, and the losses are needed."""
        return self.share > 0

    def dropped(self, images: int) -> int:
        """How many of a class's training images go: floor(share * images), as the share is written."""
        return int(self.share * images + 1e-9)

    def kept(self, images: int) -> int:
        """How many of a class's training images stay."""
        return images - self.dropped(images)

    @property
    def afterwards(self) -> str:
        """ " after pruning", with the share, for a message that counts images; empty where nothing is left out."""
        return f" after pruning (prune.share = {self.share:g})" if self.active else ""

    def breaches(self) -> list[str]:
        """By what differential privacy would be broken, with the remedy in parentheses."""
        if not self.active:
            return []
        return [
            "the losses by which training images are left out see patients' images without noise (set prune.share = 0)"
        ]
