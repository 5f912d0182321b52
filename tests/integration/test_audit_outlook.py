"""What an audit will lack is told before a set is made, and names the class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import LEFT_OUT, Corpus
from medistill.privacy.exchange import LEAST_PEOPLE
from medistill.privacy.person_search import NOT_SEARCHED
from medistill.recipe import Recipe
from medistill.workflow.audit_outlook import audit_obstacles, say_obstacles
from tests.factories import audited


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
    searched = () if people >= LEAST_PEOPLE else (NOT_SEARCHED,)
    assert told[1:] == searched
    assert f"have {people} patients, and an audit asks for {tiny_recipe.audit.least_held_out}" in told[0]
    assert "data.test_fraction" in told[0]
    assert audit_obstacles(phantom_corpus, easier(tiny_recipe, people), quick=True) == searched


def test_a_class_of_which_half_the_patients_are_too_few_is_named(phantom_corpus: Corpus, tiny_recipe: Recipe) -> None:
    rows = phantom_corpus.rows("train")
    of_class = rows[phantom_corpus.labels[rows] == 1]
    splits = phantom_corpus.splits.copy()
    splits[of_class[phantom_corpus.groups[of_class] != phantom_corpus.groups[of_class[0]]]] = LEFT_OUT
    few = replace(phantom_corpus, splits=splits)
    said = " ".join(audit_obstacles(few, tiny_recipe))
    assert f"Class {phantom_corpus.class_names[1]} has training images of one of the patients alone" in said
    assert f"Class {phantom_corpus.class_names[0]} has" not in said
    assert f"of class {phantom_corpus.class_names[1]}" in said
    assert f"Class {phantom_corpus.class_names[1]} has" in " ".join(audit_obstacles(few, tiny_recipe, quick=True))
    assert "What would help: more patients of that class" in said
    heard = Heard()
    say_obstacles(few, tiny_recipe, heard, "Beforehand.")  # type: ignore[arg-type]
    assert heard.lines[0].startswith("Beforehand. The validation and test splits have")


def test_too_few_strangers_to_tell_chance_by_are_told(tmp_path: Path) -> None:
    """Of 20 held-out patients all are strangers; one of them has a training image too."""
    corpus, recipe = audited.corpus(tmp_path), easier(audited.RECIPE, 1)
    held_out = np.concatenate([corpus.rows("val"), corpus.rows("test")])
    groups, splits = corpus.groups.copy(), corpus.splits.copy()
    groups[held_out[:20]] = 10_000 + np.arange(20)
    splits[held_out[20:]] = LEFT_OUT
    assert audit_obstacles(replace(corpus, groups=groups, splits=splits), recipe, quick=True) == ()
    groups[held_out[0]] = groups[corpus.rows("train")[0]]
    (said,) = audit_obstacles(replace(corpus, groups=groups, splits=splits), recipe, quick=True)
    assert said == NOT_SEARCHED


def test_held_out_people_whose_images_were_used_are_counted(tmp_path: Path) -> None:
    """Three copies: plain, brighter, and under noise; a training patient's own further image is none."""
    corpus = audited.corpus(tmp_path)
    recipe = easier(audited.RECIPE, 100)
    assert audit_obstacles(corpus, recipe, quick=True) == ()
    images, groups = np.array(corpus.images), corpus.groups.copy()
    train, test = corpus.rows("train"), corpus.rows("test")
    noise = np.random.default_rng(0).normal(0, 3, images[0].shape)
    images[test[:4]] = images[train[:4]]
    images[test[1]] = images[test[1]] // 2 + 40
    images[test[2]] = np.clip(images[test[2]] + noise, 0, 255)
    groups[test[3]] = groups[train[3]]
    (said,) = audit_obstacles(replace(corpus, images=images, groups=groups), recipe, quick=True)
    held_out = len(corpus.rows("val")) + len(test)
    assert said.startswith(
        f"3 of {held_out} validation and test images that were looked at are nearly a training image of another of the "
        "patients"
    )
