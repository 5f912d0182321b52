"""Audit outlook: why an audit could not pass a set of this corpus, told before hours are spent on either."""

from __future__ import annotations

import math

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.privacy.exchange import LEAST_PEOPLE
from medistill.privacy.person_search import NOT_SEARCHED
from medistill.privacy.score_attack import ATTACKED_AT
from medistill.progress import Progress
from medistill.recipe import UNITS, Recipe
from medistill.workflow.near_duplicates import HeldOut
from medistill.workflow.shadows import plan_shadows, shadow_obstacle

LEFT_OUT = (
    "An audit leaves out {count} of {people} {unit} of the validation and test splits, with all images: an image is "
    "nearly a training image of another of the {unit}, as if one person had two names or a picture were there twice. "
    "What would help: one copy of every image, and a table that gives all images of a person one name."
)
FEWER_IMAGES = (
    "more patients of that class, its union with another class, or a smaller method.ipc (or "
    "method.quantise.min_cluster_size)"
)


def audit_obstacles(corpus: Corpus, held_out: HeldOut, recipe: Recipe, *, quick: bool = False) -> tuple[str, ...]:
    """What an audit will lack, a sentence each with what would help; empty where it can judge.

    Args:
        corpus: without what is pruned.
        held_out: with whom the audit compares.
        recipe: of the set, and of its audit.
        quick: no attack is to be made for which networks are trained.
    """
    people, unit = held_out.patients, UNITS[corpus.split_unit]
    least, found = recipe.audit.least_held_out, []
    if min(people, len(held_out.rows)) < least:
        share = people / max(1, len(np.unique(corpus.groups)))
        in_all = f", about {math.ceil(least / share)} in all as they are split now" if share else ""
        found.append(
            f"The validation and test splits have {people} {unit} to compare with, and an audit asks for {least}. What "
            f"would help: more {unit}{in_all}, or larger data.val_fraction and data.test_fraction."
        )
    if len(set(corpus.groups[held_out.rows]) - set(corpus.groups[corpus.rows("train")])) < LEAST_PEOPLE:
        found.append(NOT_SEARCHED)
    found += [
        f"Class {name} has training images of one of the {unit} alone, so that whatever a set shows of the class it "
        f"shows of that one. What would help: {FEWER_IMAGES}."
        for name in classes_of_one(corpus)
    ]
    if quick:
        return tuple(found)
    plan = plan_shadows(corpus, recipe)
    others = len(np.unique(corpus.groups[plan.rows[plan.ordinary]]))
    if others < ATTACKED_AT:
        found.append(
            f"The training split has {others} {unit} for the attacks on membership, which may be wrong about 1 in "
            f"{ATTACKED_AT} and need as many. What would help: more {unit}."
        )
    if reason := shadow_obstacle(plan, corpus, recipe):
        found.append(f"Sets of half of the patients cannot be made: {reason}. What would help: {FEWER_IMAGES}.")
    return tuple(found)


def classes_of_one(corpus: Corpus) -> tuple[str, ...]:
    """Classes of which a single patient has all training images."""
    rows = corpus.rows("train")
    people = [len(np.unique(corpus.groups[rows[corpus.labels[rows] == c]])) for c in range(len(corpus.class_names))]
    return tuple(name for name, count in zip(corpus.class_names, people, strict=True) if count == 1)


def say_obstacles(
    corpus: Corpus, held_out: HeldOut, recipe: Recipe, progress: Progress, opening: str, *, quick: bool = False
) -> None:
    """Tell what an audit will lack (see `audit_obstacles`), after ``opening``, and whom it leaves out; nothing where it
    can judge and leaves out nobody."""
    if count := held_out.left_out:
        progress.say(LEFT_OUT.format(count=count, people=held_out.patients + count, unit=UNITS[corpus.split_unit]))
    if obstacles := audit_obstacles(corpus, held_out, recipe, quick=quick):
        progress.say(" ".join([opening, *obstacles]))
