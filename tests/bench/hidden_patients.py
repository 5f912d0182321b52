"""Which ways of hiding a patient each search for copies finds, and how often it finds one where nobody is.

    python -m tests.bench.hidden_patients [--data FOLDER] [--patients 600] [--each 5] [--draws 1] [--only NAME ...]

Sets of ``--each`` images a class are made of a corpus at 32 pixels, phantoms unless ``--data`` names a folder: one for
each way of `tests.factories.hidden_patients`, which all hold patients, and harmless ones, which hold nobody. A row is a
set, with the images that each search calls copies; a search in the features of a network is left out. The last lines
count the sets that no search finds, with Clopper and Pearson's interval over all draws of the harmless ones.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from medistill.data.phantom import write_phantom
from medistill.privacy.attack import Attack
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.exact import exact_proportion
from medistill.privacy.likeness import Originals
from medistill.privacy.person_search import PersonSearch
from medistill.recipe import load_recipe
from medistill.studies.audit.signals import AuditSignals
from medistill.workflow.prepare import prepare
from tests.factories.audit_signals import signals_of
from tests.factories.hidden_patients import HARMLESS, HIDDEN, harmless_set, hidden_set

CONTROLS = 5
"""Images of each control that are searched: they are not what is measured here."""


def searches() -> list[Attack]:
    """Every search for copies that trains nothing."""
    return [one for one in all_attacks() if one.family == "copies" and "features" not in one.name]


def copies(signals: AuditSignals, attacks: Sequence[Attack]) -> list[int]:
    """How many images of the set each search calls copies."""
    found = (attack.run(signals).copies for attack in attacks)
    return [next(one.copies for one in figures if one.subject == "distilled") for figures in found]


def remember(attacks: Sequence[Attack], originals: Originals) -> None:
    """Let searches for people keep what they work out of the originals, which are the same for every set."""
    for attack in attacks:
        if isinstance(attack, PersonSearch):
            ways = attack.ways(originals)
            attack.__dict__["ways"] = lambda _, ways=ways: ways


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(words: Sequence[str]) -> None:
    """Print a row a set."""
    parser = argparse.ArgumentParser(prog="tests.bench.hidden_patients")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--patients", type=int, default=600)
    parser.add_argument("--each", type=int, default=5)
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--only", nargs="*")
    asked, recipe, attacks = parser.parse_args(words), load_recipe("demo"), searches()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if asked.data is None:
            write_phantom(folder / "phantoms", patients=asked.patients, size=64)
        corpus = prepare(asked.data or folder / "phantoms", recipe)
        say("|".join(["set", *(one.display_name for one in attacks), "seconds"]))
        missed, false, tried, before = [], 0, 0, None
        for name in asked.only or [*HIDDEN, *HARMLESS]:
            for draw in range(asked.draws):
                make = hidden_set if name in HIDDEN else harmless_set
                signals = signals_of(make(name, corpus, asked.each, draw), corpus, recipe, folder)
                if before is not None:
                    signals.search.__dict__["originals"] = before
                subjects = signals.search.subjects
                signals.search.__dict__["subjects"] = (subjects[0], *(one.first(CONTROLS) for one in subjects[1:]))
                started = time.perf_counter()
                found = copies(signals, attacks)
                if before is None:
                    before = signals.search.originals
                    remember(attacks, before)
                say("|".join([name, *map(str, found), f"{time.perf_counter() - started:.1f}"]))
                if name in HIDDEN and not any(found):
                    missed.append(name)
                if name in HARMLESS:
                    tried, false = tried + 1, false + any(found)
        say(f"Not found: {', '.join(missed) or 'none'}.")
        if tried:
            rate = exact_proportion(false / tried, tried, 0.95)
            say(
                f"Harmless sets in which a search found a copy: {false} of {tried} ({rate.low:.3f} to {rate.high:.3f})."
            )


if __name__ == "__main__":
    main(sys.argv[1:])
