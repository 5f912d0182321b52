"""The audit: what must be caught is caught, what must not be is not, and what cannot be told is said so."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from medistill.artifacts.atomic import sha256_file
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json, read_result
from medistill.errors import ArtifactError, DataError, UsageError
from medistill.networks import registry
from medistill.networks.own import factory_name
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.audit import Audit, CopyFigures, Subject, load_audit
from medistill.privacy.gate import MAKING_NAME
from medistill.privacy.initialisation import initial_rows
from medistill.privacy.membership import MembershipAttack
from medistill.progress import Silent
from medistill.recipe import load_recipe, override_recipe
from medistill.studies.audit.audit import audit
from medistill.studies.audit.signals import AuditSignals
from medistill.workflow.near_duplicates import HeldOut
from tests.factories import audited
from tests.factories.attacked import attack_membership, audit_context, membership_hidden
from tests.factories.on_cpu import on_cpu


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return audited.corpus(tmp_path_factory.mktemp("corpora"))


def audit_of(distilled: DistilledSet, corpus: Corpus, out: Path, **options: bool) -> Audit:
    return audit(distilled, corpus, audited.RECIPE, out=out, device="cpu", quick=True, **options)


def figures(found: Audit, subject: Subject, space: str) -> CopyFigures:
    return next(one for one in found.copies if (one.subject, one.space) == (subject, space))


def verdict_of(found: Audit, name: str) -> str:
    (verdict,) = {criterion.verdict for criterion in found.criteria if name in criterion.name}
    return verdict


def test_a_quick_audit_says_that_the_set_is_not_made_once_more(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr("medistill.studies.audit.audit.run_attacks", lambda *_: {})  # which take long, and say nothing

    class Heard(Silent):
        def say(self, message: str) -> None:
            lines.append(message)

    for canaries in (0, 27):
        recipe = override_recipe(audited.RECIPE, [f"audit.one_run_canaries={canaries}"], "test")
        found = audit(
            audited.from_noise(corpus), corpus, recipe, out=tmp_path, device="cpu", quick=True, progress=Heard()
        )
        assert found.membership is None
        told = [line for line in lines if "audit.one_run_canaries" in line]
        assert [line.count("audit.one_run_canaries, 27,") for line in told] == [1] * (canaries > 0)


TAMPER: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "exact": lambda grey, _: grey,
    "compressed": lambda grey, _: audited.compressed(grey),
    "noised": lambda grey, numbers: grey + numbers.normal(0, 12, grey.shape),
    "shifted": lambda grey, _: np.roll(grey, 1, axis=3),
    "darker": lambda grey, _: grey * 0.6 + 10,
}


@pytest.mark.parametrize("how", TAMPER)
def test_real_images_in_a_set_are_caught(how: str, corpus: Corpus, tmp_path: Path) -> None:
    grey = np.asarray(corpus.images[audited.starting_rows(corpus)])
    images = audited.normalisation(corpus).apply(TAMPER[how](grey, np.random.default_rng(1)))
    found = audit_of(audited.distilled(images, corpus, starts_from="real"), corpus, tmp_path)
    assert found.verdict == "fail"
    assert figures(found, "distilled", "pixels").copies == 10
    assert verdict_of(found, "Copies in pixels") == "fail"
    assert verdict_of(found, "began as") == "fail"
    assert found.residue[0].recovered.value == 1.0


def test_a_few_extreme_pixels_do_not_hide_real_images(corpus: Corpus, tmp_path: Path) -> None:
    """To the eye, and in the viewable images of the set, they are three white dots."""
    grey = np.asarray(corpus.images[audited.starting_rows(corpus)])
    dotted = np.where(np.arange(audited.SIZE**2).reshape(grey[:1].shape) % 101, grey, 5e4)
    images = audited.normalisation(corpus).apply(dotted)
    found = audit_of(audited.distilled(images, corpus, starts_from="real"), corpus, tmp_path)
    assert verdict_of(found, "Copies in pixels") == "fail"
    assert found.residue[0].recovered.value == 1.0


def test_a_corpus_full_of_duplicates_under_other_numbers_lets_nothing_pass(corpus: Corpus, tmp_path: Path) -> None:
    """Under so much noise that they are not left out."""
    images, held_out = np.array(corpus.images), np.flatnonzero(corpus.splits > 0)
    copies = images[corpus.rows("train")[: len(held_out[::10])]]
    noise = np.random.default_rng(3).normal(0, 14, copies.shape)
    images[held_out[::10]] = np.clip(copies + noise, 0, 255).astype(np.uint8)
    found = audit_of(audited.from_noise(corpus), replace(corpus, images=images), tmp_path)
    assert found.held_out_left_out == 0
    assert found.rules[0].ratio < 0.25
    told = {one.name: (one.verdict, one.reason) for one in found.criteria}
    assert told["Copies in pixels"][0] == "not enough evidence"
    assert "duplicates" in told["Copies in pixels"][1]


def test_whoever_is_held_out_and_nearly_a_training_image_hides_nobody(corpus: Corpus, tmp_path: Path) -> None:
    """A training patient is once more among the held-out, and an image of the set is as near to either name."""
    images, row, held_out = np.array(corpus.images), corpus.rows("train")[10], np.flatnonzero(corpus.splits > 0)
    images[held_out[20]] = np.clip(images[row] + np.random.default_rng(3).normal(0, 4, images[row].shape), 0, 255)
    corpus, made = replace(corpus, images=images), audited.from_noise(corpus)
    made.images[7] = audited.normalisation(corpus).apply(images[[row, held_out[20]]].mean(axis=0, keepdims=True))[0]
    signals = AuditSignals(audit_context(made, corpus, audited.RECIPE))
    everybody = HeldOut(held_out, len(held_out), 0)
    before = AuditSignals(signals.context, held_out=everybody)
    for search in all_attacks():
        if search.name in ("copies in pixels", "copies in structure", "copies in own detail", "copies in blur"):
            assert [search.run(one).copies[0].copies for one in (before, signals)] == [0, 1], search.name
    assert held_out[20] not in signals.population.others
    found = audit_of(made, corpus, tmp_path)
    assert verdict_of(found, "Copies in pixels") == "fail"
    assert (found.held_out_left_out, found.held_out_patients) == (1, len(held_out) - 1)
    (asked,) = (one for one in found.criteria if one.name == "Held-out patients")
    assert (asked.verdict, asked.figure) == ("pass", len(held_out) - 1)
    assert "1 more patient is held out, and left out" in asked.reason
    assert load_audit(tmp_path / "audit.json").held_out_left_out == 1


def test_one_copy_among_many_is_caught_and_its_class_is_named(corpus: Corpus, tmp_path: Path) -> None:
    images = audited.from_noise(corpus).images.copy()
    images[7] = audited.normalisation(corpus).apply(np.asarray(corpus.images[[10]]))[0]
    found = audit_of(audited.distilled(images, corpus, starts_from="noise"), corpus, tmp_path)
    assert found.verdict == "fail"
    in_pixels = figures(found, "distilled", "pixels")
    assert in_pixels.copies == 1
    assert [(one.name, one.copies) for one in in_pixels.classes] == [("Normal", 0), ("Pneumonia", 1)]
    assert sum(one.copies or 0 for one in in_pixels.sites) == 1


def test_images_from_noise_pass_the_search_but_not_the_gate(corpus: Corpus, tmp_path: Path) -> None:
    found = audit_of(audited.from_noise(corpus), corpus, tmp_path)
    for space in ("pixels", "structure", "features"):
        assert figures(found, "distilled", space).copies == 0
    assert verdict_of(found, "Copies in pixels") == "pass"
    assert found.residue == ()
    assert verdict_of(found, "began as") == "pass"
    assert verdict_of(found, "Membership") == "not enough evidence"
    assert found.verdict == "not enough evidence"


def test_held_out_images_are_no_copies_and_random_originals_are(corpus: Corpus, tmp_path: Path) -> None:
    found = audit_of(audited.from_noise(corpus), corpus, tmp_path)
    for space in ("pixels", "structure", "features"):
        assert figures(found, "random", space).copies == 10
        assert figures(found, "held out", space).copies <= 0.02 * figures(found, "held out", space).images
    share = figures(found, "held out", "pixels").nearer.value
    assert share is not None
    assert abs(share - 0.5) < 0.15


def test_a_trace_of_the_starting_image_is_found(corpus: Corpus, tmp_path: Path) -> None:
    """The real image under noise: no copy, but it singles out its origin far more often than by chance."""
    real = audited.normalisation(corpus).apply(np.asarray(corpus.images[audited.starting_rows(corpus)]))
    noise = audited.from_noise(corpus).images
    found = audit_of(audited.distilled(real + 1.6 * noise, corpus, starts_from="real"), corpus, tmp_path)
    assert figures(found, "distilled", "pixels").copies == 0
    of_set, of_random = found.residue
    assert of_set.recovered.value is not None
    assert of_set.recovered.value > 10 * of_set.chance
    assert of_set.own > 3 * abs(of_set.others)
    assert of_random.recovered.value == 1.0
    assert found.verdict == "fail"


def test_no_trace_is_found_where_there_is_none(corpus: Corpus, tmp_path: Path) -> None:
    noise = audited.from_noise(corpus).images
    found = audit_of(audited.distilled(noise, corpus, starts_from="real"), corpus, tmp_path)
    assert found.residue[0].recovered.value == 0.0
    assert (found.residue[0].traced.low or 0) < 0.05
    assert verdict_of(found, "began as") == verdict_of(found, "traceable") == "pass"


def test_the_record_is_private_and_reads_back_the_same(corpus: Corpus, tmp_path: Path) -> None:
    distilled = audited.from_noise(corpus)
    distilled.save(tmp_path / "set")
    found = audit_of(distilled, corpus, tmp_path / "audit")
    assert load_audit(tmp_path / "audit" / "audit.json") == found
    assert found.set_digest == sha256_file(tmp_path / "set" / "images.safetensors")
    assert stat.S_IMODE((tmp_path / "audit" / "audit.json").stat().st_mode) == 0o600
    assert not (tmp_path / "audit" / "pairs.html").exists()
    text = (tmp_path / "audit" / "audit.json").read_text()
    assert "doe" not in text
    assert "anonymous" not in text


def test_real_images_are_shown_only_when_asked_for(corpus: Corpus, tmp_path: Path) -> None:
    audit_of(audited.from_noise(corpus), corpus, tmp_path, show_real=True)
    page = tmp_path / "pairs.html"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    text = page.read_text()
    assert "DO NOT SHARE" in text
    assert text.count("data:image/png") == 3 * 10
    assert "doe" not in text
    audit_of(audited.from_noise(corpus), corpus, tmp_path)
    assert not page.exists()  # it may show another set's pairs


@pytest.mark.parametrize(
    ("held_out", "per_patient", "told"),
    [(0, 1, "no held-out image"), (60, 1, "60 held-out images are too few"), (120, 2, "of 60 patients only")],
)
def test_too_few_held_out_is_not_enough_evidence(held_out: int, per_patient: int, told: str, tmp_path: Path) -> None:
    corpus = audited.corpus(tmp_path, train=60, held_out=held_out, per_patient=per_patient)
    found = audit_of(audited.from_noise(corpus), corpus, tmp_path / "audit")
    assert found.verdict == "not enough evidence"
    assert told in next(one.reason for one in found.criteria if "Held-out" in one.name)
    assert load_audit(tmp_path / "audit" / "audit.json") == found


def test_a_small_site_is_hidden_with_the_next_smallest(tmp_path: Path) -> None:
    corpus = audited.corpus(tmp_path, train=120, held_out=40, at_third_site=4)
    found = audit_of(audited.from_noise(corpus), corpus, tmp_path / "audit")
    hidden = {one.name for one in figures(found, "distilled", "pixels").sites if one.images is None}
    assert hidden == {"Site_B", "Site_C"}


QUICK = load_recipe(
    "demo",
    [
        f"data.image_size={audited.SIZE}",
        "network.width=4",
        "network.depth=2",
        f"method.ipc={audited.IPC}",
        "method.syn_steps=2",
        "method.max_start_epoch=2",
        "method.validate_epochs=2",
        "method.experts.count=2",
        "method.experts.epochs=3",
        "evaluate.epochs=3",
        "evaluate.raw_epochs=2",
        "schedule.choose=fixed",
        "audit.networks=2",
        "audit.shadows=4",
        "audit.shadow_iterations=2",
    ],
)


@pytest.mark.parametrize("without", ["held-out", "validation"])
def test_attacks_on_a_corpus_without_validation_images_are_not_enough_evidence(without: str, tmp_path: Path) -> None:
    corpus = audited.corpus(tmp_path, train=60, held_out=0 if without == "held-out" else 110)
    corpus = replace(corpus, splits=np.where(corpus.splits == 1, 2, corpus.splits))
    found = audit(audited.from_noise(corpus), corpus, QUICK, out=tmp_path / "audit", device="cpu")
    assert found.verdict == "not enough evidence"
    told = {one.name: one.reason for one in found.criteria if one.verdict == "not enough evidence"}
    assert "the corpus has none" in told["Patients found (likelihood ratio, out only attack)"]
    assert ("there is no non-member" in told.get("AUC (loss attack)", "")) == (without == "held-out")
    assert load_audit(tmp_path / "audit" / "audit.json") == found


def pooled(channels: int, _: int, classes: int) -> nn.Module:
    """A network of the user's own that has no linear layer."""
    layers = (nn.Conv2d(channels, 6, 3), nn.GroupNorm(1, 6), nn.ReLU(), nn.Conv2d(6, classes, 1))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_a_set_of_ones_own_network_is_audited_with_it_and_with_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a network of the registry was built")

    monkeypatch.setattr(registry, "initialise", refuse)
    corpus = audited.corpus(tmp_path, train=60, held_out=110)
    made = audited.from_noise(corpus)
    made = replace(made, provenance={**made.provenance.as_json(), "network": factory_name(pooled)})
    with pytest.raises(UsageError, match=r"call medistill\.audit with network="):
        audit(made, corpus, QUICK, out=tmp_path / "audit", device="cpu")
    found = audit(made, corpus, QUICK, out=tmp_path / "audit", network=pooled, device="cpu")
    assert found.network == factory_name(pooled)
    assert found.membership is not None
    assert found.membership.shadows == 4
    assert all(attack.cells for attack in found.membership.attacks)


def other_corpus(distilled: DistilledSet) -> DistilledSet:
    return replace(distilled, provenance={**distilled.provenance.as_json(), "corpus": "f" * 64})


def other_classes(distilled: DistilledSet) -> DistilledSet:
    return replace(distilled, class_names=("Normal", "COVID"))


def other_shape(distilled: DistilledSet) -> DistilledSet:
    return replace(distilled, images=distilled.images[..., :8, :8])


def other_reader(distilled: DistilledSet) -> DistilledSet:
    known = {"corpus": "f" * 64, "text_check": {"policy": "mask", "by": "a reader 1.0"}}
    return replace(distilled, provenance={**distilled.provenance.as_json(), **known})


def unknown_corpus(distilled: DistilledSet) -> DistilledSet:
    return replace(distilled, provenance={})


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        (other_corpus, "was made from the corpus ffffffffffff"),
        (other_reader, "burnt-in text was treated as mask, by a reader 1.0 then, as unchecked now"),
        (unknown_corpus, "does not say which corpus"),
        (other_classes, "the set has the classes Normal, COVID"),
        (other_shape, r"the set's images are \(1, 8, 8\)"),
    ],
)
def test_a_set_of_another_corpus_is_refused(
    alter: Callable[[DistilledSet], DistilledSet], told: str, corpus: Corpus, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=told):
        audit_of(alter(audited.from_noise(corpus)), corpus, tmp_path)


def test_a_damaged_record_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    audit_of(audited.from_noise(corpus), corpus, tmp_path)
    path = tmp_path / "audit.json"
    known = read_result(path, "audit")
    for altered, told in (({**known, "schema": 9}, "schema 9"), ({**known, "verdict": "splendid"}, "verdict")):
        keep_json(path, altered)
        with pytest.raises(ArtifactError, match=told):
            load_audit(path)
    keep_json(path, known)
    path.write_text(path.read_text().replace('"pass"', '"fail"'))
    with pytest.raises(ArtifactError, match=r"audit\.json .*checksum"):
        load_audit(path)


def test_starting_images_are_drawn_as_the_distillation_draws_them(corpus: Corpus) -> None:
    from medistill.methods.optimising.start import starting_images

    recipe = override_recipe(audited.RECIPE, ["method.init=real"], "test")
    normalisation = audited.normalisation(corpus)
    held = range(len(corpus.class_names))
    pixels, *_ = starting_images(on_cpu(corpus, recipe, Path("unused")), held, normalisation)  # real ones write nothing
    distilled = audited.distilled(pixels.numpy(), corpus, starts_from="real", recipe=recipe)
    began = initial_rows(distilled, corpus)
    assert began.reason == ""
    assert began.rows is not None
    np.testing.assert_allclose(normalisation.apply(np.asarray(corpus.images[began.rows])), pixels.numpy(), atol=1e-5)


def of_means(corpus: Corpus, each: int, smallest: int) -> DistilledSet:
    """The set of `audited.IPC` images a class, each the mean of ``each`` training images of its class."""
    rows = corpus.rows("train")
    chosen = [rows[corpus.labels[rows] == c][: each * audited.IPC].reshape(audited.IPC, each) for c in range(2)]
    grey = np.concatenate([corpus.images[which].mean(axis=1) for which in chosen])
    made = audited.distilled(audited.normalisation(corpus).apply(grey), corpus, starts_from="quantised")
    known = {"quantisation": {"smallest_cluster": smallest, "min_cluster_size": smallest}}
    return replace(made, provenance={**made.provenance.as_json(), **known})


def test_a_set_of_means_is_asked_of_how_many(corpus: Corpus, tmp_path: Path) -> None:
    name, began = "Fewest patients whose mean", "single out"
    sane = audit_of(of_means(corpus, 30, 30), corpus, tmp_path)
    assert (verdict_of(sane, name), verdict_of(sane, began), verdict_of(sane, "Copies")) == ("pass", "pass", "pass")
    assert sane.residue == ()
    assert "none" not in sane.residue_reason
    assert "mean of several" in sane.residue_reason
    alone = audit_of(of_means(corpus, 1, 1), corpus, tmp_path / "alone")
    assert (verdict_of(alone, name), verdict_of(alone, "Copies in pixels")) == ("fail", "fail")
    assert [
        one.name for one in load_audit(tmp_path / "alone" / "audit.json").criteria if one.asked.bound == "at least"
    ] == [
        MAKING_NAME,
        "Held-out patients",
        "Fewest patients whose mean an image began as",
        "Share of the originals looked through for text",
    ]


def test_members_of_means_are_sought_by_the_distance_to_them(corpus: Corpus, tmp_path: Path) -> None:
    """Five means of two images a class tell their ten members from others, five of 30 do not."""
    few = {"shadows": 0, "networks": 1}
    recipe = audited.RECIPE.model_copy(
        update={
            "audit": audited.RECIPE.audit.model_copy(update=few),
            "evaluate": audited.RECIPE.evaluate.model_copy(update={"epochs": 1, "raw_epochs": 1}),
        }
    )
    rows = corpus.rows("train")
    found: dict[tuple[int, str], MembershipAttack] = {}
    for each in (2, 30):
        used = np.concatenate([rows[corpus.labels[rows] == c][: each * audited.IPC] for c in range(2)])
        splits = np.where(
            np.isin(np.arange(len(corpus.splits)), [*used, *np.flatnonzero(corpus.splits)]), corpus.splits, 9
        )
        whole = replace(corpus, splits=splits)
        told = attack_membership(of_means(whole, each, each), whole, recipe, out=tmp_path / str(each), device="cpu")
        found |= {(each, one.source): one for one in told.attacks if one.name == "distance"}
        verdicts = {one.name: one.verdict for one in membership_hidden(told, recipe.audit)}
        assert verdicts["AUC (distance attack)"] == ("fail" if each == 2 else "pass")
    assert {source for _, source in found} == {"distilled", "random"}
    assert found[30, "random"].cells[0].auc.value == 1
    noise = attack_membership(audited.from_noise(corpus), corpus, recipe, out=tmp_path / "noise", device="cpu")
    assert "distance" not in {one.name for one in noise.attacks}
