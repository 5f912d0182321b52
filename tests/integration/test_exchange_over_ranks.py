"""The exchange study over ranks: sites, choices, networks and draws come from queues, and the record is the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from medistill.artifacts.corpus import Corpus
from medistill.errors import ArtifactError, DivergedError, UsageError
from medistill.progress import Silent
from medistill.ranks.ranks import ALONE, Ranks
from medistill.recipe import Recipe, load_recipe
from medistill.report.exchange import ExchangeStudy
from medistill.studies.exchange import giving, study
from medistill.training import ensemble
from medistill_cli.main import app
from tests.factories.drawn_corpus import CLASSES, drawn_corpus
from tests.factories.heard import Heard
from tests.factories.several_ranks import several
from tests.factories.sited_corpus import write_sites
from tests.factories.started import started
from tests.factories.tiny import TINY
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture
from tests.settings_restored import settings_restored

SETTINGS = (
    f"data.classes={json.dumps(CLASSES)}",
    "data.image_size=16",
    "method.ipc=2",
    "method.iterations=3",
    "method.levels=2",
    "method.quantise.min_cluster_size=2",
    "evaluate.bootstrap=100",
    "evaluate.smallest_cell=1",
    "evaluate.networks=2",
    "exchange.hospital=east",
    "exchange.patients=[6, 10]",
    "exchange.draws=2",
    "exchange.weights=[0.3, 1.0]",
    "exchange.variants.one=method.ipc=1",
    "exchange.variants.too many=method.ipc=1000",
)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """Of three sites, which the study reads in the place of files."""
    two = drawn_corpus(tmp_path / "corpus", each=40)
    three = replace(two, sites=np.arange(len(two.labels)) // 6 % 3, site_names=("east", "north", "west"))
    monkeypatch.setattr(study, "prepare", lambda *_, **__: three)
    return three


@pytest.fixture
def recipe(tmp_path: Path) -> Iterator[Recipe]:
    """With a tiny encoder."""
    with tiny_architecture():
        encoder = stored_tiny(tmp_path / "encoder").sha256
        yield load_recipe("exchange-encoded", [*SETTINGS, f"network.encoder={encoder}"])


def studied(recipe: Recipe, out: Path, ranks: Ranks, progress: Silent | None = None) -> ExchangeStudy:
    return study.exchange_study(out, recipe, out=out, device="cpu", ranks=ranks, progress=progress or Silent())


def same_answers(one: Path, other: Path) -> None:
    """The same networks and draws, each of which said the same."""
    files = sorted(path.relative_to(one) for path in (one / "networks").rglob("*.safetensors"))
    assert files == sorted(path.relative_to(other) for path in (other / "networks").rglob("*.safetensors"))
    for name in files:
        mine, theirs = load_file(one / name), load_file(other / name)
        for array in set(mine) - {ensemble.SECONDS, ensemble.SEAL}:
            np.testing.assert_array_equal(mine[array], theirs[array], err_msg=f"{name}, {array}")


def test_one_rank_and_two_write_the_same_record(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = studied(recipe, tmp_path / "alone", ALONE)
    assert alone.hospital is not None
    assert alone.variants is not None
    assert [bool(one.reason) for one in alone.variants.variants] == [False, False, True]
    made, do = list[str](), giving._studied

    def counted(site, auditor, left_out):
        made.append(site.name)
        return do(site, auditor, left_out)

    monkeypatch.setattr(giving, "_studied", counted)
    out, heard = tmp_path / "two", [Heard(), Heard()]
    found = several(2, lambda ranks: studied(recipe, out, ranks, heard[ranks.rank]), patience=600)
    assert found == [alone] * 2
    assert (out / "exchange.json").read_bytes() == (tmp_path / "alone" / "exchange.json").read_bytes()
    same_answers(out, tmp_path / "alone")
    assert sorted(made) == ["east", "east", "north", "north", "west", "west"]
    of = [*(f"site {site.name}" for site in alone.sites), "all sites together"]
    told = [line for line in heard[0].said if line.startswith("Networks of ")]
    assert told == [f"Networks of {which} are trained, {n} of 4." for n, which in enumerate(of, start=1)]


def test_what_fails_or_diverges_on_some_rank_is_named_on_all_and_the_others_go_on(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, done = giving._distilled, ensemble.do

    def diverging(folder, site, context, network):
        if site.name == "north":
            raise DivergedError("loss is NaN", expected="a finite loss", do="lower the rate")
        return make(folder, site, context, network)

    def lost(job, context, task):
        if job.group == "own_raw_03":
            raise DivergedError("parameters left the finite numbers", expected="finite", do="lower evaluate.raw_lr")
        return done(job, context, task)

    monkeypatch.setattr(giving, "_distilled", diverging)
    monkeypatch.setattr(ensemble, "do", lost)
    alone = studied(recipe, tmp_path / "alone", ALONE)
    assert [site.reason for site in alone.sites] == ["", "loss is NaN", ""]
    assert alone.row("own_raw", "west").reason == "parameters left the finite numbers"
    found = several(2, lambda ranks: studied(recipe, tmp_path / "two", ranks), patience=600)
    assert found == [alone] * 2


def test_ranks_that_find_other_sets_of_a_way_do_not_go_on(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One would train without what the others train with, and who is first decide what is written."""
    read, turn, lock = giving.sets_of, list[str](), Lock()

    def damaged(sites, given, folder, *, fewest):
        with lock:
            turn.append("")
            second = len(turn) == 2
        if second:
            raise ArtifactError("images.safetensors is damaged", expected="a set", do="make it again")
        return read(sites, given, folder, fewest=fewest)

    monkeypatch.setattr("medistill.studies.exchange.variants.sets_of", damaged)
    out, ended = tmp_path / "two", list[str]()

    def studied_or_refused(ranks: Ranks) -> None:
        try:
            studied(recipe, out, ranks)
        except UsageError as error:
            ended.append(error.seen)

    several(2, studied_or_refused, patience=600)
    assert len(ended) == 2
    assert all("another outcome of exchange.variants, one" in seen for seen in ended)
    assert any("is damaged" in seen for seen in ended)
    assert not (out / "exchange.json").exists()


pixels = pytest.mark.skipif(sys.platform != "linux", reason="ranks are found in /proc")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of pixels by one process; beside it lie its images and its cache."""
    place = tmp_path_factory.mktemp("pixels")
    write_sites(place)
    with settings_restored():
        done = CliRunner().invoke(app, words(place, place / "alone"), env={"MEDISTILL_CACHE": str(place / "cache")})
    assert done.exit_code == 0, done.stderr
    return place / "alone"


def words(place: Path, out: Path, *more: str) -> list[str]:
    said = ["exchange-study", "--recipe", "demo", "--device", "cpu", "--data", str(place / "xray"), "--out", str(out)]
    settings = [*TINY, "method.ipc=1", "evaluate.smallest_cell=1"]
    return [*said, "--labels", str(place / "labels.csv"), *more, *(word for one in settings for word in ("--set", one))]


@pixels
@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "begun"), [(1, "sites/01/set/manifest.json"), (0, "networks/own_raw_02_000.safetensors")]
)
def test_a_study_goes_on_by_itself_where_a_rank_is_killed(
    undisturbed: Path, tmp_path: Path, rank: int, begun: str
) -> None:
    """Among the sites, and among the networks; what was finished before is not made again."""
    place, out = undisturbed.parent, tmp_path / "two"
    command = ["-m", "medistill", *words(place, out, "--processes", "2")]
    known = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "10"}
    cache = shutil.copytree(place / "cache", tmp_path / "cache")
    with started(command, tmp_path / "two.log", MEDISTILL_CACHE=str(cache), **known) as two:
        two.wait_until((out / begun).is_file)
        made = (path for path in out.rglob("*.safetensors") if path.parent.name in ("set", "networks"))
        kept = {path: path.stat().st_mtime_ns for path in made}
        os.kill(two.ranks()[rank], signal.SIGKILL)
        assert two.end() == 0, two.said
    assert f"rank {rank} ended without a word" in two.said
    assert two.said.count("Written:") == 1
    assert (out / "exchange.json").read_bytes() == (undisturbed / "exchange.json").read_bytes()
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    same_answers(out, undisturbed)
