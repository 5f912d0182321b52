"""Which ways of hiding a patient each search for copies finds, and how often it finds one where nobody is.

    python -m tests.bench.hidden_patients [--data FOLDER] [--labels TABLE] [--set SETTING ...] [--patients 600]
        [--each 5] [--draws 1] [--first 0] [--only NAME ...]

Sets of ``--each`` images a class are made of a corpus, phantoms at 32 pixels unless ``--data`` names a folder: one for
each way of `tests.factories.hidden_patients` and each draw, the draws numbered from ``--first``. A row is a set, with
the images that each search calls copies; a search in the features of a network is left out. The last lines count, for
each search and for all of them, the sets in which it finds a copy: of those that hold a patient, of those that nobody
has a part in, which are its false alarms, and of those that are means of training patients, where a search that finds
some is not plainly wrong. Intervals are Clopper and Pearson's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from medistill.artifacts.corpus import Corpus
from medistill.data.phantom import write_phantom
from medistill.privacy.attack import Attack
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.attacks.copies_in_mixtures import CopiesInMixtures
from medistill.privacy.exact import exact_proportion
from medistill.privacy.likeness import Originals
from medistill.privacy.person_search import PersonSearch, WaysSearch
from medistill.recipe import Recipe, load_recipe
from medistill.studies.audit.signals import AuditSignals
from medistill.workflow.prepare import prepare
from tests.factories.audit_signals import signals_of
from tests.factories.hidden_patients import HIDDEN, NOBODY, NOT_IN_PIXELS, OF_TRAINING, harmless_set, hidden_set

CONTROLS = 1
"""Images of each control that are searched by searches for people: they are not what is measured here."""
KINDS: Mapping[str, Iterable[str]] = {
    "hold a patient": [name for name in HIDDEN if name not in NOT_IN_PIXELS],
    "hold a patient whom pixels do not show": NOT_IN_PIXELS,
    "hold nobody": NOBODY,
    "are means of training patients": OF_TRAINING,
}
"""What sets do -> which."""


def searches() -> list[Attack]:
    """Every search for copies that trains nothing; for people, and the two in pixels and in structure."""
    return [one for one in all_attacks() if isinstance(one, PersonSearch) or one.name in FORMER]


FORMER = ("copies in pixels", "copies in structure")
"""Searches that compare images as they are, and have no rate of false alarms."""


def copies(signals: AuditSignals, attacks: Sequence[Attack]) -> list[int]:
    """How many images of the set each search calls copies."""
    found = []
    for attack in attacks:
        whole = signals.search.subjects
        if isinstance(attack, PersonSearch):
            signals.search.__dict__["subjects"] = (whole[0], *(one.first(CONTROLS) for one in whole[1:]))
        figures = attack.run(signals).copies
        signals.search.__dict__["subjects"] = whole
        found.append(next(one.copies for one in figures if one.subject == "distilled"))
    return found


def remember(attacks: Sequence[Attack], originals: Originals) -> None:
    """Let searches keep what they work out of the originals, which are the same for every set."""
    for attack in attacks:
        if isinstance(attack, WaysSearch):
            ways = attack.ways(originals)
            attack.__dict__["ways"] = lambda _, ways=ways: ways
        if isinstance(attack, CopiesInMixtures):
            detail = attack.detail(originals)
            attack.__dict__["detail"] = lambda _, detail=detail: detail


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def rows(
    corpus: Corpus, recipe: Recipe, attacks: Sequence[Attack], folder: Path, asked: argparse.Namespace
) -> list[tuple[str, list[int]]]:
    """Make and search every set, and print a row of each."""
    found: list[tuple[str, list[int]]] = []
    originals = None
    for draw in range(asked.first, asked.first + asked.draws):
        for name in asked.only or [*HIDDEN, *NOBODY, *OF_TRAINING]:
            make = hidden_set if name in HIDDEN else harmless_set
            signals = signals_of(make(name, corpus, asked.each, draw), corpus, recipe, folder)
            started = time.process_time()
            if originals is None:
                originals = signals.search.originals
                remember(attacks, originals)
            signals.search.__dict__["originals"] = originals
            told = copies(signals, attacks)
            say("|".join([f"{name}, draw {draw}", *map(str, told), f"{time.process_time() - started:.1f}"]))
            found.append((name, told))
    return found


def summary(found: Sequence[tuple[str, list[int]]], attacks: Sequence[Attack]) -> list[str]:
    """How many sets each search, all for people, and all together call copies, by what the sets hold."""
    people = np.array([isinstance(one, PersonSearch) for one in attacks])
    lines = []
    for kind, names in KINDS.items():
        copied = np.array([told for name, told in found if name in names], int).reshape(-1, len(attacks)) > 0
        if not len(copied):
            continue
        lines.append(f"Sets that {kind}: {len(copied)}; copies are found in")
        by = {one.display_name: copied[:, k] for k, one in enumerate(attacks)}
        for which, some in {"any search for people": people, "any search": people | True}.items():
            by[which] = np.asarray(copied[:, some].any(axis=1))
        for name, of in by.items():
            rate = exact_proportion(float(of.mean()), len(of), 0.95)
            lines.append(f"  {name}: {of.sum()} ({rate.low:.3f} to {rate.high:.3f})")
    missed = [name for name, told in found if name in HIDDEN and not any(told)]
    return [*lines, f"Not found: {', '.join(missed) or 'none'}."]


def main(words: Sequence[str]) -> None:
    """Print a row a set, and what follows of all of them."""
    parser = argparse.ArgumentParser(prog="tests.bench.hidden_patients")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--patients", type=int, default=600)
    for name, default in {"--each": 5, "--draws": 1, "--first": 0}.items():
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--only", nargs="*")
    asked = parser.parse_args(words)
    recipe, attacks = load_recipe("demo", asked.set), searches()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if asked.data is None:
            write_phantom(folder / "phantoms", patients=asked.patients, size=64)
        corpus = prepare(asked.data or folder / "phantoms", recipe, labels=asked.labels)
        say("|".join(["set", *(one.display_name for one in attacks), "processor seconds"]))
        for line in summary(rows(corpus, recipe, attacks, folder, asked), attacks):
            say(line)


if __name__ == "__main__":
    main(sys.argv[1:])
