"""Refusals: recipes that no study of exchange can be made with."""

from __future__ import annotations

from medistill.errors import UsageError
from medistill.methods.registry import recipe_facts
from medistill.recipe import Recipe
from medistill.studies.exchange.invented import invented_hospitals


def refuse_recipe(recipe: Recipe) -> None:
    """Refuse a recipe before anything is read.

    Raises:
        UsageError: with the setting that cannot be studied.
    """
    if invented_hospitals(recipe.exchange):
        _refuse_private(recipe)
    if recipe.privacy.mode == "dp" and not recipe.method.one_release:
        raise UsageError(
            "the recipe asks for experts under differential privacy",
            expected="a recipe without it, or with a method that releases once (private-means), whose sets alone the "
            "budget is of",
            do="set privacy.mode = none for the study, or choose --method private-means",
        )
    if recipe.data.zca:
        raise UsageError(
            "the recipe whitens the images",
            expected="data.zca = false, since sets with a whitening of each site's own cannot be united",
            do="add --set data.zca=false",
        )
    facts = recipe_facts(recipe)
    if recipe.exchange.hospital and (facts.label_values or facts.target_vectors):
        raise UsageError(
            f"{facts.display_name} makes sets whose labels are values or target vectors, which cannot stand beside the "
            "few originals of exchange.hospital",
            expected="sets with classes or probabilities",
            do="leave exchange.hospital empty, or take another --method",
        )


def _refuse_private(recipe: Recipe) -> None:
    if recipe.privacy.mode == "dp":
        raise UsageError(
            f"exchange.invented = {recipe.exchange.invented} with a recipe under differential privacy",
            expected="real sites: the budget of real patients would be spent for hospitals that do not exist",
            do="set exchange.invented = 0",
        )
