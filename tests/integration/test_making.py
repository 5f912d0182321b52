"""What ties an audit to the run that made a set: no set that only says how it was made can pass."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.local_key import local_key
from medistill.artifacts.making import FILE, Chain, load_making, making
from medistill.engine.checkpoint import checksums
from medistill.errors import ArtifactError
from medistill.methods.quantising.quantise import quantise
from medistill.privacy.gate import MAKING_NAME, MAKING_UNKNOWN
from medistill.progress import Silent, SilentTask
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.studies.audit.audit import audit
from medistill.training.device import choose_device
from medistill.workflow.distill import NOT_FROM_HERE, distill
from medistill.workflow.experts import followed_experts
from medistill.workflow.retrace import making_flaw
from medistill_cli.source_set import load_set
from tests.factories import audited
from tests.factories.heard import Heard
from tests.factories.on_cpu import on_cpu
from tests.factories.tiny import TINY

CPU = choose_device("cpu")
BASE = [*TINY, "data.image_size=16", "network.depth=2", "method.ipc=2", "evaluate.raw_epochs=1"]
KINDS = {
    "noise": ["method.init=noise"],
    "real": [],
    "means": ["method.init=quantised", "method.quantise.components=8"],
    "ddoq": ["method.name=ddoq", "method.labels=hard", "method.quantise.components=8"],
    "rendered": [
        "method.name=glad",
        "method.batch_real=4",
        "method.quantise.encoder=autoencoder",
        "method.autoencoder.epochs=1",
        "method.autoencoder.width=8",
        "method.autoencoder.levels=3",
        "method.autoencoder.latent_channels=1",
    ],
}


def recipe_of(kind: str) -> Recipe:
    return load_recipe("demo", [*BASE, *KINDS[kind]])


def made(kind: str, corpus: Corpus, out: Path, **options: object) -> DistilledSet:
    recipe = recipe_of(kind)
    experts = followed_experts(corpus, recipe, device="cpu")
    return distill(corpus, experts, recipe, out=out, device="cpu", **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return audited.corpus(tmp_path_factory.mktemp("corpora"))


@pytest.fixture
def run(corpus: Corpus, tmp_path: Path) -> Path:
    """One whose set began as noise."""
    made("noise", corpus, tmp_path / "run")
    return tmp_path / "run"


def flaw(run: Path | None, corpus: Corpus, kind: str, tmp_path: Path, *overrides: str, of: Path | None = None) -> str:
    distilled = DistilledSet.load(of or run or "")
    recipe = load_recipe("demo", [*BASE, *KINDS[kind], *overrides])
    found, again = making_flaw(distilled, on_cpu(corpus, recipe, tmp_path / "audit"), run)
    assert not found or not again
    return found or again


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_that_was_made_here_is_made_again_to_the_same_bits(kind: str, corpus: Corpus, tmp_path: Path) -> None:
    made(kind, corpus, tmp_path / "run")
    assert flaw(tmp_path / "run", corpus, kind, tmp_path).endswith("are the same bits")
    assert list((tmp_path / "audit").iterdir()) == []


def test_where_images_begin_as_codes_of_an_autoencoder_it_is_not_trained_again(corpus: Corpus, tmp_path: Path) -> None:
    recipe = override_recipe(recipe_of("rendered"), ["method.init=quantised"], "test")
    made_so = distill(corpus, None, recipe, out=tmp_path / "run", device="cpu")
    found, again = making_flaw(made_so, on_cpu(corpus, recipe, tmp_path / "audit"), tmp_path / "run")
    assert (found, again) == ("", "Its record is sealed here; its autoencoder was not trained again")


def test_a_set_is_not_called_unverified_where_its_own_run_made_it_here(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run / "set", tmp_path / "alone")
    for folder in (tmp_path / "alone", run):
        load_set(folder)
        assert ("it is unverified" in capsys.readouterr().err) == (folder != run)
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "others"))
    load_set(run)
    assert "it is unverified" in capsys.readouterr().err


def test_the_gate_asks_for_it(run: Path, corpus: Corpus, tmp_path: Path) -> None:
    distilled = DistilledSet.load(run)
    options = {"quick": True, "device": "cpu"}
    for of, verdict, figure in ((run, "pass", 4), (None, "not enough evidence", 0)):
        found = audit(distilled, corpus, recipe_of("noise"), out=tmp_path / "audit", run=of, **options)  # type: ignore[arg-type]
        (one,) = [one for one in found.criteria if one.name == MAKING_NAME]
        assert (one.verdict, one.figure) == (verdict, figure)
        assert (MAKING_UNKNOWN in one.reason) == (verdict != "pass")
        assert found.verdict != "pass"


def test_a_patient_in_the_low_bits_of_a_set_that_claims_to_begin_as_noise(
    run: Path, corpus: Corpus, tmp_path: Path
) -> None:
    """Nothing that looks for copies finds them; the record of the making does not fit the set any more."""
    honest = DistilledSet.load(run)
    patients = np.asarray(corpus.images[corpus.rows("train")[: len(honest.labels)]])
    hidden = (honest.viewable() & 0xFC) | (patients >> 6)
    replace(honest, images=honest.normalisation.apply(hidden).astype(np.float32)).save(run / "set")
    assert "changed after the run" in flaw(run, corpus, "noise", tmp_path)


def test_a_set_that_lies_about_its_start_is_another_one(run: Path, corpus: Corpus, tmp_path: Path) -> None:
    honest = DistilledSet.load(run)
    replace(honest, provenance={**honest.provenance.as_json(), "starts_from": "quantised"}).save(run / "set")
    assert "changed after the run" in flaw(run, corpus, "noise", tmp_path)


def test_a_set_from_elsewhere_brings_no_seal(
    run: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "medistill audit RUN" in flaw(None, corpus, "noise", tmp_path, of=run)
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "another house"))
    assert "not sealed by this installation" in flaw(run, corpus, "noise", tmp_path)
    local_key()
    assert "not sealed by this installation" in flaw(run, corpus, "noise", tmp_path)
    (run / FILE).unlink()
    assert "no record of it" in flaw(run, corpus, "noise", tmp_path)


def test_an_audit_under_other_settings_tells_of_another_method(run: Path, corpus: Corpus, tmp_path: Path) -> None:
    assert "evaluate.lr: 1e-09" in flaw(run, corpus, "noise", tmp_path, "evaluate.lr=1e-9")
    own = flaw(run, corpus, "noise", tmp_path, "audit.shadows=32", "compute.micro_batch=2")
    assert "same bits" in own


@pytest.mark.parametrize("kind", ["noise", "ddoq", "rendered"])
def test_whoever_holds_the_key_still_has_to_begin_as_the_recipe_does(kind: str, corpus: Corpus, tmp_path: Path) -> None:
    """Not that this stops them: the images of a set that is optimised are not made again."""
    run = tmp_path / "run"
    honest = made(kind, corpus, run)
    known = load_making(run)
    assert known is not None
    forged = replace(honest, images=honest.images + np.float32(0.01))
    origin = {name: getattr(known, name) for name in ("corpus", "recipe_digest", "seed", "experts", "start")}
    origin["start"] = "" if kind == "ddoq" else "0" * 64
    making(Chain.start(local_key(), origin), origin, forged).save(run)
    forged.save(run / "set")
    assert "are others" in flaw(run, corpus, kind, tmp_path)


class Stops(Silent):
    """Interrupts the distillation after its second outer step."""

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        class Second(SilentTask):
            steps = 0

            def advance(self, steps: int = 1, *, figures: str = "") -> None:
                self.steps += 1
                if title == "Distilling" and self.steps == 2:
                    raise KeyboardInterrupt

        return Second()


def interrupted(corpus: Corpus, run: Path) -> Path:
    with pytest.raises(KeyboardInterrupt):
        made("noise", corpus, run, progress=Stops())
    return run / "state" / "checkpoint.safetensors"


def test_a_checkpoint_is_gone_on_from_as_it_was_left(corpus: Corpus, tmp_path: Path) -> None:
    whole = made("noise", corpus, tmp_path / "whole")
    interrupted(corpus, tmp_path / "run")
    resumed = made("noise", corpus, tmp_path / "run", resume=True)
    assert resumed.digest() == whole.digest()
    assert "same bits" in flaw(tmp_path / "run", corpus, "noise", tmp_path)


def edited(checkpoint: Path, *, chain: bool) -> None:
    """A patient in the images, and checksums that fit."""
    with safe_open(checkpoint, framework="np") as file:
        arrays, known = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118
    arrays["pixels"] = arrays["pixels.best"] = arrays["pixels"] + np.float32(0.1)
    known["crc32"] = json.dumps(checksums(arrays))
    if not chain:
        del known["chain"]
    save_file(arrays, checkpoint, known)


def test_one_that_was_edited_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    edited(interrupted(corpus, tmp_path / "run"), chain=True)
    with pytest.raises(ArtifactError, match="changed after this installation wrote it"):
        made("noise", corpus, tmp_path / "run", resume=True)


def test_one_whose_chain_was_taken_off_leaves_a_gap(corpus: Corpus, tmp_path: Path) -> None:
    """As one of an earlier version, or of another machine: the run goes on, and its set cannot pass."""
    edited(interrupted(corpus, tmp_path / "run"), chain=False)
    made("noise", corpus, tmp_path / "run", resume=True)
    assert "did not write" in flaw(tmp_path / "run", corpus, "noise", tmp_path)


def test_centroids_that_others_put_there_are_made_again(corpus: Corpus, tmp_path: Path) -> None:
    recipe = recipe_of("ddoq")
    honest = quantise(on_cpu(corpus, recipe, tmp_path), [0, 1])
    kept = tmp_path / "state" / "centroids.safetensors"
    with safe_open(kept, framework="np") as file:
        arrays, known = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118
    arrays["grey"] = np.clip(arrays["grey"] + np.float32(0.1), 0, 1)
    save_file(arrays, kept, known)
    again = quantise(on_cpu(corpus, recipe, tmp_path), [0, 1])
    np.testing.assert_array_equal(again.grey, honest.grey)


@pytest.mark.parametrize("far", ["begun", "finished"])
def test_what_others_put_into_the_folder_of_an_audit_is_made_from_its_beginning(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far: str
) -> None:
    """Another installation's state, or set: a run goes on from it and says so, a shadow is made again."""
    shadow = tmp_path / "shadow"
    with monkeypatch.context() as patch:
        patch.setenv("MEDISTILL_KEYS", str(tmp_path / "other keys"))
        if far == "begun":
            patch.setattr("medistill.workflow.distill._keep", killed)
            with pytest.raises(KeyboardInterrupt):
                made("noise", corpus, shadow, use="shadow")
        else:
            made("noise", corpus, shadow, use="shadow")
    run, told = Path(shutil.copytree(shadow, tmp_path / "run")), Heard()
    made("noise", corpus, run, resume=True)
    known = load_making(run)
    assert known is not None
    assert not (known.whole and known.sealed_by(local_key()))

    made("noise", corpus, shadow, use="shadow", resume=True, progress=told)
    assert NOT_FROM_HERE in told.said
    known = load_making(shadow)
    assert known is not None
    assert known.whole
    assert known.sealed_by(local_key())

    told.said.clear()
    made("noise", corpus, shadow, use="shadow", resume=True, progress=told)
    assert NOT_FROM_HERE not in told.said


def killed(*_: object) -> None:
    raise KeyboardInterrupt
