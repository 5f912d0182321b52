"""Stored networks: what the networks of an evaluation answered, and where it lies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import cache_root
from medistill.artifacts.kept import keep_tensors, read_kept
from medistill.errors import UsageError
from medistill.evaluate.predictions import OF_THE_SET, Arm
from medistill.evaluate.protocol import Answers, Arms

TRAINING = 1
"""Raised when networks come to be trained otherwise: what was kept of the former ones is no yardstick any more."""
YARDSTICKS = "yardsticks"
"""Folder of the cache in which networks on originals lie."""


@dataclass(frozen=True)
class Place:
    """Where what is found out about an arm lies, and of all that decides it.

    Attributes:
        folder: of the run, or of the cache where the arm is the same beside another set.
        key: what is stored under another key is not taken.
    """

    folder: Path
    key: str


def places_of(folder: Path, arms: Arms, decisive: bytes) -> dict[Arm, Place]:
    """The place of each arm: ``folder`` where its images are the set's. Networks on originals are trained once for all
    sets of a corpus, and kept in the cache."""
    places = {}
    for arm in arms.names:
        key = hashlib.sha256(decisive + f"{TRAINING} {arm} {arms.identity(arm)}".encode()).hexdigest()
        places[arm] = Place(folder if arm in OF_THE_SET else private_folder(cache_root() / YARDSTICKS / key), key)
    return places


class StoredNetworks:
    """The answers of the networks that were asked already, on disk and here.

    Args:
        places: where the answers of each arm lie.
        count: networks an arm.
        say: told of answers that are damaged, or of a version without checksums: their networks are trained again.
    """

    def __init__(self, places: Mapping[Arm, Place], count: int, say: Callable[[str], None]) -> None:
        self.places, self.count = places, count
        wanted = [(arm, number) for arm in places for number in range(self.count)]
        self.damaged: set[Arm] = set()
        stored = {}
        for arm, number in wanted:
            removed: list[str] = []
            stored[arm, number] = _load_answers(self.path(arm, number), places[arm].key, removed.append)
            for words in removed:
                self.damaged.add(arm)
                say(words)
        self.found = {which: told for which, told in stored.items() if told is not None}
        self.missing = [which for which in wanted if which not in self.found]

    def refuse_another(self, folder: Path, arm: Arm) -> None:
        """Refuse a folder with a finished evaluation in which no network of ``arm`` is of this one.

        Raises:
            UsageError: it holds the evaluation of something else.
        """
        known = any(of == arm for of, _ in self.found)
        if (folder / "evaluation.json").is_file() and not known and arm not in self.damaged:
            raise UsageError(
                f"{folder} holds the evaluation of something else: another set, corpus, network, recipe or device",
                expected="a folder that is new, or the one of this evaluation",
                do="choose another --out, or remove that folder",
            )

    def path(self, arm: Arm, number: int) -> Path:
        """Where the answers of one network lie."""
        return private_folder(self.places[arm].folder / "networks") / f"{arm}_{number:03d}.safetensors"

    def add(self, arm: Arm, number: int, told: Answers) -> None:
        """Keep the answers of a network that has just been trained."""
        _save_answers(self.path(arm, number), told, self.places[arm].key)
        self.found[arm, number] = told

    def of(self, arm: Arm) -> list[Answers]:
        """The answers of an arm's networks, in the order of their numbers."""
        return [self.found[arm, number] for number in range(self.count)]


def _save_answers(path: Path, told: Answers, key: str) -> None:
    validation, test = told.probabilities
    arrays = {"validation": validation, "test": test, "seconds": np.array([told.seconds])}
    keep_tensors(path, arrays, {"key": key})


def _load_answers(path: Path, key: str, say: Callable[[str], None]) -> Answers | None:
    arrays = read_kept(path, key, "stored predictions", say)
    if arrays is None:
        return None
    return Answers((arrays["validation"], arrays["test"]), float(arrays["seconds"][0]))
