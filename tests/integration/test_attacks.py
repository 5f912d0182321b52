"""Attacks on networks that are really trained: memory is caught, a set made without the members is not."""

from __future__ import annotations

import stat
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import DataError
from medistill.privacy.membership import Membership, MembershipAttack
from medistill.progress import Silent, SilentTask
from medistill.quantisation import decoders
from medistill.quantisation.autoencoder_training import train_autoencoder
from medistill.recipe import Recipe, load_recipe
from medistill.studies.audit import network_answers
from medistill.studies.audit.audit import audit
from medistill.training.randomness import derive_seed
from medistill.workflow import shadows
from medistill.workflow.shadows import plan_shadows, shadow_recipe
from tests.factories.attacked import attack_membership, distance_attacks, membership_hidden
from tests.factories.drawn_corpus import drawn_set
from tests.factories.flat_corpus import save_flat

KINDS_OF_RATIO = ("likelihood ratio", "Bayesian likelihood ratio", "relative")
"""Attacks over shadows; each is made in and out, and out only."""


def noise_corpus(folder: Path, *, train: int = 160, held_out: int = 310, sites: int = 2) -> Corpus:
    """Noise whose labels are drawn too: there is nothing to learn, so whatever a network knows it has memorised."""
    numbers, count = np.random.default_rng(0), train + held_out
    return save_flat(
        folder,
        images=numbers.integers(0, 256, (count, 1, 12, 12)).astype(np.uint8),
        labels=numbers.permutation(count) % 2,
        groups=range(count),
        sites=np.arange(count) % sites,
        splits=np.repeat([0, 1, 2], [train, 30, held_out - 30]),
        views=["PA"] * count,
        class_names=("a", "b"),
        site_names=("east", "west")[:sites],
    )


def small_recipe(*overrides: str) -> Recipe:
    return load_recipe(
        "demo",
        [
            "data.image_size=12",
            "network.width=16",
            "network.depth=2",
            "augmentation.operations=[]",
            "method.experts.count=2",
            "method.experts.epochs=3",
            "method.ipc=3",
            "method.max_start_epoch=2",
            "method.validate_epochs=2",
            "evaluate.epochs=30",
            "evaluate.raw_epochs=80",
            "schedule.choose=fixed",
            "evaluate.raw_lr=0.05",
            "audit.networks=3",
            "audit.shadows=6",
            "audit.shadow_iterations=2",
            "audit.canaries=8",
            *overrides,
        ],
    )


@pytest.fixture(scope="module")
def attacked(tmp_path_factory) -> tuple[Membership, Corpus, DistilledSet, Path]:
    """One set of attacks: on a set of noise, which was made without any member, and on the controls."""
    folder = tmp_path_factory.mktemp("membership")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDISTILL_CACHE", str(folder / "cache"))
        corpus = noise_corpus(folder / "corpora")
        made = drawn_set(corpus, ipc=3)
        found = attack_membership(made, corpus, small_recipe(), out=folder, device="cpu")
    return found, corpus, made, folder


def attack(found: Membership, name: str, source: str) -> MembershipAttack:
    (one,) = [one for one in found.attacks if (one.name, one.source) == (name, source)]
    return one


@pytest.mark.parametrize("name", ["loss", "likelihood ratio, in and out", "likelihood ratio, out only"])
def test_networks_that_memorised_raw_data_are_caught(attacked, name):
    whole = attack(attacked[0], name, "raw").cells[0]
    assert whole.auc.value > 0.9
    assert whole.detections[0].rate.low > 0.01  # more than one who knows nothing is allowed
    assert whole.detections[0].chance < 0.02


def test_a_set_made_without_the_members_gives_nothing_away(attacked):
    whole = attack(attacked[0], "loss", "distilled").cells[0]
    assert whole.members == 160
    assert whole.non_members == 310
    assert whole.auc.low <= 0.5 <= whole.auc.high
    assert whole.detections[0].rate.low <= 0.01
    assert whole.detections[0].chance > 0.01


def test_canaries_are_repeated_by_networks_on_raw_data(attacked):
    tests = {test.source: test for test in attacked[0].canaries}
    assert tests["raw"].canaries == 8
    assert tests["raw"].inserted.value > tests["raw"].absent.value + 0.3
    assert tests["raw"].chance < 0.005


def test_every_attack_is_made_on_every_source_by_class_and_site(attacked):
    found = attacked[0]
    of_shadows = {f"{kind}, {way}" for kind in KINDS_OF_RATIO for way in ("in and out", "out only")}
    made = [(one.name, one.source) for one in found.attacks]
    assert sorted(made) == sorted(product({"loss", *of_shadows}, ("distilled", "random", "raw")))
    assert [cell.name for cell in attack(found, "loss", "raw").cells] == ["", "a", "b", "east", "west"]
    assert all(cell.auc.value is None for cell in attack(found, "loss", "random").cells[1:])  # 3 members each
    ratio = attack(found, "likelihood ratio, out only", "raw").cells[0]
    assert 130 <= ratio.non_members <= 152 >= ratio.members  # all but the canaries are both, but for a few of 6 coins


def test_what_is_kept_is_private_and_nothing_else_is_left(attacked):
    folder = attacked[3]
    kept = sorted((folder / "membership").iterdir())
    assert len(kept) == 3 * 3 + 6 + 1
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in kept)
    assert stat.S_IMODE((folder / "membership").stat().st_mode) == 0o700
    assert list((folder / "cache" / "trajectories").iterdir()) == []


def test_a_repeated_call_trains_only_what_is_missing(attacked, monkeypatch):
    found, corpus, made, folder = attacked
    (folder / "membership" / "shadow_003.safetensors").unlink()
    (folder / "membership" / "raw_001.safetensors").unlink()
    left = folder / "membership" / "shadow_003-of-other-settings" / "state"
    left.mkdir(parents=True)
    trained = []

    class Counting(Silent):
        def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
            trained.append((title, total - done))
            return SilentTask()

    again = attack_membership(made, corpus, small_recipe(), out=folder, device="cpu", progress=Counting())
    assert trained == [("Attacking by the loss", 80 * 160), ("Attacking shadow distillations", 1)]
    assert replace(again, seconds=found.seconds) == found  # and to the same figures
    assert not left.exists()


def test_halves_are_drawn_by_patient_and_class_and_shadows_know_nothing_of_each_other(tmp_path):
    corpus = noise_corpus(tmp_path)
    corpus = replace(corpus, groups=corpus.groups // 2 * 2 // 2)  # two images a patient
    plan = plan_shadows(corpus, small_recipe("audit.shadows=64", "audit.canaries=4"))
    groups = corpus.groups[plan.rows]
    assert len(plan.canaries) == 4
    assert len(set(groups[plan.canaries])) == 4
    assert (plan.labels[plan.canaries] != corpus.labels[plan.rows][plan.canaries]).all()
    for held in plan.held:
        for patient in np.unique(groups[plan.ordinary]):
            assert len(set(held[groups == patient])) == 1
        assert 0.4 < held.mean() < 0.6
    beside = ~plan.ordinary
    beside[plan.canaries] = False
    assert not plan.held[:, beside].any()  # the other image of a canary's patient
    share = plan.held[:, plan.ordinary].mean(axis=0)
    assert abs(share.mean() - 0.5) < 0.02
    assert share.std() == pytest.approx(0.5 / 8, rel=0.35)
    view = plan.corpus(corpus, 5)
    np.testing.assert_array_equal(view.rows("train"), plan.rows[plan.held[5]])
    np.testing.assert_array_equal(view.rows("test"), corpus.rows("test"))
    assert view.content != plan.corpus(corpus, 6).content != corpus.content


def test_a_shadow_takes_the_budget_and_nothing_more():
    recipe = small_recipe()
    cut = shadow_recipe(recipe, 3)
    assert cut.seed == derive_seed(0, "shadow recipe", 3) % 2**31 != shadow_recipe(recipe, 4).seed
    assert (cut.method.experts.count, cut.method.iterations, cut.method.ipc) == (2, 2, 3)
    assert Recipe.model_validate(cut.model_dump()) == cut


def test_a_shadow_that_was_begun_goes_on_under_other_thresholds_and_another_count():
    begun = shadow_recipe(small_recipe("audit.shadow_networks=2"), 3)
    assert begun.audit.shadow_networks == 2
    later = small_recipe("audit.shadow_networks=2", "audit.shadows=40", "audit.most_found=0.2", "audit.networks=7")
    assert shadow_recipe(later, 3) == begun


def test_too_few_shadows_or_images_are_a_reason_and_no_crash(tmp_path, monkeypatch):
    corpus = noise_corpus(tmp_path, train=40, held_out=60)
    monkeypatch.setattr(shadows, "followed_experts", None)
    quick = ["audit.networks=1", "evaluate.epochs=1", "evaluate.raw_epochs=1"]
    for setting, why in (("audit.shadows=0", "audit.shadows is 0"), ("method.ipc=19", "training images of class a")):
        found = attack_membership(drawn_set(corpus, ipc=2), corpus, small_recipe(setting, *quick), out=tmp_path / why)
        assert found.shadows == 0
        assert found.canaries == ()
        assert all(why in one.reason for one in found.attacks if one.name != "loss")
        assert "needs 100 who were not" in found.attacks[0].cells[0].detections[0].rate.reason


QUANTISED = (
    "method.name=ddoq", "method.labels=hard", "method.quantise.components=8", "method.quantise.min_cluster_size=2",
    "method.autoencoder.width=8", "method.autoencoder.levels=2", "method.autoencoder.latent_channels=1",
    "method.autoencoder.epochs=1", "audit.shadows=4", "audit.shadow_networks=1", "audit.networks=1",
    "evaluate.epochs=1", "evaluate.raw_epochs=1",
)  # fmt: skip


def test_a_half_that_cannot_be_quantised_is_a_reason_and_no_crash(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / "cache"))
    corpus, recipe = noise_corpus(tmp_path, train=40), small_recipe(*QUANTISED, "method.quantise.components=30")
    found = attack_membership(drawn_set(corpus, ipc=3), corpus, recipe, out=tmp_path / "out", device="cpu")
    of_shadows = [one for one in found.attacks if one.name != "loss"]
    assert len(of_shadows) == len(KINDS_OF_RATIO) * 2 * 3
    assert all("shadow 1 of 4: method.quantise.components = 30" in one.reason for one in of_shadows)
    assert found.shadows == 0
    assert list((tmp_path / "out" / "membership").glob("shadow*")) == []


def test_autoencoders_of_shadows_are_removed_with_them(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / "cache"))
    trained = []
    monkeypatch.setattr(decoders, "train_autoencoder", lambda *a, **k: trained.append(a) or train_autoencoder(*a, **k))
    corpus, recipe = noise_corpus(tmp_path), small_recipe(*QUANTISED, "method.quantise.encoder=autoencoder")
    found = attack_membership(drawn_set(corpus, ipc=3), corpus, recipe, out=tmp_path / "out", device="cpu")
    assert (found.shadows, len(trained)) == (4, 4)
    assert list((tmp_path / "cache" / "decoders").iterdir()) == []


def test_one_image_alone_is_no_evidence_against_the_attack_by_distance(tmp_path):
    corpus = noise_corpus(tmp_path)
    made = drawn_set(corpus, ipc=1)
    pair = distance_attacks(made, corpus, small_recipe())
    assert all(one.cells[0].auc.value is not None for one in pair)
    one = replace(
        made, images=made.images[:1], labels=made.labels[:1], weights=made.weights[:1], stage=made.stage[:1]
    )  # fmt: skip
    told = Membership(distance_attacks(one, corpus, small_recipe()), (), 0, 0, 0, 0, 0, 0.95, 0.0)
    verdicts = {criterion.name: criterion.verdict for criterion in membership_hidden(told, small_recipe().audit)}
    assert verdicts["Patients found (distance attack)"] == "not enough evidence"


def test_halves_that_are_nearly_one_patient_s_are_a_reason_and_no_crash(tmp_path):
    """One patient has half of the images of a class: where a shadow holds him, five others do not hide him."""
    corpus = noise_corpus(tmp_path, train=40, held_out=60)
    groups, of_class = corpus.groups.copy(), np.flatnonzero(corpus.labels[:40] == 0)
    groups[of_class[: len(of_class) // 2]] = groups[of_class[0]]
    quick = [
        "audit.networks=1",
        "evaluate.epochs=1",
        "evaluate.raw_epochs=1",
        "audit.shadows=8",
        "audit.canaries=0",
    ]
    recipe = small_recipe("method.init=quantised", "method.quantise.min_cluster_size=4", *quick)
    made = drawn_set(corpus, ipc=2)
    found = attack_membership(made, replace(corpus, groups=groups), recipe, out=tmp_path / "out", device="cpu")
    reasons = {one.reason for one in found.attacks if one.name != "loss"}
    assert found.shadows == 0
    assert len(reasons) == 1
    assert "of class a by their share of its images, and method.quantise.min_cluster_size is 4" in reasons.pop()


def test_another_corpus_or_shape_is_refused(tmp_path, monkeypatch):
    corpus = noise_corpus(tmp_path)
    monkeypatch.setattr(network_answers, "attack_jobs", None)
    made = drawn_set(corpus)
    with pytest.raises(DataError, match="was made from the corpus 000000000000"):
        audit(replace(made, provenance={"corpus": "0" * 64}), corpus, small_recipe(), out=tmp_path)
    with pytest.raises(DataError, match="12, 12"):
        audit(replace(made, images=made.images[:, :, :8, :8].copy()), corpus, small_recipe(), out=tmp_path)


@pytest.mark.parametrize("name", ["loss", "likelihood ratio, out only"])
def test_a_set_that_contains_real_images_is_caught(of_real_images, name):
    whole = attack(of_real_images, name, "distilled").cells[0]
    assert whole.auc.low > 0.6
    assert whole.detections[0].rate.low > 0.01
    assert whole.detections[0].chance < 0.02
    assert attack(of_real_images, name, "raw").cells[0].auc.value < whole.auc.value  # one epoch remembers little


@pytest.fixture(scope="module")
def of_real_images(tmp_path_factory) -> Membership:
    """Attacks on 30 unchanged training images of each class; shadows are of such images too."""
    folder = tmp_path_factory.mktemp("real")
    recipe = small_recipe(
        "method.ipc=30",
        "method.image_lr=1e-9",
        "method.student_lr=0.05",
        "evaluate.epochs=80",
        "evaluate.raw_epochs=1",
        "audit.networks=5",
        "audit.shadow_iterations=1",
        "method.experts.epochs=2",
        "method.max_start_epoch=1",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDISTILL_CACHE", str(folder / "cache"))
        corpus = noise_corpus(folder / "corpora")
        rows = np.concatenate([corpus.rows("train")[corpus.labels[corpus.rows("train")] == c][:30] for c in (0, 1)])
        blank = drawn_set(corpus, ipc=30)
        made = replace(blank, images=blank.normalisation.apply(corpus.images[rows]), student_lr=0.05)
        return attack_membership(made, corpus, recipe, out=folder, device="cpu")
