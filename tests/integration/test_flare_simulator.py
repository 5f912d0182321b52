"""The exchange in NVIDIA FLARE's own simulator, and the job beside the one that FLARE would write itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medistill.artifacts.distilled_set import DistilledSet
from medistill.encoders.conversion import convert_encoder
from medistill.encoders.store import add_encoder
from medistill.federation.job import ALLOWED, WrittenJob, write_job
from medistill.federation.messages import MAKE, TEST
from medistill.federation.site_file import VARIABLE
from medistill.recipe import override_recipe
from tests.factories.hospitals import (
    encoded_recipe,
    make_keys,
    private_recipe,
    site_values,
    small_recipe,
    write_images,
    write_site_file,
)
from tests.factories.published_weights import save_published

pytest.importorskip("nvflare", reason="NVIDIA FLARE is not installed (the extra medistill[flare])")
SITES = ("east", "west", "north", "south")
ROOT = Path(__file__).resolve().parents[2]


def breaking(job: WrittenJob) -> None:
    """Give south an app of its own, which breaks."""
    app, meta = job.folder / "app", job.folder / "meta.json"
    shutil.copytree(app, job.folder / "broken")
    client = job.folder / "broken" / "config" / "config_fed_client.json"
    client.write_text(client.read_text().replace(*("medistill.federation.executor.ExchangeExecutor", BROKEN)))
    known = json.loads(meta.read_text())
    known["deploy_map"] = {"app": ["server", *SITES[:3]], "broken": ["south"]}
    meta.write_text(json.dumps(known))


BROKEN = "tests.factories.broken_site.BrokenExecutor"


def simulated(job: Path, workspace: Path, clients: tuple[str, ...], *allowed: str) -> subprocess.CompletedProcess:
    """Run a job in the simulator, in a workspace whose sites allow these classes."""
    (workspace / "local").mkdir(parents=True)
    policy = {"format_version": 2, "class_allow_list": list(allowed)}
    (workspace / "local" / "resources.json.default").write_text(json.dumps(policy))
    command = [sys.executable, "-m", "nvflare.private.fed.app.simulator.simulator", str(job), "-w", str(workspace)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "cli"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*command, "-c", ",".join(clients), "-t", str(len(clients))],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


@pytest.mark.slow
def test_four_sites_of_which_one_fails_its_gate_and_one_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "sites.toml"))
    job = write_job(small_recipe(), SITES, out=tmp_path / "job", hours=0.06)
    breaking(job)
    make_keys(*SITES)
    for seed, site in enumerate(SITES[:3]):
        write_images(tmp_path / site, seed)
    risks = {site: {"acknowledge_risk": "Invented images."} for site in ("east", "west")}
    tables = [(site, site_values(tmp_path / site, job.sha256, site, **risks.get(site, {}))) for site in SITES[:3]]
    write_site_file(tmp_path / "sites.toml", tables)
    done = simulated(job.folder, tmp_path / "space", SITES, ALLOWED, BROKEN)
    results = tmp_path / "space" / "server" / "simulate_job" / "medistill"
    assert (results / "exchange.json").is_file(), done.stdout[-4000:] + done.stderr[-4000:]
    told = json.loads((results / "exchange.json").read_text())
    outcomes = {site["name"]: site for site in told["sites"]}
    assert told["failure"] == ""
    assert [name for name, site in outcomes.items() if site["images"]] == ["east", "west"]
    assert outcomes["north"]["reason"] == "its set did not pass the gate (fail)"
    assert "lost" in outcomes["south"]["reason"]
    assert all(outcomes[site]["figures"]["rows"] for site in ("east", "west", "north"))
    assert (results / "classifier" / "weights.safetensors").is_file()
    logs = [path.read_text() for path in (tmp_path / "space").rglob("*") if path.suffix in (".txt", ".log")]
    assert logs
    for words in ("doe_john", str(tmp_path / "north" / "xray"), str(tmp_path / "east" / "table.csv")):
        assert not any(words in log for log in (*logs, done.stdout, done.stderr))


@pytest.mark.slow
@pytest.mark.parametrize("private", [False, True])
def test_sites_with_an_encoder_send_centroids_or_a_private_release(
    private: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are random: sites and server are processes that know no encoder but of a real architecture."""
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "sites.toml"))
    published = save_published(tmp_path / "weights.pth")
    said = {"licence": "CC0-1.0", "trained_on": "nothing", "source": "tests"}
    convert_encoder("efficientnet_lite0", published, tmp_path / "encoder", **said)
    encoder, sites = add_encoder(tmp_path / "encoder").sha256, SITES[:2]
    recipe = private_recipe(encoder) if private else encoded_recipe(encoder)
    job = write_job(override_recipe(recipe, ["data.image_size=32"], "test"), sites, out=tmp_path / "job", hours=0.06)
    make_keys(*sites)
    for seed, site in enumerate(sites):
        write_images(tmp_path / site, seed)
    risk = {"acknowledge_risk": "Invented images."}
    tables = [(site, site_values(tmp_path / site, job.sha256, site, **risk)) for site in sites]
    write_site_file(tmp_path / "sites.toml", tables)
    done = simulated(job.folder, tmp_path / "space", sites, ALLOWED)
    results = tmp_path / "space" / "server" / "simulate_job" / "medistill"
    assert (results / "exchange.json").is_file(), done.stdout[-4000:] + done.stderr[-4000:]
    told = json.loads((results / "exchange.json").read_text())
    assert [(site["name"], site["reason"], site["figures_reason"]) for site in told["sites"]] == [
        (site, "", "") for site in sites
    ]
    assert [bool(site["guarantee"]) for site in told["sites"]] == [private] * 2
    united = DistilledSet.load(results / "united")
    assert (united.statistics is not None) == private
    assert united.provenance.encoder is not None
    assert united.provenance.encoder.sha256 == encoder
    assert (results / "classifier" / "weights.safetensors").is_file()


@pytest.mark.slow
def test_a_site_that_does_not_allow_the_class_runs_nothing(tmp_path: Path) -> None:
    job = write_job(small_recipe(), ["east", "west"], out=tmp_path / "job", hours=0.01)
    done = simulated(job.folder, tmp_path / "space", ("east", "west"), "nvflare.app_common.")
    assert "is not in allow_list" in done.stdout + done.stderr
    assert not (tmp_path / "space" / "server" / "simulate_job" / "medistill" / "exchange.json").exists()


def test_flare_would_write_the_same_job(tmp_path: Path) -> None:
    """The job recipe of FLARE, with the same two components, exports the same configuration and no code."""
    from nvflare.job_config.api import FedJob
    from nvflare.recipe.spec import Recipe as JobRecipe

    from medistill.federation.controller import ExchangeController
    from medistill.federation.executor import ExchangeExecutor

    ours = write_job(small_recipe(), ["east", "west"], out=tmp_path / "ours", hours=3)
    job = FedJob(name="medistill-exchange", min_clients=2)
    job.job.set_app_packages(["medistill"])
    job.to_server(ExchangeController(["east", "west"], 3.0), id="controller")
    for site in ("east", "west"):
        job.to(ExchangeExecutor(), site, tasks=[MAKE, TEST])
    JobRecipe(job).export(str(tmp_path / "theirs"))
    theirs = tmp_path / "theirs" / "medistill-exchange"
    assert not list(theirs.rglob("*.py"))
    config = ours.folder / "app" / "config"

    def read(pattern: str) -> list[dict]:
        return [json.loads(path.read_text()) for path in sorted(theirs.rglob(pattern))]

    [server] = read("config_fed_server.json")
    assert server["workflows"] == json.loads((config / "config_fed_server.json").read_text())["workflows"]
    for client in read("config_fed_client.json"):
        assert client["executors"] == json.loads((config / "config_fed_client.json").read_text())["executors"]
    [meta] = read("meta.json")
    own = json.loads((ours.folder / "meta.json").read_text())
    assert {key: meta[key] for key in ("name", "min_clients", "resource_spec")} == {
        key: own[key] for key in ("name", "min_clients", "resource_spec")
    }
