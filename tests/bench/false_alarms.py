"""How often searches for people find somebody in sets in which nobody is, over many draws of sets and of patients.

    python -m tests.bench.false_alarms [--data FOLDER] [--labels TABLE] [--set SETTING ...] [--others SETTING ...]
        [--patients 600] [--images 60] [--each 15] [--splits 4] [--share 0.6]

Images that nobody of the corpus has any part in are made once, ``--images`` of each kind, and so is their likeness to
everybody. Sets are ``--each`` of one kind that no other set has. For each set and each of ``--splits`` draws all
patients are divided anew, ``--share`` of them as training patients. ``--others`` reads the same folder under other
settings, such as another site, whose people are then kinds of their own.

A row is a kind. The last lines count the sets in which a search was sure of somebody beyond chance, and of these the
sets in which it called an image a copy, for which an image has to be near enough too; intervals are Clopper and
Pearson's over all draws. Draws of one set are not independent of each other.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from medistill.artifacts.corpus import Corpus
from medistill.data.phantom import write_phantom
from medistill.privacy.copy_search import AuditSubject, CopySignals
from medistill.privacy.exact import exact_proportion
from medistill.privacy.exchange import exchanged, thresholds
from medistill.privacy.likeness import Likenesses, Originals, at_working_size, likenesses_of
from medistill.privacy.person_search import PersonSearch, WaysSearch, rate_of_each
from medistill.recipe import load_recipe
from medistill.training.images import grey_of
from medistill.workflow.prepare import prepare
from tests.bench.hidden_patients import remember, say, searches
from tests.factories.hidden_patients import nobody_of

COPY_RATIO = 0.5
"""The recipe's audit.copy_ratio."""


def everybody(corpus: Corpus) -> Originals:
    """All images of a corpus; who is a training patient is drawn later."""
    rows = np.arange(len(corpus.labels))
    groups, people = np.unique(corpus.groups, return_inverse=True)
    grey = at_working_size(grey_of(corpus, rows, torch.device("cpu")))
    return Originals(grey, rows, people, np.arange(len(groups)) == 0, groups)


def found_by(search: PersonSearch, images: torch.Tensor, like: np.ndarray | None, originals: Originals) -> Likenesses:
    """What a search knows of images (Q, C, H, W); ``like`` (W, Q, N), of a search whose likeness knows of no split."""
    nobody = np.full(len(images), -1)
    if like is not None:
        return likenesses_of(like.copy(), nobody, originals)
    subject, signals = SimpleNamespace(grey=images, own=nobody), SimpleNamespace(originals=originals)
    return search.likenesses([cast(AuditSubject, subject)], cast(CopySignals, signals))[0]


def judged(search: PersonSearch, found: Likenesses, rng: np.random.Generator) -> tuple[bool, bool]:
    """Whether the search is sure of somebody, and whether it calls an image a copy."""
    by_chance = exchanged(found.held_out, rate_of_each(), rng)
    asked = thresholds(by_chance, rate_of_each())
    _, copied = found.judged(asked, rate_of_each(), search.limit(COPY_RATIO))
    return bool(found.sure(asked, rate_of_each()).any()), bool(copied.any())


def draws(
    images: torch.Tensor, people: Sequence[PersonSearch], originals: Originals, asked: argparse.Namespace
) -> Iterator[np.ndarray]:
    """Of every set and every division of the patients: bool (searches, 2), sure, and a copy."""
    like = [
        np.stack([way(images).numpy() for way in one.ways(originals)]) if isinstance(one, WaysSearch) else None
        for one in people
    ]
    for split in range(asked.splits):
        for first in range(0, len(images) - asked.each + 1, asked.each):
            some, rng = slice(first, first + asked.each), np.random.default_rng([split, first])
            of_train = rng.permutation(len(originals.groups)) < asked.share * len(originals.groups)
            divided = replace(originals, of_train=of_train)
            yield np.array(
                [
                    judged(one, found_by(one, images[some], None if w is None else w[:, some], divided), rng)
                    for one, w in zip(people, like, strict=True)
                ]
            )


def kinds(corpus: Corpus, others: Corpus | None, count: int) -> Mapping[str, np.ndarray]:
    """Kind -> images (count, C, H, W) of nobody."""
    rng, shape = np.random.default_rng(8), corpus.images.shape[1:]
    strange = None
    if others is not None:
        rows = rng.choice(len(others.labels), 3 * count, replace=len(others.labels) < 3 * count)
        strange = grey_of(others, rows, torch.device("cpu")).numpy()
    return nobody_of(shape, count, rng, strange)


def told(name: str, of: np.ndarray) -> str:
    """A line on draws (D, 2)."""
    parts = []
    for word, column in zip(("sure", "copies"), of.T, strict=True):
        rate = exact_proportion(float(column.mean()), len(column), 0.95)
        parts.append(f"{word} in {column.sum()} of {len(column)} ({rate.low:.4f} to {rate.high:.4f})")
    return f"{name}: {', '.join(parts)}"


def main(words: Sequence[str]) -> None:
    """Print a row a kind, and what follows of all of them."""
    parser = argparse.ArgumentParser(prog="tests.bench.false_alarms")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--others", action="append", default=[])
    for name, default in {"--patients": 600, "--images": 60, "--each": 15, "--splits": 4}.items():
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--share", type=float, default=0.6)
    asked = parser.parse_args(words)
    people = [one for one in searches() if isinstance(one, PersonSearch)]
    with tempfile.TemporaryDirectory() as made:
        data: Any = asked.data or Path(made) / "phantoms"
        if asked.data is None:
            write_phantom(data, patients=asked.patients, size=64)
        corpus = prepare(data, load_recipe("demo", asked.set), labels=asked.labels)
        others = prepare(data, load_recipe("demo", asked.others), labels=asked.labels) if asked.others else None
        originals = everybody(corpus)
        remember(people, originals)
        every = []
        for kind, images in kinds(corpus, others, asked.images).items():
            small = at_working_size(torch.from_numpy(np.clip(images, -0.5, 1.5).astype(np.float32)))
            found = np.stack(list(draws(small, people, originals, asked)))
            say(told(kind, np.asarray(found.any(axis=1))))
            every.append(found)
    found = np.concatenate(every)
    for k, one in enumerate(people):
        say(told(f"Search in {one.display_name}", found[:, k]))
    say(told("All searches", np.asarray(found.any(axis=1))))


if __name__ == "__main__":
    main(sys.argv[1:])
