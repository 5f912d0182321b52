"""A name that there is not is answered with the ones it is like, and then with the list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medistill.encoders.store import encoder_named, encoders_folder
from medistill.errors import UsageError
from medistill.nearest_names import did_you_mean, nearest_names
from medistill_cli.main import app
from tests.settings_restored import settings_restored


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    with settings_restored():
        yield


@pytest.mark.parametrize(
    ("words", "seen", "meant"),
    [
        (["distil"], "'distil'", "Did you mean 'distill'?"),
        (["distill", "--method", "ddop"], "'ddop'", "did you mean 'ddoq'"),
        (["distill", "--method", "RAT_BPTT"], "'RAT_BPTT'", "did you mean 'rat-bptt'"),
        (["distill", "--recipe", "covid-xray-ddo"], "'covid-xray-ddo'", "did you mean 'covid-xray-ddoq'"),
        (["distill", "--set", "method.ipcc=3"], "'method.ipcc'", "did you mean 'method.ipc'"),
        (["distill", "--set", "evaluate.shadows=8"], "'evaluate.shadows'", "did you mean 'audit.shadows'"),
        (["distill", "--set", "method.name=ddop"], "'ddop'", "did you mean 'ddoq'"),
        (["distill", "--set", "network.name=convnt"], "'convnt'", "did you mean 'convnet'"),
        (["distill", "--set", "evaluate.across=resnet81"], "'resnet81'", "did you mean 'resnet18'"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_was_seen_comes_first_and_then_what_is_like_it(words: list[str], seen: str, meant: str) -> None:
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 2
    said = " ".join(told.output.split())
    assert 0 <= said.index(seen) < said.index(meant)
    assert "?." not in said


def test_an_encoder_is_proposed_by_the_beginning_of_its_hash(private_cache: Path) -> None:
    (encoders_folder() / ("1f3a9c5d" * 8)).mkdir()
    with pytest.raises(UsageError, match=r"'1f3a9c5e': did you mean '1f3a9c5d1f3a'\?"):
        encoder_named("1f3a9c5e")


def test_nothing_is_proposed_where_nothing_is_like_it() -> None:
    assert did_you_mean("zzzz", ["ddoq", "iadd"]) == ""
    assert did_you_mean("Covdi", ["COVID", "Normal"]) == ": did you mean 'COVID'?"
    assert nearest_names("PRIVATE_MEANS", ["private-means", "encoded-moments"]) == ["private-means"]
