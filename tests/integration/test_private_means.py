"""Private means through the chain: one release, entered and kept before it is used, and all else made of it alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load, save
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from medistill.artifacts.cache import cache_root
from medistill.artifacts.class_statistics import FILE, ClassStatistics
from medistill.artifacts.classifier import Classifier
from medistill.artifacts.corpus import Corpus, load_corpus, save_corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_tensors, read_checked
from medistill.artifacts.projection import Projection
from medistill.encoders.encoder import Encoder
from medistill.encoders.features import features_of
from medistill.encoders.projection_store import public_people
from medistill.encoders.store import stored_encoder
from medistill.errors import ArtifactError, DataError, MedistillError, RecipeError, UsageError
from medistill.methods.releasing import private_statistics
from medistill.methods.rendering import render
from medistill.networks.registry import network_spec
from medistill.privacy.accounting import ANALYTIC, ONE_RELEASE, Guarantee
from medistill.privacy.ledger import ledger_root, read_ledger
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.sharing.archive import write_archive
from medistill.sharing.bundle import Bundle, pack
from medistill.sharing.data_card import data_card
from medistill.sharing.outgoing import outgoing_provenance
from medistill.sharing.statement import Statement
from medistill.statistics.gaussian_mechanism import delta_of
from medistill.statistics.kept_release import KEPT
from medistill.statistics.linear import linear_classifier
from medistill.training.device import choose_device
from medistill.training.penalty import Penalty
from medistill.workflow import public_projection
from medistill.workflow.distill import distill
from medistill.workflow.evaluate_classifier import evaluate_classifier
from medistill.workflow.merge import merge
from medistill.workflow.prepare import prepare
from medistill.workflow.public_projection import (
    bring_projection,
    fit_invented_projection,
    fit_public_projection,
    projection_of,
)
from medistill.workflow.received import receive
from medistill.workflow.retrace import making_flaw
from medistill.workflow.statistics_classifier import statistics_classifier
from medistill.workflow.train_classifier import train_classifier
from medistill.workflow.verify import verify
from tests.factories.drawn_corpus import CLASSES, drawn_corpus
from tests.factories.on_cpu import on_cpu
from tests.factories.tiny_encoder import stored_tiny, tiny_architecture

STATEMENT = Statement(licence="CC-BY-4.0", intended_use="Research on exchange.", acknowledged_risk="A test.")


@pytest.fixture
def encoder(tmp_path: Path) -> Iterator[Encoder]:
    with tiny_architecture():
        yield stored_tiny(tmp_path / "encoder")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus")


@pytest.fixture
def recipe(encoder: Encoder) -> Recipe:
    return load_recipe(
        "covid-xray-private",
        [
            f"data.classes={json.dumps(CLASSES)}", "data.image_size=16", f"network.encoder={encoder.sha256}",
            "method.iterations=3", "method.levels=2", "privacy.epsilon=4", "privacy.units=40", "privacy.delta=0.001",
        ],
    )  # fmt: skip


def entries() -> int:
    ledger = read_ledger(ledger_root())
    return 0 if ledger is None else len(ledger.entries)


def made(corpus: Corpus, recipe: Recipe, out: Path, *, resume: bool = False) -> DistilledSet:
    return distill(corpus, None, recipe, out=out, device="cpu", resume=resume)


def statistics_of(distilled: DistilledSet) -> ClassStatistics:
    assert distilled.statistics is not None
    return distilled.statistics


def stopped_before_rendering(corpus: Corpus, recipe: Recipe, out: Path) -> Path:
    """Begin a run, and end it when the release is drawn; return the folder of its state."""

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "run_outer_loop", stopped)
        with pytest.raises(KeyboardInterrupt):
            made(corpus, recipe, out)
    return out / "state"


def test_a_set_states_one_release_and_carries_it(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    distilled = made(corpus, recipe, tmp_path / "run")
    known, statistics = Guarantee.of_set(distilled.provenance), statistics_of(distilled)
    assert known is not None
    assert (known.mechanism, known.accountant, known.steps, known.experts) == (ONE_RELEASE, ANALYTIC, 1, 1)
    assert known.epsilon <= 4
    assert delta_of(known.sigma, known.epsilon) <= 0.001 * (1 + 1e-9)
    assert "one Gaussian release" in known.sentence
    assert distilled.provenance.privacy is not None
    assert known.sentence in distilled.provenance.privacy
    assert distilled.provenance.training_images is None
    assert len(distilled.labels) == len(CLASSES)
    assert statistics.record.sums_noise[0] == pytest.approx(known.sigma / np.sqrt(0.95))
    assert entries() == 1
    assert statistics_of(DistilledSet.load(tmp_path / "run" / "set")).to_bytes() == statistics.to_bytes()
    assert not (tmp_path / "run" / "state").exists()


def test_what_a_run_began_from_is_made_again_to_the_same_bits(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    whole = made(corpus, recipe, tmp_path / "run")
    flaw, found = making_flaw(whole, on_cpu(corpus, recipe, tmp_path / "audit"), tmp_path / "run")
    assert flaw == ""
    assert found.endswith("are the same bits")


def test_after_the_release_no_image_of_a_patient_decides_anything(
    corpus: Corpus, recipe: Recipe, tmp_path: Path
) -> None:
    """From one release the same set follows, whatever the corpus holds by then."""
    stopped_before_rendering(corpus, recipe, tmp_path / "run")
    darker = replace(corpus, images=np.asarray(corpus.images) // 3)
    copytree(tmp_path / "run", tmp_path / "other")
    first, second = (
        made(one, recipe, tmp_path / name, resume=True) for one, name in ((corpus, "run"), (darker, "other"))
    )
    np.testing.assert_array_equal(first.images, second.images)
    assert statistics_of(first).to_bytes() == statistics_of(second).to_bytes()


def test_a_run_that_is_resumed_never_draws_again_and_spends_once(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = stopped_before_rendering(corpus, recipe, tmp_path / "run")
    assert entries() == 1
    assert (state / KEPT).stat().st_mode & 0o777 == 0o600

    def unwanted(*_: object, **__: object) -> None:
        raise AssertionError("noise was drawn again")

    monkeypatch.setattr(private_statistics, "release", unwanted)
    kept = read_checked(state / KEPT, "release")[0]["statistics"].tobytes()
    distilled = made(corpus, recipe, tmp_path / "run", resume=True)
    assert statistics_of(distilled).to_bytes() == kept
    assert entries() == 1
    spent = distilled.provenance.privacy_spent
    assert spent is not None
    assert spent.releases == 1


@pytest.mark.parametrize("how", ["removed", "altered", "by another hand"])
def test_a_release_that_is_lost_is_spent_again(how: str, corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    state = stopped_before_rendering(corpus, recipe, tmp_path / "run")
    arrays, told = read_checked(state / KEPT, "release")
    if how == "removed":
        (state / KEPT).unlink()
    elif how == "altered":
        data = bytearray((state / KEPT).read_bytes())
        data[-100] ^= 1
        (state / KEPT).write_bytes(bytes(data))
    else:
        other = ClassStatistics.from_bytes(arrays["statistics"].tobytes(), "it")
        forged = replace(other, sums=0 * other.sums).to_bytes()
        keep_tensors(state / KEPT, {**arrays, "statistics": np.frombuffer(forged, np.uint8)}, told)
    distilled = made(corpus, recipe, tmp_path / "run", resume=True)
    assert entries() == 2
    spent = distilled.provenance.privacy_spent
    assert spent is not None
    assert spent.releases == 2
    assert spent.epsilon is not None
    assert 4 < spent.epsilon < 8


def stopped_while_encoding(corpus: Corpus, recipe: Recipe, out: Path) -> None:
    """Begin a run, and end it when it is in the ledger and nothing is drawn yet."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private_statistics, "features_of", stopped)
        with pytest.raises(KeyboardInterrupt):
            made(corpus, recipe, out)


def test_copies_of_a_run_do_not_draw_by_one_entry(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    stopped_while_encoding(corpus, recipe, tmp_path / "run")
    copytree(tmp_path / "run", tmp_path / "copy")
    first = made(corpus, recipe, tmp_path / "run", resume=True)
    assert entries() == 1
    second = made(corpus, recipe, tmp_path / "copy", resume=True)
    assert statistics_of(first).digest != statistics_of(second).digest
    assert entries() == 2
    spent = second.provenance.privacy_spent
    assert spent is not None
    assert spent.releases == 2


def test_a_copy_that_draws_meanwhile_is_noticed_before_the_noise(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_while_encoding(corpus, recipe, tmp_path / "run")
    copytree(tmp_path / "run", tmp_path / "copy")

    def overtaken(*given: object) -> np.ndarray:
        monkeypatch.setattr(private_statistics, "features_of", features_of)
        made(corpus, recipe, tmp_path / "copy", resume=True)
        return features_of(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(private_statistics, "features_of", overtaken)
    with pytest.raises(UsageError, match="was drawn meanwhile"):
        made(corpus, recipe, tmp_path / "run", resume=True)
    assert entries() == 1
    made(corpus, recipe, tmp_path / "run", resume=True)
    assert entries() == 2


def test_two_processes_do_not_distil_in_one_folder(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second(*_: object) -> None:
        made(corpus, recipe, tmp_path / "run", resume=True)

    monkeypatch.setattr(private_statistics, "features_of", second)
    with pytest.raises(UsageError, match="another process works on the run"):
        made(corpus, recipe, tmp_path / "run")


def test_what_is_left_of_the_state_goes_when_the_run_is_resumed(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halfway(state: Path) -> None:
        (state / KEPT).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("medistill.workflow.distill.shutil.rmtree", halfway)
        with pytest.raises(KeyboardInterrupt):
            made(corpus, recipe, tmp_path / "run")
    first = DistilledSet.load(tmp_path / "run" / "set")
    again = made(corpus, recipe, tmp_path / "run", resume=True)
    assert statistics_of(again).digest == statistics_of(first).digest
    assert entries() == 1
    assert not (tmp_path / "run" / "state").exists()


def test_another_budget_does_not_go_on_with_a_release(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    stopped_before_rendering(corpus, recipe, tmp_path / "run")
    weaker = override_recipe(recipe, ["privacy.epsilon=8"], "test")
    with pytest.raises(UsageError, match="made under other settings"):
        made(corpus, weaker, tmp_path / "run", resume=True)


def test_a_total_that_would_be_exceeded_is_refused_before_the_noise_is_drawn(
    corpus: Corpus, recipe: Recipe, tmp_path: Path
) -> None:
    made(corpus, recipe, tmp_path / "first")
    limited = override_recipe(recipe, ["privacy.total_epsilon=5"], "test")
    with pytest.raises(UsageError, match="total_epsilon = 5 would be exceeded"):
        made(corpus, limited, tmp_path / "second")
    assert not (tmp_path / "second" / "state" / KEPT).exists()
    assert entries() == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["privacy.mode=none"], "without differential privacy"),
        (
            ["network.name=convnet", 'network.encoder=""', "network.depth=2"],
            "with network convnet",
        ),
        (["method.count_share=0", "method.class_units=10,10"], "2 public counts, and there are 3 classes"),
        (["method.second_share=0.2", "method.space=raw"], ""),
        (["method.second_share=0.2", "privacy.clip=1e6"], "too large to be kept"),
        (["method.count_share=1e-30"], "too large to be kept"),
    ],
)
def test_what_would_break_it_is_refused_before_anything_is_spent(
    settings: list[str], said: str, corpus: Corpus, recipe: Recipe, tmp_path: Path
) -> None:
    changed = override_recipe(recipe, settings, "test")
    if not said:  # 22 features: few enough for second moments
        assert statistics_of(made(corpus, changed, tmp_path / "run")).second is not None
        return
    with pytest.raises(MedistillError, match=said):
        made(corpus, changed, tmp_path / "run")
    assert entries() == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["method.count_share=0"], "one of the two"),
        (["method.class_units=10,10,10"], "one of the two"),
        (["method.count_share=0.5", "method.second_share=0.5"], "leave nothing of the budget"),
        (["privacy.choose=public"], "choose = off"),
        (["data.classes=[]"], "name data.classes"),
        (["privacy.delta=0.5"], "not below 1 / privacy.units"),
        (["privacy.clip=1e16"], "privacy.clip"),
        (["privacy.clip=1e-200"], "privacy.clip"),
    ],
)
def test_a_recipe_that_breaks_a_condition_is_refused(settings: list[str], said: str, recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match=said):
        override_recipe(recipe, settings, "test")


def test_a_patient_who_is_not_known_is_refused(recipe: Recipe, corpus: Corpus, tmp_path: Path) -> None:
    unknown = replace(corpus, split_unit="image")
    with pytest.raises(UsageError, match="the patient of 36 of 36 training images is not known"):
        made(unknown, recipe, tmp_path / "run")
    assert entries() == 0


def test_an_encoder_that_sees_the_same_in_every_image_is_refused(
    recipe: Recipe, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = Encoder.encoded
    monkeypatch.setattr(Encoder, "encoded", lambda self, grey, micro_batch=0: 0 * encoded(self, grey, micro_batch))
    with pytest.raises(DataError, match="sees the same in every image"):
        made(corpus, recipe, tmp_path / "run")
    assert entries() == 0


def with_space(corpus: Corpus, recipe: Recipe, components: int = 6) -> Recipe:
    """The recipe with a space that was whitened on a corpus, as if that were public."""
    digest = projection_of(corpus, stored_encoder(recipe.network.encoder), components, device="cpu")
    return override_recipe(recipe, [f"network.projection={digest}"], "test")


def test_without_public_images_the_space_is_whitened_on_drawn_radiographs(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within classes and sites of what was drawn, by numpy's own covariance; it is of nobody, and costs nothing."""
    monkeypatch.setattr(public_projection, "DRAWN", 24)
    monkeypatch.setattr(public_projection, "COMPONENTS", 64)
    digest = fit_invented_projection(recipe, device="cpu")
    assert digest == fit_invented_projection(recipe, device="cpu")
    assert entries() == 0
    assert not public_people(digest).exists()
    spaced = override_recipe(recipe, [f"network.projection={digest}"], "test")
    projected = network_spec(corpus, spaced).encoder
    assert projected is not None
    assert projected.projection is not None
    record = projected.projection.record
    assert (record.kind, record.fitted, record.images) == ("invented", True, 72)
    drawn = load_corpus(next(at for at in (cache_root() / "corpora").iterdir() if at.name == record.corpus))
    seen = np.asarray(features_of(drawn, projected, choose_device("cpu"), Silent()), np.float64)
    group = drawn.sites * len(drawn.class_names) + drawn.labels
    within = np.concatenate([seen[group == one] - seen[group == one].mean(axis=0) for one in np.unique(group)])
    width = projected.projection.dimension
    np.testing.assert_allclose(within.T @ within / len(within), np.eye(width), atol=2e-3)
    distilled = made(corpus, spaced, tmp_path / "run")
    assert statistics_of(distilled).projection.digest == digest
    assert bring_projection(tmp_path / "run") == digest
    assert (
        "whitened on 72 drawn radiographs of nobody"
        in data_card(distilled, STATEMENT, outgoing_provenance(distilled), None, None, dicom=False).decode()
    )


def test_an_encoder_that_tells_drawn_radiographs_apart_too_little_keeps_its_own_scale(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_projection, "DRAWN", 12)
    monkeypatch.setattr(public_projection, "FEWEST", 10_000)
    assert fit_invented_projection(recipe, device="cpu") == ""


def test_public_images_of_protected_patients_are_refused_before_anything_is_spent(
    corpus: Corpus, recipe: Recipe, tmp_path: Path
) -> None:
    """By one picture that both have, whatever the folders are called."""
    public = drawn_corpus(tmp_path / "public", each=40, seed=1)
    images = np.array(public.images)
    images[7] = corpus.images[30]
    spaced = with_space(replace(public, images=images), recipe)
    with pytest.raises(UsageError, match="have 1 pictures, patients or studies in common"):
        made(corpus, spaced, tmp_path / "run")
    assert entries() == 0


def test_a_space_of_people_whom_this_ledger_cannot_tell_is_refused(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaced = with_space(drawn_corpus(tmp_path / "public", each=40, seed=1), recipe)
    monkeypatch.setenv("MEDISTILL_LEDGER", str(tmp_path / "another"))
    with pytest.raises(UsageError, match="is not known to this ledger"):
        made(corpus, spaced, tmp_path / "run")


def pictures(folder: Path, site: str, *, first: int = 0, sizes: int = 16) -> list[str]:
    """Write 24 pictures of noise of each of two classes at a site, and give the rows of a table, a patient each."""
    rng, rows = np.random.default_rng([len(site), sizes]), []
    for label in CLASSES[:2]:
        (folder / site / label).mkdir(parents=True, exist_ok=True)
        for number in range(24):
            Image.fromarray(rng.integers(0, 256, (sizes, sizes), np.uint8)).save(
                folder / site / label / f"{number}.png"
            )
            rows.append(f"{site}/{label}/{number}.png,{label},{site},{label}{first + number}")
    return rows


def table_of(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["file,label,site,patient", *rows]))
    return path


@pytest.mark.parametrize(
    ("public", "sites", "public_sites", "said"),
    [
        ("xray", (), (), "lie in the folder of the patients"),
        ("xray", (), ("east",), "lie in the folder of the patients"),
        ("xray", ("west",), (), "lie in the folder of the patients"),
        ("xray/east", ("west",), (), "lie in the folder of the patients"),
        ("xray", ("west",), ("west", "east"), "site west is declared public"),
        ("xray", ("west",), ("east",), ""),
    ],
)
def test_patients_are_not_their_own_public_images(
    public: str, sites: tuple[str, ...], public_sites: tuple[str, ...], said: str, recipe: Recipe, tmp_path: Path
) -> None:
    rows = [*pictures(tmp_path / "xray", "east"), *pictures(tmp_path / "xray", "western")]
    table = table_of(tmp_path / "labels.csv", [row.replace(",western,", ",west,") for row in rows])
    changed = ["data.classes=COVID,Normal", "data.image_size=16", f"data.sites={','.join(sites)}"]
    chosen = override_recipe(recipe, changed, "test")

    def fitted() -> str:
        return fit_public_projection(
            tmp_path / public, chosen, patients=tmp_path / "xray", labels=table, sites=public_sites, components=4,
            device="cpu",
        )  # fmt: skip

    if said:
        with pytest.raises(UsageError, match=said):
            fitted()
        return
    spaced = override_recipe(chosen, [f"network.projection={fitted()}"], "test")
    corpus = prepare(tmp_path / "xray", spaced, labels=table)
    assert statistics_of(made(corpus, spaced, tmp_path / "run")).sums.shape == (2, 4)


def test_a_public_patient_is_known_by_the_number_in_the_table(recipe: Recipe, tmp_path: Path) -> None:
    """Other pictures of the same people, in another folder."""
    chosen = override_recipe(recipe, ["data.classes=COVID,Normal"], "test")
    public = table_of(tmp_path / "public.csv", pictures(tmp_path / "public", "east", first=23, sizes=18))
    own = table_of(tmp_path / "own.csv", pictures(tmp_path / "own", "east"))
    digest = fit_public_projection(
        tmp_path / "public", chosen, patients=tmp_path / "own", labels=public, components=4, device="cpu"
    )
    spaced = override_recipe(chosen, [f"network.projection={digest}"], "test")
    corpus = prepare(tmp_path / "own", spaced, labels=own)
    with pytest.raises(UsageError, match="have 2 pictures, patients or studies in common"):
        made(corpus, spaced, tmp_path / "run")
    assert entries() == 0


def test_a_public_space_has_unit_variance_within_its_groups(
    corpus: Corpus, recipe: Recipe, encoder: Encoder, tmp_path: Path
) -> None:
    public = drawn_corpus(tmp_path / "public", each=40, seed=1)
    spaced = with_space(public, recipe)
    projected = network_spec(public, spaced).encoder
    assert projected is not None
    seen = np.asarray(features_of(public, projected, choose_device("cpu"), Silent()), np.float64)
    assert seen.shape == (120, 6)
    group = public.sites * 3 + public.labels
    means = np.stack([seen[group == g].mean(axis=0) if (group == g).any() else np.zeros(6) for g in range(6)])
    within = seen - means[group]
    np.testing.assert_allclose(within.T @ within / 120, np.eye(6), atol=0.02)  # float16, and the encoder's own
    grey = np.asarray(public.images[:3]).astype(np.float32) / 255
    np.testing.assert_allclose(projected.encoded(torch.from_numpy(grey)).numpy(), seen[:3], atol=0.02)


def test_more_components_than_public_images_are_refused(corpus: Corpus, recipe: Recipe) -> None:
    encoder = stored_encoder(recipe.network.encoder)
    with pytest.raises(DataError, match="23 components of 72 public images"):
        projection_of(corpus, encoder, 23, device="cpu")


def test_a_classifier_from_statistics_is_linear_discriminant_analysis(
    corpus: Corpus, recipe: Recipe, encoder: Encoder, tmp_path: Path
) -> None:
    """With next to no noise and second moments it is scikit-learn's, of one image a patient."""
    settings = ["privacy.epsilon=100", "privacy.clip=50", "method.second_share=0.4", "privacy.delta=0.02"]
    changed = override_recipe(recipe, settings, "test")
    quiet = statistics_of(made(corpus, changed, tmp_path / "quiet"))
    assert quiet.second is not None
    seen = np.asarray(features_of(corpus, encoder, choose_device("cpu"), Silent()), np.float64)[corpus.rows("train")]
    labels = corpus.labels[corpus.rows("train")]
    z = quiet.projection.apply(seen)
    exact = replace(
        quiet,
        sums=np.stack([z[labels == c].sum(axis=0) for c in range(3)]),
        counts=np.bincount(labels).astype(np.float64),
        second=(z.T @ z + (z.T @ z).T) / 2,
        record=quiet.record.replaced(sums_noise=(0.0,) * 3, clip=1e6),
    )
    weights, biases = linear_classifier(exact)
    ours = seen @ weights.T.astype(np.float64) + biases
    ours -= ours.mean(axis=1, keepdims=True)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", priors=np.full(3, 1 / 3)).fit(z, labels)
    assert (ours.argmax(axis=1) == theirs.predict(z)).mean() > 0.9  # `LEAST` keeps directions that hardly vary quiet


@pytest.mark.parametrize(("choice", "penalty"), [("", 0.3), ("validation split, declared public", 7.0)])
def test_a_classifier_does_not_take_what_validation_patients_chose(
    choice: str, penalty: float, corpus: Corpus, recipe: Recipe, tmp_path: Path
) -> None:
    distilled = made(corpus, recipe, tmp_path / "run")
    stated = distilled.provenance.differential_privacy
    assert stated is not None
    told = distilled.provenance.replaced(differential_privacy={**stated, "choice": choice or stated["choice"]})
    chosen = override_recipe(recipe, ["schedule.penalty=0.3"], "test")
    assert chosen.schedule.choose == "validation"
    classifier = train_classifier(
        replace(distilled, provenance=told), chosen, out=tmp_path / "model", device="cpu",
        schedules={network_spec(corpus, recipe).words: Penalty(7.0)},
    )  # fmt: skip
    assert classifier.provenance.penalty == penalty


def test_it_trains_from_a_bundle_without_images_and_tampering_is_told(
    corpus: Corpus, recipe: Recipe, tmp_path: Path
) -> None:
    spaced = with_space(drawn_corpus(tmp_path / "public", each=40, seed=1), recipe)
    distilled = made(corpus, spaced, tmp_path / "run")
    files = pack(distilled, STATEMENT)
    assert files[FILE] == statistics_of(distilled).to_bytes()
    assert b"--from statistics" in b" ".join(files["README.md"].split())
    write_archive(tmp_path / "bundle.zip", files)
    received = receive(tmp_path / "bundle.zip")
    classifier = statistics_classifier(received.distilled, spaced, out=tmp_path / "model")
    tested = evaluate_classifier(
        Classifier.load(tmp_path / "model"), corpus, classifier.recipe, out=tmp_path / "tested", device="cpu"
    )
    assert tested.arms[0].macro_auc.value is not None
    assert classifier.images == 0
    assert bring_projection(tmp_path / "bundle.zip") == spaced.network.projection

    other = statistics_of(made(corpus, override_recipe(spaced, ["seed=1"], "test"), tmp_path / "other"))
    checks = {check.name: check.state for check in verify(tmp_path / "bundle.zip", today=date(2026, 12, 1)).checks}
    assert (checks["Class statistics"], checks["Their noise"]) == ("passed", "declared")
    whole = statistics_of(distilled)
    quiet = replace(whole, record=whole.record.replaced(sums_noise=(0.01,) * 3))
    told = distilled.provenance.replaced(statistics=quiet.digest)
    with pytest.raises(ArtifactError, match=r"noise on the sums of COVID is 0\.01"):
        Bundle.of_files(pack(replace(distilled, statistics=quiet, provenance=told), STATEMENT))
    for changed in (
        {name: data for name, data in files.items() if name != FILE},
        {**files, FILE: other.to_bytes()},
        {**files, FILE: files[FILE][:-8]},
    ):
        with pytest.raises(ArtifactError):
            Bundle.of_files(changed)


def test_a_classifier_is_of_statistics_as_wide_as_the_encoder(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    distilled = made(corpus, recipe, tmp_path / "run")
    found = statistics_of(distilled)
    space = Projection(found.projection.centre[:21], found.projection.matrix[:21], found.projection.record)
    narrow = replace(found, projection=space, sums=found.sums[:, :21])
    told = distilled.provenance.replaced(statistics=narrow.digest)
    with pytest.raises(ArtifactError, match=r"takes 21 features, and the encoder .* gives 22"):
        statistics_classifier(replace(distilled, statistics=narrow, provenance=told), recipe, out=tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("what", ["nan", "huge", "names", "more", "cut", "asymmetric"])
def test_statistics_from_outside_are_checked(what: str, corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    good = statistics_of(made(corpus, override_recipe(recipe, ["method.second_share=0.2"], "test"), tmp_path / "run"))
    data = good.to_bytes()
    assert ClassStatistics.from_bytes(data, "it").to_bytes() == data
    arrays, told = dict(load(data)), json.dumps(good.record.as_json(), sort_keys=True)
    if what == "nan":
        arrays["sums"] = arrays["sums"] * np.nan
    elif what == "huge":
        arrays["counts"] = arrays["counts"] + 1e300
    elif what == "names":
        told = told.replace("Pneumonia", "COVID")
    elif what == "more":
        arrays["extra"] = np.zeros(3)
    elif what == "asymmetric":
        arrays["second"] = np.triu(arrays["second"])
    broken = data[:-9] if what == "cut" else save(arrays, {"record": told})
    with pytest.raises(ArtifactError, match="cannot be used"):
        ClassStatistics.from_bytes(broken, "it")


def another_place(corpus: Corpus, folder: Path) -> Corpus:
    """Other images of other people, in the same classes."""
    images = np.clip(np.asarray(corpus.images).astype(int) + 9, 0, 255).astype(np.uint8)
    return save_corpus(folder, images, corpus.columns, corpus.facts, [])


def test_merged_statistics_are_those_of_all_together(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    east, west = (
        made(one, recipe, tmp_path / name)
        for one, name in ((corpus, "east"), (another_place(corpus, tmp_path / "west-corpus"), "west"))
    )
    united = merge([tmp_path / "east", tmp_path / "west"], out=tmp_path / "united")
    one, two, both = statistics_of(east), statistics_of(west), statistics_of(united)
    np.testing.assert_array_equal(both.sums, one.sums + two.sums)
    np.testing.assert_array_equal(both.counts, one.counts + two.counts)
    assert both.record.sums_noise[0] == pytest.approx(np.sqrt(2) * one.record.sums_noise[0])
    assert both.record.releases == 2
    assert united.provenance.privacy is not None
    assert "if no patient is in two of the sources" in united.provenance.privacy
    assert statistics_of(DistilledSet.load(tmp_path / "united")).digest == both.digest
    statistics_classifier(united, recipe, out=tmp_path / "model")


def test_statistics_in_other_spaces_are_not_added(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    made(corpus, recipe, tmp_path / "east")
    made(
        another_place(corpus, tmp_path / "c"),
        with_space(drawn_corpus(tmp_path / "public", seed=1), recipe),
        tmp_path / "west",
    )
    with pytest.raises(DataError, match="differ in their encoder or projection"):
        merge([tmp_path / "east", tmp_path / "west"], out=tmp_path / "united")
    without = merge([tmp_path / "east", tmp_path / "west"], out=tmp_path / "united", statistics="leave out")
    assert without.statistics is None
