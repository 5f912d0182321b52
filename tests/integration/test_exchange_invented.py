"""A study of hospitals that are invented of one site: each makes its set, and no page or record leaves it unsaid."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.distilled_set import DistilledSet
from medistill.progress import Silent
from medistill.recipe import load_recipe
from medistill.studies.exchange import study as workflow
from medistill.studies.exchange.study import exchange_study
from tests.factories.drawn_corpus import CLASSES, drawn_corpus
from tests.factories.heard import Heard
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

SETTINGS = (
    f"data.classes={json.dumps(CLASSES)}", "data.image_size=16", "evaluate.bootstrap=100", "evaluate.smallest_cell=1",
    "evaluate.networks=1", "method.ipc=2", "method.iterations=3", "method.levels=2",
    "method.quantise.min_cluster_size=2", "exchange.audit=off", "exchange.weights=[1.0]", "exchange.invented=2",
)  # fmt: skip
NAMES = ["invented hospital 1", "invented hospital 2"]


def test_every_invented_hospital_makes_a_set_of_its_own_patients_and_is_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = drawn_corpus(tmp_path / "corpus", each=40)
    alone = replace(corpus, sites=np.zeros_like(corpus.sites), site_names=("raddb",))
    monkeypatch.setattr(workflow, "prepare", lambda *_, **__: alone)
    heard, out = Heard(), tmp_path / "study"
    with tiny_architecture():
        encoder = stored_tiny(tmp_path / "encoder")
        recipe = load_recipe("exchange-encoded", [f"network.encoder={encoder.sha256}", *SETTINGS])
        study = exchange_study(tmp_path, recipe, out=out, device="cpu", progress=heard)
        again = exchange_study(tmp_path, recipe, out=out, device="cpu", progress=Silent())
    assert again == study
    assert [site.name for site in study.sites] == [site.name for site in study.matrix.sites] == NAMES
    assert sum(site.originals for site in study.sites) == len(corpus.rows("train"))
    for name in NAMES:
        assert study.row("own_and_others", name).reason == ""
    sets = [DistilledSet.load(out / "sites" / number / "set") for number in ("01", "02")]
    made = [one.provenance.training_images or {} for one in sets]
    assert sum(sum(one.values()) for one in made) == len(corpus.rows("train"))
    assert any(line.startswith("The hospitals are invented: ") for line in heard.said)
    told = json.loads((out / "exchange.json").read_text())
    assert [one["name"] for one in told["invented"]] == NAMES
    for page in ("exchange.html", "exchange.md"):
        text = (out / page).read_text(encoding="utf-8")
        assert "The hospitals are invented: the patients of one site were divided among" in text
        assert all(name in text for name in NAMES)
