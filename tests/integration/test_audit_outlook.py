"""What an audit will lack is told before a set is made, and names the class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import LEFT_OUT, Corpus
from medistill.privacy.exchange import LEAST_PEOPLE
from medistill.privacy.person_search import NOT_SEARCHED
from medistill.recipe import Recipe
from medistill.workflow import originals
from medistill.workflow.audit_outlook import audit_obstacles, say_obstacles
from medistill.workflow.evaluate import _tell
from medistill.workflow.near_duplicates import HeldOut, nearly_training
from tests.factories import audited


class Heard:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def easier(recipe: Recipe, least: int) -> Recipe:
    return recipe.model_copy(update={"audit": recipe.audit.model_copy(update={"least_held_out": least})})


def obstacles(corpus: Corpus, recipe: Recipe, *, quick: bool = False) -> tuple[str, ...]:
    return audit_obstacles(corpus, HeldOut.of(corpus), recipe, quick=quick)


def test_too_few_held_out_people_are_counted_with_what_would_help(phantom_corpus: Corpus, tiny_recipe: Recipe) -> None:
    apart = np.isin(phantom_corpus.groups, phantom_corpus.groups[phantom_corpus.rows("train")], invert=True)
    people = len(set(phantom_corpus.groups[apart].tolist()))
    told = obstacles(phantom_corpus, tiny_recipe, quick=True)
    searched = () if people >= LEAST_PEOPLE else (NOT_SEARCHED,)
    assert told[1:] == searched
    assert (
        f"have {people} patients to compare with, and an audit asks for {tiny_recipe.audit.least_held_out}" in told[0]
    )
    assert "data.test_fraction" in told[0]
    assert obstacles(phantom_corpus, easier(tiny_recipe, people), quick=True) == searched


def test_a_class_of_which_half_the_patients_are_too_few_is_named(phantom_corpus: Corpus, tiny_recipe: Recipe) -> None:
    rows = phantom_corpus.rows("train")
    of_class = rows[phantom_corpus.labels[rows] == 1]
    splits = phantom_corpus.splits.copy()
    splits[of_class[phantom_corpus.groups[of_class] != phantom_corpus.groups[of_class[0]]]] = LEFT_OUT
    few = replace(phantom_corpus, splits=splits)
    said = " ".join(obstacles(few, tiny_recipe))
    assert f"Class {phantom_corpus.class_names[1]} has training images of one of the patients alone" in said
    assert f"Class {phantom_corpus.class_names[0]} has" not in said
    assert f"of class {phantom_corpus.class_names[1]}" in said
    assert f"Class {phantom_corpus.class_names[1]} has" in " ".join(obstacles(few, tiny_recipe, quick=True))
    assert "What would help: more patients of that class" in said
    heard = Heard()
    say_obstacles(few, HeldOut.of(few), tiny_recipe, heard, "Beforehand.")  # type: ignore[arg-type]
    assert heard.lines[0].startswith("Beforehand. The validation and test splits have")


def test_too_few_strangers_to_tell_chance_by_are_told(tmp_path: Path) -> None:
    """Of 20 held-out patients all are strangers; one of them has a training image too."""
    corpus, recipe = audited.corpus(tmp_path), easier(audited.RECIPE, 1)
    held_out = np.concatenate([corpus.rows("val"), corpus.rows("test")])
    groups, splits = corpus.groups.copy(), corpus.splits.copy()
    groups[held_out[:20]] = 10_000 + np.arange(20)
    splits[held_out[20:]] = LEFT_OUT
    assert obstacles(replace(corpus, groups=groups, splits=splits), recipe, quick=True) == ()
    groups[held_out[0]] = groups[corpus.rows("train")[0]]
    (said,) = obstacles(replace(corpus, groups=groups, splits=splits), recipe, quick=True)
    assert said == NOT_SEARCHED


def with_copies(corpus: Corpus) -> Corpus:
    """Three copies of training images among the test images: plain, brighter, under noise; a fourth, and a flat image
    beside a flat training image, are of the training patient."""
    images, groups = np.array(corpus.images), corpus.groups.copy()
    train, test = corpus.rows("train"), corpus.rows("test")
    noise = np.random.default_rng(0).normal(0, 3, images[0].shape)
    images[test[:4]] = images[train[:4]]
    images[test[1]] = images[test[1]] // 2 + 40
    images[test[2]] = np.clip(images[test[2]] + noise, 0, 255)
    groups[test[3]] = groups[train[3]]
    images[[test[5], train[9]]] = 90
    return replace(corpus, images=images, groups=groups)


def test_images_that_are_nearly_a_training_image_of_another_are_seen(tmp_path: Path) -> None:
    """Held against numpy's own correlation."""
    corpus = with_copies(audited.corpus(tmp_path))
    rows, train = corpus.rows("test"), corpus.rows("train")
    found = nearly_training(corpus, rows)
    assert found[:3].all()
    flat = corpus.images.reshape(len(corpus.images), -1).astype(float)
    standard = (flat - flat.mean(axis=1, keepdims=True)) / np.maximum(flat.std(axis=1, keepdims=True), 1e-3)
    with np.errstate(invalid="ignore"):
        apart = standard - standard[train].mean(axis=0)
        apart /= np.linalg.norm(apart, axis=1, keepdims=True)
    alike = (apart[rows] @ apart[train].T >= 0.97) & (corpus.groups[rows][:, None] != corpus.groups[train])
    shown = flat[rows].std(axis=1) > 0
    np.testing.assert_array_equal(found, alike.any(axis=1) & shown)
    assert found.sum() == 3


def test_people_whose_images_were_used_are_left_out_with_all_images_and_counted(tmp_path: Path) -> None:
    corpus = with_copies(audited.corpus(tmp_path))
    test, val = corpus.rows("test"), corpus.rows("val")
    groups = corpus.groups.copy()
    groups[val[0]] = groups[test[0]]  # a further image of one of the three
    corpus = replace(corpus, groups=groups)
    held_out = HeldOut.of(corpus)
    everybody = np.concatenate([val, test])
    assert held_out.rows.tolist() == sorted(set(everybody.tolist()) - {*test[:3].tolist(), int(val[0])})
    assert (held_out.left_out, held_out.patients) == (3, len(np.unique(groups[everybody])) - 3)
    recipe, heard = easier(audited.RECIPE, 100), Heard()
    assert audit_obstacles(corpus, held_out, recipe, quick=True) == (), "it can pass without them"
    say_obstacles(corpus, held_out, recipe, heard, "Beforehand.", quick=True)  # type: ignore[arg-type]
    (said,) = heard.lines
    people = held_out.patients + 3
    assert said.startswith(f"An audit leaves out 3 of {people} patients of the validation and test splits, ")
    fewer = replace(held_out, patients=99)
    assert "have 99 patients to compare with" in audit_obstacles(corpus, fewer, recipe, quick=True)[0]


def test_an_evaluation_says_how_many_test_images_are_nearly_training_images(tmp_path: Path) -> None:
    corpus, heard = audited.corpus(tmp_path), Heard()
    _tell(originals.Tested(corpus, "apart"), heard)  # type: ignore[arg-type]
    assert heard.lines == []
    _tell(originals.Tested(with_copies(corpus), "apart"), heard)  # type: ignore[arg-type]
    (said,) = heard.lines
    count = len(corpus.rows("test"))
    assert said.startswith(f"Nearly a training image of another of the patients: 3 of {count} test images.")
