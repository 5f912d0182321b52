"""Published figures: those of the table, nothing where nothing was found, and a result that survives its file."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest

from medistill.errors import ArtifactError
from medistill.evaluate.published import BenchmarkResult, PublishedFigure, load_benchmark, published_figures


@pytest.mark.parametrize(
    ("dataset", "ipc", "methods", "some"),
    [
        ("cifar10", 1, 15, {"MTT": 46.2, "RCIG": 53.9, "Random real images": 15.4, "PP": 46.4}),
        ("cifar10", 10, 15, {"MTT": 65.4, "DATM": 66.8, "ATT": 67.7}),
        ("cifar10", 50, 15, {"MTT": 71.6, "PAD (on DATM)": 77.0}),
        ("cifar100", 10, 15, {"MTT": 39.7, "FTD": 43.4, "Whole data set (ConvNet)": 56.2}),
        ("cifar100", 50, 14, {"DM": 43.6}),
        ("tiny-imagenet", 1, 11, {"MTT": 8.8, "IDM": 10.1}),
        ("tiny-imagenet", 50, 7, {"DATM": 39.7}),
    ],
)
def test_the_figures_of_the_table(dataset: str, ipc: int, methods: int, some: dict[str, float]) -> None:
    found = {figure.method: figure for figure in published_figures(dataset, ipc, 32)}
    assert len(found) == methods
    assert {name: found[name].accuracy for name in some} == some
    assert all(figure.source and 0 < figure.accuracy < 100 for figure in found.values())
    assert {figure.labels for figure in found.values()} <= {"", "hard", "soft", "learned"}


def test_more_images_never_have_a_lower_figure() -> None:
    """A slip in the table would show: in every method's row accuracy grows with the images per class."""
    for dataset in ("cifar10", "cifar100", "tiny-imagenet"):
        rows = [{f.method: f.accuracy for f in published_figures(dataset, ipc, 32)} for ipc in (1, 10, 50)]
        for few, many in pairwise(rows):
            assert all(many[name] >= few[name] for name in many if name in few)


def test_where_nothing_was_found_there_is_nothing() -> None:
    assert published_figures("cifar10", 5, 32) == ()
    assert published_figures("pneumoniamnist", 10, 32) == ()
    assert [f.accuracy for f in published_figures("pneumoniamnist", 10, 64)] == [86.0]


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    figure = PublishedFigure("MTT", 46.2, "hard", "a paper")
    result = BenchmarkResult("cifar10", 1, 40.5, None, 41.0, 250, ("Fewer.",), (figure,))
    path = tmp_path / "benchmark.json"
    path.write_text(json.dumps(asdict(result)))
    assert load_benchmark(path) == result
    path.write_text(json.dumps({**asdict(result), "ipc": "many"}))
    with pytest.raises(ArtifactError, match=r"benchmark\.json cannot be used: ipc"):
        load_benchmark(path)
