"""Published: figures of the field for its benchmarks, and a run's own figure beside them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from medistill.artifacts.kept import read_result
from medistill.errors import ArtifactError, first_complaint

PUBLISHED_IPC = (1, 10, 50)
"""Images per class for which there are published figures."""


@dataclass(frozen=True)
class PublishedFigure:
    """A figure that others published.

    Attributes:
        method: name of the method.
        accuracy: test accuracy in percent, as its authors give it.
        labels: "hard", "soft" or "learned"; empty where it does not matter.
        source: where it was read.
    """

    method: str
    accuracy: float
    labels: str
    source: str


@dataclass(frozen=True)
class BenchmarkResult:
    """A run on a benchmark, beside published figures.

    Attributes:
        dataset: name of the benchmark.
        ipc: images per class.
        chosen_accuracy: test accuracy of the set that was chosen on validation data, in percent, mean over networks.
        chosen_spread: standard deviation over these networks; None for fewer than two.
        maximum_accuracy: the best mean test accuracy over all looks of the run, as papers report it, in percent; None
            where the looks were not kept.
        maximum_step: the outer step of that look; None likewise.
        cut_down: in what the run departs from the published setting, one sentence each; empty where it does not.
        published: figures of others for the same images per class.
    """

    dataset: str
    ipc: int
    chosen_accuracy: float
    chosen_spread: float | None
    maximum_accuracy: float | None
    maximum_step: int | None
    cut_down: tuple[str, ...]
    published: tuple[PublishedFigure, ...]


def published_figures(dataset: str, ipc: int, image_size: int) -> tuple[PublishedFigure, ...]:
    """What others published for a benchmark at ``ipc`` images per class; empty where nothing was found.

    Args:
        image_size: side of the images in pixels, for the benchmark that is published in several.
    """
    text = resources.files("medistill.evaluate").joinpath("published.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    found = []
    for row in table["method"]:
        listed = dict(zip(PUBLISHED_IPC, row.get(dataset, ()), strict=False))
        if ipc in listed:
            found.append(PublishedFigure(row["name"], listed[ipc], row.get("labels", ""), row["source"]))
    for row in table["whole"]:
        if row["dataset"] == dataset and str(image_size) in row["accuracy"]:
            found.append(PublishedFigure(row["name"], row["accuracy"][str(image_size)], "", row["source"]))
    return tuple(found)


def load_benchmark(path: Path) -> BenchmarkResult:
    """Read ``benchmark.json``.

    Raises:
        ArtifactError: missing, or not as this version writes it.
    """
    try:
        return TypeAdapter(BenchmarkResult).validate_python(read_result(path, "benchmark result"))
    except ValidationError as error:
        raise ArtifactError(
            f"{path} cannot be used: {first_complaint(error)}",
            expected="a result as this version of medistill writes it",
            do="repeat the benchmark's command with --resume",
        ) from None
