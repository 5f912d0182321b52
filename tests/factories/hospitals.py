"""Small hospitals for an exchange over an engine: invented images in two classes, a key each, and a site file."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from medistill.recipe import Recipe, load_recipe
from medistill.sharing.keys import keys_root, new_key
from tests.factories.tiny import TINY_QUANTISED

CLASSES = ("COVID", "Normal")
SMALL = (
    *TINY_QUANTISED, "data.image_size=8", 'data.classes=["COVID", "Normal"]', "data.test_fraction=0.4",
    "network.depth=2", "network.width=2", "method.ipc=2", "method.quantise.min_cluster_size=2",
    "method.quantise.components=4", "evaluate.networks=1", "evaluate.epochs=2", 'evaluate.arms=["raw"]',
    "evaluate.bootstrap=100", "evaluate.smallest_cell=1", "audit.networks=1", "audit.shadows=0", "audit.canaries=0",
)  # fmt: skip
"""What makes the whole of a site's work take seconds. No audit passes on so few patients."""


SEEN = (
    'data.classes=["COVID", "Normal"]', "data.image_size=16", "data.test_fraction=0.4", "method.iterations=3",
    "method.levels=2", "evaluate.networks=1", 'evaluate.arms=["raw"]', "evaluate.bootstrap=100",
    "evaluate.smallest_cell=1", "audit.shadows=0", "audit.canaries=0",
)  # fmt: skip
"""The same where an encoder sees the images."""


def encoded_recipe(encoder: str, *more: str) -> Recipe:
    """The recipe of an exchange of centroids in an encoder's features."""
    cells = ("method.ipc=2", "method.quantise.min_cluster_size=2")
    return load_recipe("exchange-encoded", [f"network.encoder={encoder}", *SEEN, *cells, *more])


def private_recipe(encoder: str, *more: str) -> Recipe:
    """The recipe of an exchange of class means under differential privacy."""
    budget = ("method.space=encoder", "privacy.epsilon=4", "privacy.units=50", "privacy.delta=0.001")
    return load_recipe("covid-xray-private", [f"network.encoder={encoder}", *SEEN, *budget, *more])


def small_recipe(*more: str) -> Recipe:
    """The recipe of the exchange."""
    return load_recipe("demo-ddoq", [*SMALL, *more])


def write_images(folder: Path, seed: int, patients: int = 36) -> Path:
    """Draw ``folder/xray``, an image a patient, the first class darker, and return the table beside it."""
    numbers = np.random.default_rng(seed)
    (folder / "xray").mkdir(parents=True)
    table = folder / "table.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "label", "patient"])
        for k in range(2 * patients):
            grey = numbers.normal(90 + 60 * (k % 2), 40, size=(16, 16)).clip(0, 255).astype(np.uint8)
            Image.fromarray(grey).save(folder / "xray" / f"doe_john_{k:03d}.png")
            rows.writerow([f"doe_john_{k:03d}.png", CLASSES[k % 2], f"doe_john_{k:03d}"])
    return table


def make_keys(*names: str) -> None:
    """A key of each name, which the server of a test trusts as its own."""
    for name in names:
        new_key(keys_root(), name, passphrase=None, valid_days=None, today=datetime.now(UTC).date())


def write_site_file(path: Path, tables: Iterable[tuple[str, dict[str, str]]]) -> None:
    """Write the tables of several sites, for the owner alone."""
    lines = []
    for site, values in tables:
        lines += [f"[{site}]", *(f"{name} = '{value}'" for name, value in values.items()), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    path.chmod(0o600)


def site_values(folder: Path, recipe: str, key: str, **more: str) -> dict[str, str]:
    """What a site says for itself."""
    return {
        "data": str(folder / "xray"),
        "labels": str(folder / "table.csv"),
        "work": str(folder / "work"),
        "recipe": recipe,
        "key": key,
        "licence": "CC0-1.0",
        "intended_use": "Tests of an exchange.",
        "device": "cpu",
        **more,
    }
