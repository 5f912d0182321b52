"""How often searches for people find somebody in means of strangers, who are in neither split.

    python -m tests.bench.means_of_strangers [--data FOLDER] [--labels TABLE] [--set SETTING ...] [--patients 600]
        [--donors 0.4] [--parts 5] [--sets 4] [--each 10] [--splits 5] [--share 0.7] [--leave NAME ...]

A mean of many is near to whoever looks average, whether that is a training patient or a held-out one; so no search may
be surer of the former. ``--donors`` of the patients, drawn anew ``--parts`` times, give their images to sets: blurred
images of one, means of 3, 5, 20 and 50 patients, and cells as centroids stand for them, of at least 5 and 20 patients
(`medistill.quantisation.cells`, of four donors in five). A set has ``--each`` images a class. The others are divided
``--splits`` times, ``--share`` of them as training patients; no donor is among them. A row is a kind; draws of one set
are not independent of each other.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from medistill.artifacts.corpus import Corpus
from medistill.data.phantom import write_phantom
from medistill.privacy.likeness import Originals, at_working_size
from medistill.privacy.person_search import PersonSearch
from medistill.quantisation.cells import quantise
from medistill.recipe import load_recipe
from medistill.workflow.prepare import prepare
from tests.bench.false_alarms import draws, everybody, told
from tests.bench.hidden_patients import remember, say, searches

Make = Callable[[Corpus, np.ndarray, int, np.random.Generator], np.ndarray]
"""Corpus, rows of one class of the donors, how many images, random numbers -> (count, C, H, W)."""


def means_of(patients: int, blur: float = 0.0) -> Make:
    """Means of one image each of so many patients, or of all where there are fewer."""

    def make(corpus: Corpus, rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        found = []
        for _ in range(count):
            mixed = rng.permutation(rows)
            _, first = np.unique(corpus.groups[mixed], return_index=True)
            taken = mixed[np.sort(first)][:patients]
            found.append(np.asarray(corpus.images[taken], float).mean(axis=0) / 255)
        return np.asarray(gaussian_filter(np.stack(found), (0, 0, blur, blur)))

    return make


def cells_of(least: int) -> Make:
    """Means of cells; of fewer cells than images, where there are not patients enough, some come twice."""

    def make(corpus: Corpus, rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        people = rng.permutation(np.unique(corpus.groups[rows]))
        rows = rows[np.isin(corpus.groups[rows], people[: 4 * len(people) // 5])]
        images = np.asarray(corpus.images[rows], np.float32) / 255
        cells = quantise(
            images.reshape(len(rows), -1), corpus.groups[rows], count, least=least, passes=20, refine=100, batch=1024,
            seed=int(rng.integers(2**31)), name="donors", tick=lambda _: None,
        )  # fmt: skip
        return cells.centres.reshape(-1, *images.shape[1:])[np.arange(count) % len(cells.centres)]

    return make


KINDS: Mapping[str, Make] = {
    "one stranger, blurred": means_of(1, 2.0),
    **{f"means of {k} strangers": means_of(k) for k in (3, 5, 20, 50)},
    **{f"cells of at least {k} strangers": cells_of(k) for k in (5, 20)},
}


def made(kind: str, corpus: Corpus, donors: np.ndarray, asked: argparse.Namespace, part: int) -> torch.Tensor:
    """Sets of this kind one after the other, grey values (sets x classes x each, C, H, W) at the working size."""
    rng, images = np.random.default_rng([part, list(KINDS).index(kind)]), []
    for _ in range(asked.sets):
        for label in range(len(corpus.class_names)):
            rows = np.flatnonzero((corpus.labels == label) & np.isin(corpus.groups, donors))
            images.append(KINDS[kind](corpus, rows, asked.each, rng))
    return at_working_size(torch.from_numpy(np.concatenate(images).clip(-0.5, 1.5).astype(np.float32)))


def without(donors: np.ndarray, whole: Originals) -> Originals:
    """Everybody but the donors, numbered anew."""
    stays = np.flatnonzero(~np.isin(whole.groups[whole.people], donors))
    groups, people = np.unique(whole.groups[whole.people[stays]], return_inverse=True)
    of_train = np.arange(len(groups)) == 0  # who is in training is drawn later
    return replace(
        whole, grey=whole.grey[stays], rows=whole.rows[stays], people=people, of_train=of_train, groups=groups
    )


def main(words: Sequence[str]) -> None:
    """Print a row a kind, and what follows of all of them."""
    parser = argparse.ArgumentParser(prog="tests.bench.means_of_strangers")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--leave", nargs="*", default=[])
    for name, default in {"--patients": 600, "--parts": 5, "--sets": 4, "--each": 10, "--splits": 5}.items():
        parser.add_argument(name, type=int, default=default)
    for name, share in {"--donors": 0.4, "--share": 0.7}.items():
        parser.add_argument(name, type=float, default=share)
    asked = parser.parse_args(words)
    people = [one for one in searches() if isinstance(one, PersonSearch) and one.name not in asked.leave]
    with tempfile.TemporaryDirectory() as folder:
        data = asked.data or Path(folder) / "phantoms"
        if asked.data is None:
            write_phantom(data, patients=asked.patients, size=64)
        corpus = prepare(data, load_recipe("demo", asked.set), labels=asked.labels)
    whole = everybody(corpus)
    asked.each, per_class = asked.each * len(corpus.class_names), asked.each
    every: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for part in range(asked.parts):
        drawn = np.random.default_rng([part, 3]).permutation(whole.groups)
        donors = drawn[: int(asked.donors * len(drawn))]
        originals = without(donors, whole)
        for one in people:
            one.__dict__.clear()
        remember(people, originals)
        for kind, found in every.items():
            images = made(kind, corpus, donors, argparse.Namespace(**{**vars(asked), "each": per_class}), part)
            found += list(draws(images, people, originals, asked))
            of = np.stack(found)
            say(told(f"{kind}, {part + 1} of {asked.parts} draws of donors", np.asarray(of.any(axis=1))))
    for kind, found in every.items():
        of = np.stack(found)
        say(told(kind, np.asarray(of.any(axis=1))))
        for k, one in enumerate(people):
            if of[:, k].any():
                say(told(f"  by the search in {one.display_name}", of[:, k]))
    of = np.concatenate([np.stack(found) for found in every.values()])
    for k, one in enumerate(people):
        say(told(f"Search in {one.display_name}", of[:, k]))
    say(told("All searches", np.asarray(of.any(axis=1))))


if __name__ == "__main__":
    main(sys.argv[1:])
