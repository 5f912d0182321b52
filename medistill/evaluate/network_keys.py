"""Keys of trained networks: all that decides what one says, and where what it says is kept under that."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import cache_root
from medistill.evaluate.arms import Arms
from medistill.recipe.arms import OF_THE_SET, ArmName
from medistill.training.context import Context
from medistill.training.ensemble import OutputsFile

TRAINING = 1
"""Raised when networks come to be trained otherwise: what was kept of the former ones is no yardstick any more."""
YARDSTICKS = "yardsticks"
"""Folder of the cache in which networks on originals lie."""
STATISTICS = ("bootstrap", "confidence", "margin", "specificity", "smallest_cell", "networks", "arms", "across")
"""Settings of the evaluation that decide nothing about a single network; the stored ones outlive a change of them."""

OF_PROBES = ("penalties", "penalty")
"""Settings of the schedule that decide nothing about a network with layers: its key is what it was before them."""


@dataclass(frozen=True)
class ArmStore:
    """Where what is found out about an arm lies, and of all that decides it.

    Attributes:
        folder: of the run, or of the cache where the arm is the same beside another set.
        key: what is stored under another key is not taken.
    """

    folder: Path
    key: str

    def network(self, arm: ArmName, number: int) -> OutputsFile:
        """Return the file of what one network says."""
        folder = private_folder(self.folder / "networks")
        return OutputsFile(folder / f"{arm}_{number:03d}.safetensors", self.key)


def what_decides(context: Context) -> bytes:
    """Return what decides the predictions of a network that is trained, beside the images that it is trained on."""
    decisive = context.recipe.model_dump(
        mode="json", include={"seed", "augmentation", "compute", "evaluate", "schedule"}
    )
    decisive["network"] = context.spec.identity()
    del decisive["compute"]["graphs"]  # by which no bit changes
    for setting in STATISTICS:
        decisive["evaluate"].pop(setting)
    if context.spec.encoder is None:
        for setting in OF_PROBES:
            decisive["schedule"].pop(setting)
    return json.dumps([decisive, context.corpus.content, context.device.type], sort_keys=True).encode()


def arm_stores(context: Context, arms: Arms) -> dict[ArmName, ArmStore]:
    """Return where each arm is kept: in the run where its images are the set's. Networks on originals are trained once
    for all sets of a corpus, and kept in the cache."""
    decisive, stores = what_decides(context), {}
    for arm in arms.names:
        key = hashlib.sha256(decisive + f"{TRAINING} {arm} {arms.identity(arm)}".encode()).hexdigest()
        shared = private_folder(cache_root() / YARDSTICKS / key) if arm not in OF_THE_SET else context.out
        stores[arm] = ArmStore(shared, key)
    return stores
