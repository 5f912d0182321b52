"""Diffusion-patches through the whole chain: patients' own pixels, said so everywhere, and a gate that stays shut."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.denoising.denoiser import Architecture, Denoiser, noise_levels
from medistill.denoising.denoiser_folder import save
from medistill.denoising.denoisers import bring_denoiser
from medistill.errors import ArtifactError, DataError, GateError, UsageError
from medistill.progress import Silent, SilentTask
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.sharing.archive import write_archive
from medistill.sharing.bundle import Bundle, pack
from medistill.sharing.statement import Statement
from medistill.studies.audit.audit import audit
from medistill.training.randomness import generator
from medistill.workflow.distill import distill
from medistill.workflow.run import run
from medistill.workflow.share import share
from medistill.workflow.verify import verify
from tests.factories.planted import planted_corpus
from tests.factories.tiny import TINY_QUANTISED

SMALL = ("method.ipc=2", "method.denoiser.updates=3", "method.denoiser.width=8", "method.denoiser.depth=2",
    "method.denoiser.batch_size=8", "method.draws=1", "method.batch_size=16",
)  # fmt: skip


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return planted_corpus(tmp_path / "corpus", each=40)[0]


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe(
        "demo", [*TINY_QUANTISED, "method.name=diffusion-patches", "data.image_size=16", "network.depth=2", *SMALL]
    )


def changed(recipe: Recipe, *overrides: str) -> Recipe:
    return override_recipe(recipe, overrides, "test")


def found_in(corpus: Corpus, made: DistilledSet, along: int) -> list[set[int]]:
    """For each image the training originals of its class that hold its parts, by comparing all windows."""
    grey, side, told = made.normalisation.invert(made.images), corpus.images.shape[2] // along, []
    for image, label in zip(grey, made.labels, strict=True):
        rows = corpus.rows("train")[corpus.labels[corpus.rows("train")] == label]
        windows = np.lib.stride_tricks.sliding_window_view(corpus.images[rows], (side, side), axis=(2, 3))
        holders = set()
        for i in range(along):
            for j in range(along):
                part = image[:, i * side : (i + 1) * side, j * side : (j + 1) * side]
                same = (windows == part[None, :, None, None]).all(axis=(1, 4, 5)).any(axis=(1, 2))
                holders |= set(rows[same].tolist())
        told.append(holders)
    return told


@pytest.mark.parametrize("along", [1, 2])
def test_every_image_is_made_of_pixels_of_as_many_originals_of_its_class(
    along: int, corpus: Corpus, recipe: Recipe, tmp_path: Path
) -> None:
    recipe = changed(recipe, f"method.patches={along}", "method.labels=hard")
    made = distill(corpus, None, recipe, out=tmp_path / "run", device="cpu")
    assert made.labels.tolist() == [0, 0, 1, 1]
    assert made.soft_labels is None
    holders = found_in(corpus, made, along)
    assert [len(of) for of in holders] == [along**2] * 4
    assert len(set.union(*holders)) == 4 * along**2, "no original gives two parts"
    known = made.provenance
    assert (known.method, known.starts_from) == ("Diffusion-patches", "patches")
    assert known.patched is not None
    assert (known.patched.along, known.patched.originals, known.patched.groups) == (along, 4 * along**2, 4 * along**2)
    assert not (tmp_path / "run" / "state").exists()
    assert DistilledSet.load(tmp_path / "run").provenance.patched == known.patched


class StopsAt(Silent):
    """Stops at the first step of a piece of work."""

    def __init__(self, title: str) -> None:
        self.title = title

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        """Start a bar."""
        stops = title.startswith(self.title)

        class Bar(SilentTask):
            def advance(self, steps: int = 1, *, figures: str = "") -> None:
                """Stop, where it is to."""
                if stops:
                    raise KeyboardInterrupt

        return Bar()


@pytest.mark.parametrize("stage", ["Training the denoiser", "Scoring class standing", "Training teachers"])
def test_interrupted_and_resumed_to_the_same_bits(stage: str, corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        distill(corpus, None, recipe, out=tmp_path / "killed", device="cpu", progress=StopsAt(stage))
    if stage == "Training teachers":  # what was chosen is taken up, without a denoiser
        assert (tmp_path / "killed" / "state" / "patches.safetensors").is_file()
    resumed = distill(corpus, None, recipe, out=tmp_path / "killed", device="cpu", resume=True)
    whole = distill(corpus, None, recipe, out=tmp_path / "whole", device="cpu")
    assert resumed.training_bytes() == whole.training_bytes()


def test_patches_that_others_put_there_are_not_taken(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    from medistill.artifacts.kept import keep_tensors, read_checked

    with pytest.raises(KeyboardInterrupt):
        distill(corpus, None, recipe, out=tmp_path / "run", device="cpu", progress=StopsAt("Training teachers"))
    path = tmp_path / "run" / "state" / "patches.safetensors"
    arrays, metadata = read_checked(path, "patches")
    assert set(load_file(path)) == set(arrays)
    keep_tensors(path, {**arrays, "images": np.zeros_like(arrays["images"])}, {"key": metadata["key"]})
    made = distill(corpus, None, recipe, out=tmp_path / "run", device="cpu", resume=True)
    assert all(len(of) == 4 for of in found_in(corpus, made, 2))


def test_a_class_of_fewer_originals_than_patches_is_named(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"class lying has 20 training images, fewer than 24 "):
        distill(corpus, None, changed(recipe, "method.ipc=6"), out=tmp_path / "run", device="cpu")


@pytest.fixture
def brought(tmp_path: Path) -> str:
    known = Architecture(1, 16, 8, 2, ("standing", "lying", "else"), noise_levels(2))
    save(tmp_path / "denoiser", Denoiser.drawn(known, generator(0, "made")), "CC-BY-4.0", "invented lines")
    return bring_denoiser(tmp_path / "denoiser")


def test_a_set_by_a_denoiser_that_was_brought_is_made_again_by_its_audit(
    corpus: Corpus, recipe: Recipe, brought: str, tmp_path: Path
) -> None:
    recipe = changed(
        recipe, "method.labels=hard", "method.denoiser.source=brought", f'method.denoiser.sha256="{brought}"'
    )
    made = distill(corpus, None, recipe, out=tmp_path / "run", device="cpu")
    assert made.provenance.patched is not None
    assert (made.provenance.patched.denoiser, made.provenance.patched.licence) == (brought, "CC-BY-4.0")
    told = audit(made, corpus, recipe, out=tmp_path / "audit", run=tmp_path / "run", quick=True, device="cpu")
    criteria = {one.asked.key: one for one in told.criteria}
    assert told.verdict == "fail"
    assert (criteria["pasted"].verdict, criteria["pasted"].figure, criteria["pasted"].threshold) == ("fail", 1.0, 0.0)
    assert criteria["making"].verdict == "pass"
    assert "its images, made again, are the same bits" in criteria["making"].reason
    other = replace(made, images=made.images[::-1].copy())
    again = audit(other, corpus, recipe, out=tmp_path / "other", run=tmp_path / "run", quick=True, device="cpu")
    assert {one.asked.key: one.verdict for one in again.criteria}["making"] == "not enough evidence"


def test_a_bundle_needs_an_acknowledgement_and_says_what_it_holds(
    phantom_folder: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = changed(tiny_recipe, "method.name=diffusion-patches", *SMALL)
    out = tmp_path / "run"
    run(recipe, out=out, data=phantom_folder, device="cpu")
    made = DistilledSet.load(out)
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    page = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    for said in (
        "selection of patches by a diffusion model (as Zhong et al. 2024 do)",
        "Images are parts of real ones" if made.provenance.synthetic_source is False else "patches of original",
        "No pixel was changed: the images are parts of training images.",
        "a denoiser that was trained on the training split leaves unseen there when it is told the class",
        "No set was chosen among several: a patch selection gives one.",
        "patches of original training images, unchanged",
    ):
        assert said in page, said
    words = {"licence": "CC0-1.0", "intended_use": "Tests."}
    with pytest.raises(GateError, match="--acknowledge-risk"):
        share(out, out=tmp_path / "refused.zip", **words)
    statement = Statement(**words, acknowledged_risk="A test.")
    write_archive(tmp_path / "bundle.zip", pack(made, statement))
    checked = {one.name: one for one in verify(tmp_path / "bundle.zip", today=date(2026, 12, 1)).checks}
    assert checked["Patches"].state == "declared"
    assert re.search(r"unchanged parts of \d+ original images", checked["Patches"].told)
    bundle = Bundle.open(tmp_path / "bundle.zip")
    assert bundle.manifest.provenance.patched == made.provenance.patched


def test_a_set_that_contradicts_itself_is_refused(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    made = distill(corpus, None, changed(recipe, "method.labels=hard"), out=tmp_path / "run", device="cpu")
    statement = Statement(licence="CC0-1.0", intended_use="Tests.", acknowledged_risk="A test.")
    for number, change in enumerate(({"starts_from": "noise"}, {"starts_from": "noise", "patched": None})):
        lying = replace(made, provenance=made.provenance.replaced(**change))
        write_archive(tmp_path / f"{number}.zip", pack(lying, statement))
        with pytest.raises(ArtifactError, match="pasted together from patches of originals"):
            Bundle.open(tmp_path / f"{number}.zip")


def test_another_denoiser_for_a_finished_set_is_refused(recipe: Recipe, brought: str, tmp_path: Path) -> None:
    from medistill_cli.brought import bring_denoiser_again

    with pytest.raises(UsageError, match="made without a denoiser that was brought"):
        bring_denoiser_again(tmp_path / "denoiser", recipe)
    bring_denoiser_again(None, recipe)
    given = changed(recipe, "method.denoiser.source=brought", f'method.denoiser.sha256="{brought}"')
    bring_denoiser_again(tmp_path / "denoiser", given)


def test_the_recipe_differs_from_its_neighbour_by_the_method_alone() -> None:
    mine, theirs = (
        load_recipe("covid-xray-diffusion-patches"),
        load_recipe("covid-xray-cpu", ["method.name=diffusion-patches", "method.denoiser.depth=3"]),
    )
    for section in ("data", "network", "augmentation", "evaluate", "audit", "compute", "privacy"):
        assert getattr(mine, section) == getattr(theirs, section), section
    assert json.loads(mine.method.model_dump_json()) == json.loads(theirs.method.model_dump_json())
