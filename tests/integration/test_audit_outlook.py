"""What an audit will lack is told before a set is made, and names the class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medistill.artifacts.corpus import LEFT_OUT, Corpus
from medistill.recipe import Recipe
from medistill.workflow.audit_outlook import audit_obstacles, say_obstacles


class Heard:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def easier(recipe: Recipe, least: int) -> Recipe:
    return recipe.model_copy(update={"audit": recipe.audit.model_copy(update={"least_held_out": least})})


def test_too_few_held_out_people_are_counted_with_what_would_help(phantom_corpus: Corpus, tiny_recipe: Recipe) -> None:
    apart = np.isin(phantom_corpus.groups, phantom_corpus.groups[phantom_corpus.rows("train")], invert=True)
    people = len(set(phantom_corpus.groups[apart].tolist()))
    told = audit_obstacles(phantom_corpus, tiny_recipe, quick=True)
    assert len(told) == 1
    assert f"have {people} patients, and an audit asks for {tiny_recipe.audit.least_held_out}" in told[0]
    assert "data.test_fraction" in told[0]
    assert audit_obstacles(phantom_corpus, easier(tiny_recipe, people), quick=True) == ()


def test_a_class_of_which_half_the_patients_are_too_few_is_named(phantom_corpus: Corpus, tiny_recipe: Recipe) -> None:
    rows = phantom_corpus.rows("train")
    of_class = rows[phantom_corpus.labels[rows] == 1]
    splits = phantom_corpus.splits.copy()
    splits[of_class[phantom_corpus.groups[of_class] != phantom_corpus.groups[of_class[0]]]] = LEFT_OUT
    few = replace(phantom_corpus, splits=splits)
    said = " ".join(audit_obstacles(few, tiny_recipe))
    assert f"of class {phantom_corpus.class_names[1]}" in said
    assert "What would help: more patients of that class" in said
    heard = Heard()
    say_obstacles(few, tiny_recipe, heard, "Beforehand.")  # type: ignore[arg-type]
    assert heard.lines[0].startswith("Beforehand. The validation and test splits have")
