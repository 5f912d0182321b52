"""An exchange with a frozen encoder, and one under differential privacy: every site's work and the server's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.classifier import Classifier
from medistill.artifacts.distilled_set import DistilledSet
from medistill.encoders.encoder import Encoder
from medistill.federation.job import write_job
from medistill.federation.messages import MAKE, TEST
from medistill.federation.record import FederatedRound
from medistill.federation.round import Round, exchange
from medistill.federation.site import answer_to
from medistill.federation.site_file import VARIABLE
from medistill.privacy.ledger import ledger_root, read_ledger
from medistill.recipe import Recipe
from tests.factories.hospitals import (
    encoded_recipe,
    make_keys,
    private_recipe,
    site_values,
    write_images,
    write_site_file,
)
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

SITES = ("east", "west")
RISK = {"acknowledge_risk": "Invented images."}


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Encoder]:
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "sites.toml"))
    with tiny_architecture():
        yield stored_tiny(tmp_path / "encoder")


def held(recipe: Recipe, folder: Path) -> FederatedRound:
    """The exchange between both sites."""
    job = write_job(recipe, SITES, out=folder / "job")
    make_keys(*SITES)
    for seed, site in enumerate(SITES):
        write_images(folder / site, seed)
    tables = [(site, site_values(folder / site, job.sha256, site, **RISK)) for site in SITES]
    write_site_file(folder / "sites.toml", tables)

    def ask(task: str, pieces: Mapping[str, bytes], sites: Sequence[str]) -> Mapping[str, object]:
        return {site: answer_to(task, dict(pieces), site) for site in sites}

    return exchange(Round(job.recipe.read_text(), SITES, folder / "server", device="cpu"), ask, MAKE, TEST)


def test_sets_of_an_encoder_are_united_and_a_probe_goes_home(encoder: Encoder, tmp_path: Path) -> None:
    found = held(encoded_recipe(encoder.sha256), tmp_path)
    assert [(site.name, site.reason, site.figures_reason) for site in found.sites] == [(one, "", "") for one in SITES]
    for site in found.sites:
        assert site.figures is not None
        assert [row.learnt_from for row in site.figures.rows] == ["exchange", "own_originals", "own_set"]
    united = DistilledSet.load(tmp_path / "server" / "united")
    assert united.provenance.encoder is not None
    assert united.provenance.encoder.sha256 == encoder.sha256
    own = [DistilledSet.load(next((tmp_path / site / "work").glob("*/run/set"))) for site in SITES]
    assert len(united.labels) == sum(len(one.labels) for one in own) == found.images
    classifier = Classifier.load(tmp_path / "server" / "classifier")
    assert classifier.recipe.network.encoder == encoder.sha256


def test_releases_under_differential_privacy_add_up_at_the_server(encoder: Encoder, tmp_path: Path) -> None:
    found = held(private_recipe(encoder.sha256), tmp_path)
    assert [(site.name, site.reason, site.figures_reason) for site in found.sites] == [(one, "", "") for one in SITES]
    assert all("epsilon = 4" in site.guarantee for site in found.sites)
    united = DistilledSet.load(tmp_path / "server" / "united").statistics
    assert united is not None
    own = [DistilledSet.load(next((tmp_path / site / "work").glob("*/run/set"))).statistics for site in SITES]
    sums = [one.sums for one in own if one is not None]
    assert len(sums) == len(SITES)
    np.testing.assert_allclose(united.sums, sums[0] + sums[1])
    ledger = read_ledger(ledger_root())
    assert ledger is not None
    assert len(ledger.entries) == len(SITES)
    assert "epsilon = 4" in (tmp_path / "server" / "exchange.md").read_text(encoding="utf-8")
