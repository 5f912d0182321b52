"""Variants: other ways of making the sets of a study, each under a name, as overrides of its recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from medistill.recipe.section import Names, Text

MOST_VARIANTS = 20
"""Variants that a study may have."""
OF_A_SET = ("method", "privacy", "prune")
"""Sections that decide how a set is made and nothing about the corpus, or about who learns from sets."""


def of_sets_alone(variants: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The variants, if each changes nothing but how sets are made.

    Raises:
        ValueError: one has no name, or changes something else.
    """
    for name, overrides in variants.items():
        if not name.strip():
            raise ValueError("a name for each variant")
        for override in overrides:
            if override.partition(".")[0] not in OF_A_SET or "=" not in override:
                raise ValueError(
                    f"settings of {', '.join(OF_A_SET)} as section.key=value, since a variant changes nothing but how "
                    f"sets are made; '{name}' has {override}"
                )
    return variants


Variants = Annotated[dict[Text, Names], Field(max_length=MOST_VARIANTS), AfterValidator(of_sets_alone)]
"""Name -> ``section.key=value`` overrides of the recipe; none names the recipe as it is."""
