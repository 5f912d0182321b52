"""A report that was read from a run's folder."""

from __future__ import annotations

import pytest

from medistill.recipe import Recipe, load_recipe
from medistill.report.record import Report
from medistill.workflow.report import read_report
from tests.factories import reported_run


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return load_recipe("demo", ["evaluate.bootstrap=100", "evaluate.networks=3"])


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> Report:
    folder = tmp_path_factory.mktemp("reported")
    return read_report(reported_run.whole_run(folder / "run", recipe, folder / "cache"))


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> Report:
    """Of a folder that holds an evaluation and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    reported_run.evaluated(folder, recipe)
    return read_report(folder)
