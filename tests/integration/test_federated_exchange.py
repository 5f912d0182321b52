"""An exchange without its engine: every site's work and the server's, with what they would send each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from medistill.federation.figures import HomeFigures
from medistill.federation.job import WrittenJob, write_job
from medistill.federation.messages import HEAD, MAKE, TEST
from medistill.federation.record import FederatedRound
from medistill.federation.round import Round, exchange
from medistill.federation.site import answer_to
from medistill.federation.site_file import VARIABLE
from tests.factories.hospitals import make_keys, site_values, small_recipe, write_images, write_site_file

SITES = ("east", "north", "south")
RISK = "Invented images."


@dataclass(frozen=True)
class Held:
    """An exchange that was held, and all that was sent."""

    folder: Path
    job: WrittenJob
    found: FederatedRound
    sent: dict[str, list[dict[str, bytes]]]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Held:
    """East gives a set, north's does not pass its gate, south is lost."""
    folder = tmp_path_factory.mktemp("exchange")
    with pytest.MonkeyPatch.context() as patch:
        for variable, name in (
            ("MEDISTILL_KEYS", "keys"),
            ("MEDISTILL_CACHE", "cache"),
            ("MEDISTILL_LEDGER", "ledger"),
        ):
            patch.setenv(variable, str(folder / name))
        patch.setenv(VARIABLE, str(folder / "sites.toml"))
        job = write_job(small_recipe(), SITES, out=folder / "job")
        make_keys(*SITES)
        for seed, site in enumerate(SITES[:2]):
            write_images(folder / site, seed)
        risks = {"east": {"acknowledge_risk": RISK}}
        tables = [(site, site_values(folder / site, job.sha256, site, **risks.get(site, {}))) for site in SITES]
        write_site_file(folder / "sites.toml", tables)
        sent: dict[str, list[dict[str, bytes]]] = {site: [] for site in SITES}

        def ask(task: str, pieces: Mapping[str, bytes], sites: Sequence[str]) -> Mapping[str, object]:
            for site in sites:
                if site != "south":
                    sent[site].append(answer_to(task, dict(pieces), site))
            return {site: sent[site][-1] for site in sites if sent[site]}

        found = exchange(Round(job.recipe.read_text(), SITES, folder / "server", device="cpu"), ask, MAKE, TEST)
        return Held(folder, job, found, sent)


def test_those_that_fail_are_named_and_the_others_go_on(held: Held) -> None:
    outcomes = {site.name: site for site in held.found.sites}
    assert [site.name for site in held.found.givers] == ["east"]
    assert outcomes["north"].reason == "its set did not pass the gate (fail)"
    assert "lost" in outcomes["south"].reason
    assert outcomes["north"].figures is not None, "a site whose gate held still gets the classifier"
    assert outcomes["south"].figures is None
    [own] = (held.folder / "east" / "work").glob("*/run/set/images.safetensors")
    assert outcomes["east"].set_sha256 == hashlib.sha256(own.read_bytes()).hexdigest()
    page = (held.folder / "server" / "exchange.md").read_text()
    assert "north gave no set" in page
    assert RISK in page


def test_figures_are_those_of_the_evaluation_at_home(held: Held) -> None:
    for site in ("east", "north"):
        [stored] = (held.folder / site / "work").glob("*/classifiers/*/home/evaluation/evaluation.json")
        truth = json.loads(stored.read_text())
        told = next(one.figures for one in held.found.sites if one.name == site)
        assert isinstance(told, HomeFigures)
        assert list(told.class_patients) == truth["class_patients"]
        first = told.rows[0]
        assert first.learnt_from == "exchange"
        assert first.macro_auc.value == truth["arms"][0]["macro_auc"]["value"]
        [own] = (held.folder / site / "work").glob("*/run/evaluation/evaluation.json")
        areas = {arm["arm"]: arm["macro_auc"]["value"] for arm in json.loads(own.read_text())["arms"]}
        assert [row.macro_auc.value for row in told.rows[1:]] == [areas["raw"], areas["distilled"]]


def test_no_patient_no_path_and_no_log_goes_out(held: Held) -> None:
    shown = [path.read_bytes() for path in (held.folder / "server").rglob("exchange.*")]
    for words in (b"doe_john", str(held.folder).encode()):
        assert not any(words in page for page in shown)
        for answers in held.sent.values():
            assert not any(words in piece for answer in answers for piece in answer.values())
    for answers in held.sent.values():
        for answer in answers:
            assert set(json.loads(answer[HEAD])) == {"protocol", "medistill", "code", "verdict", "figures"}


def test_a_second_job_by_the_same_recipe_sends_the_same_set(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, name in (("MEDISTILL_KEYS", "keys"), ("MEDISTILL_CACHE", "cache"), ("MEDISTILL_LEDGER", "ledger")):
        monkeypatch.setenv(variable, str(held.folder / name))
    monkeypatch.setenv(VARIABLE, str(held.folder / "sites.toml"))
    again = Round(held.job.recipe.read_text(), SITES, held.folder / "again")
    again.take_set("east", answer_to(MAKE, again.request(), "east"))
    before = next(site for site in held.found.sites if site.name == "east")
    assert again.sites["east"].set_sha256 == before.set_sha256
