"""The prune section of a recipe: which training images no method sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from medistill.recipe.section import AtMost, Count, Fraction, Section


class PruneRecipe(Section):
    """Training images that are left out before any method sees them: those of each class that a network finds hardest
    early in its training, and those whose effect on synthetic images is far from that of the others (levels 1 and 2 of
    BiLP; Xu et al. 2024)."""

    share: Fraction = 0.0
    """Share of each class's training images that is left out, those of the highest mean loss; 0 leaves none out, and
    trains no network. Never a whole class: of n images floor(share n) go."""
    epochs: Annotated[Count, AtMost(1000)] = 5
    """Epochs after each of which the loss of every training image is taken. A probe is fitted, and has one."""
    networks: Annotated[Count, AtMost(100)] = 1
    """Fresh networks over which the loss is averaged too, and fresh ones over which the effect is."""
    effect_share: Fraction = 0.0
    """Share of each class's remaining training images that is left out then, those whose effect on the gradient of
    synthetic images lies farthest from the class's mean, on either side; 0 leaves none out."""
    effect_images: Annotated[Count, AtMost(1000)] = 10
    """Images of each class, drawn at random, whose gradient the effect is measured on; all where there are fewer."""

    @property
    def active(self) -> bool:
        """Whether anything is left out."""
        return self.share > 0 or self.effect_share > 0

    @property
    def at_rest(self) -> tuple[str, ...]:
        """Its settings that came later and do nothing here: a recipe is known by the same digest without them."""
        return () if self.effect_share else ("effect_share", "effect_images")

    def dropped(self, images: int) -> int:
        """How many of a class's training images go in all, each share rounded down as it is written."""
        hardest = floored(self.share, images)
        return hardest + floored(self.effect_share, images - hardest)

    def kept(self, images: int) -> int:
        """How many of a class's training images stay."""
        return images - self.dropped(images)

    @property
    def shares(self) -> str:
        """The shares that are left out, by their settings."""
        shares = {"prune.share": self.share, "prune.effect_share": self.effect_share}
        return " and ".join(f"{name} = {share:g}" for name, share in shares.items() if share)

    @property
    def afterwards(self) -> str:
        """ " after pruning", with the shares, for a message that counts images; empty where nothing is left out."""
        return f" after pruning ({self.shares})" if self.active else ""

    def breaches(self) -> Iterator[str]:
        """By what differential privacy would be broken, with the remedy in parentheses."""
        if self.share > 0:
            yield (
                "the losses by which training images are left out see patients' images without noise (set prune.share "
                "= 0)"
            )
        if self.effect_share > 0:
            yield (
                "the effects by which training images are left out see patients' images without noise (set "
                "prune.effect_share = 0)"
            )


def floored(share: float, images: int) -> int:
    """How many of so many images a share is, rounded down as it is written."""
    return int(share * images + 1e-9)
