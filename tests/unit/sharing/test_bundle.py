"""A bundle gives back the set that went in, and its parts have to agree."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace

import numpy as np
import pytest
from safetensors.numpy import load, save

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.whitening import Whitening
from medistill.errors import ArtifactError
from medistill.privacy.audit import Audit
from medistill.privacy.copy_search import COPIES
from medistill.privacy.criterion import Asked, Criterion, Verdict
from medistill.privacy.gate import HELD_OUT
from medistill.privacy.score_attack import FOUND
from medistill.sharing.audit_file import audit_record
from medistill.sharing.bundle import Bundle, _check_dicom, pack
from medistill.sharing.labels import labels_csv
from medistill.sharing.merging import MergeSource, merge_sets
from medistill.sharing.statement import Statement
from tests.factories import sent_bundle
from tests.factories.sent_bundle import listed_anew, small_set, unsigned

PLAIN = Statement(licence="CC-BY-4.0", intended_use="Tests", acknowledged_risk="a test")
Files = dict[str, bytes]


def audit_of(distilled: DistilledSet, verdict: Verdict) -> Audit:
    digest = json.loads(pack(distilled, PLAIN)["manifest.json"])["files"]["images.safetensors"]["sha256"]
    return sent_bundle.audit_of(digest, verdict)


def soft() -> DistilledSet:
    return replace(small_set(), soft_labels=np.random.default_rng(2).dirichlet((1, 1), 4).astype(np.float32))


def valued() -> DistilledSet:
    values = np.random.default_rng(4).normal(size=(4, 2)).astype(np.float32)
    return replace(small_set(), soft_labels=values, label_kind="values")


def whitened() -> DistilledSet:
    grey = np.random.default_rng(6).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    plain = Normalisation.full_scale(1)
    normalisation = Normalisation(plain.mean, plain.std, Whitening.of(plain.apply(grey), 0.1))
    return replace(small_set(), images=normalisation.apply(grey[:4]), normalisation=normalisation)


@pytest.mark.parametrize("made", [small_set, soft, valued, whitened])
def test_the_set_comes_back_bit_by_bit(made: Callable[[], DistilledSet]) -> None:
    distilled = made()
    found = Bundle.of_files(pack(distilled, PLAIN)).distilled
    assert found.training_bytes() == distilled.training_bytes()
    assert found.file_bytes() == distilled.file_bytes()
    assert found.class_names == distilled.class_names
    assert found.provenance == distilled.provenance
    assert found.by_values == distilled.by_values


@pytest.mark.parametrize(("made", "column"), [(soft, "probability"), (valued, "value")])
def test_the_table_of_labels_gives_every_number_back(made: Callable[[], DistilledSet], column: str) -> None:
    distilled = replace(made(), weights=np.array([0.1, 1.9, 1 / 3, 5 / 3], np.float32), stage=np.array([0, 0, 1, 2]))
    rows = list(csv.DictReader(io.StringIO(labels_csv(distilled).decode())))
    assert [int(row["index"]) for row in rows] == [0, 1, 2, 3]
    assert np.array_equal(np.array([float(row["weight"]) for row in rows], np.float32), distilled.weights)
    assert [int(row["stage"]) for row in rows] == distilled.stage.tolist()
    assert [row["class"] for row in rows] == [distilled.class_names[label] for label in distilled.labels]
    told = [[float(row[f"{column} {name}"]) for name in distilled.class_names] for row in rows]
    assert np.array_equal(np.array(told, np.float32), distilled.soft_labels)


def test_an_audit_travels_with_the_set() -> None:
    audit = audit_of(small_set(), "pass")
    found = Bundle.of_files(pack(small_set(), PLAIN, audit=audit))
    assert found.manifest.audit == audit_record(audit)
    assert found.audit is not None
    assert found.audit.criteria == audit.criteria
    assert found.audit.command == ""


def other_tensors(files: Files, **changes: np.ndarray) -> Files:
    return {**files, "images.safetensors": save({**load(files["images.safetensors"]), **changes}, {})}


def altered_audit(**changes: object) -> Files:
    files = pack(small_set(), PLAIN, audit=audit_of(small_set(), "fail"))
    told = {**json.loads(files["audit.json"]), **changes}
    return listed_anew({**files, "audit.json": (json.dumps(told, indent=2) + "\n").encode()})


def passing(criterion: Criterion) -> Files:
    return pack(small_set(), PLAIN, audit=replace(audit_of(small_set(), "pass"), criteria=(criterion,)))


def renamed(attack: str) -> Files:
    """A bundle whose criterion on copies in pixels is under another attack, which has no record to be held to."""
    audit = audit_of(small_set(), "fail")
    criteria = [replace(one, attack=attack) if one.attack == "copies in pixels" else one for one in audit.criteria]
    return altered_audit(criteria=[asdict(one) for one in criteria])


def elsewhere() -> bytes:
    return unsigned()["croissant.json"].replace(b'"contentUrl": "', b'"contentUrl": "https://example.org/')


@pytest.mark.parametrize(
    ("tampered", "why"),
    [
        (lambda: listed_anew({**unsigned(), "labels.csv": labels_csv(soft())}), "labels.csv.*does not agree"),
        (lambda: listed_anew(other_tensors(unsigned(), note=np.zeros(3))), "more than a distilled set"),
        (
            lambda: listed_anew(other_tensors(unsigned(), viewable=np.zeros((4, 1, 8, 8), np.uint8))),
            "what it shows to people is not",
        ),
        (
            lambda: listed_anew(
                {**unsigned(), "images.safetensors": save(load(unsigned()["images.safetensors"]), {"note": "hidden"})}
            ),
            "more than a distilled set",
        ),
        (lambda: listed_anew({**unsigned(), "report.html": b"<p>"}), "belong together"),
        (lambda: altered_audit(seed=8, thresholds={"copy_ratio": 0.1}), "something else than the manifest"),
        (lambda: altered_audit(verdict="pass"), "says 'pass', and its criteria give 'fail'"),
        (lambda: altered_audit(note="hidden"), "more than an audit"),
        (lambda: passing(Criterion("Copies in pixels", 0.9, 0.0, "pass", "", COPIES)), "passes whose figure does not"),
        (lambda: renamed(""), "under no attack that is known"),
        (lambda: renamed("copies in  pixels"), "under no attack that is known"),
        (lambda: passing(Criterion("Held-out patients", 3, 100, "pass", "", HELD_OUT)), "passes whose figure does not"),
        (
            lambda: passing(Criterion("Membership", None, 0.05, "pass", "so it is", FOUND)),
            "passes whose figure does not",
        ),
        *(
            (
                lambda asked=asked, threshold=threshold: passing(
                    Criterion("Copies in pixels", 0.9, threshold, "pass", "", asked)
                ),
                "against another threshold",
            )
            for threshold, asked in (
                (0.0, Asked("our own", "at least", "share", "most_copies")),
                (1.0, Asked("our own", "at most", "share")),
                (1.0, replace(COPIES, key="our own")),
            )
        ),
        (lambda: altered_audit(seconds="nan"), "seconds: Input should be a valid number"),
        (lambda: listed_anew({**unsigned(), "croissant.json": elsewhere()}), "croissant.json.*something else"),
        (lambda: altered_audit(schema=9), "schema 9"),
        (
            lambda: pack(small_set(), PLAIN, audit=sent_bundle.audit_of("f" * 64, "fail")),
            "of another set",
        ),
    ],
)
def test_parts_that_do_not_agree_are_refused(tampered: Callable[[], Files], why: str) -> None:
    with pytest.raises(ArtifactError, match=why):
        Bundle.of_files(tampered())


def test_an_audit_cannot_steer_the_terminal_that_tells_why_it_is_refused() -> None:
    with pytest.raises(ArtifactError) as refused:
        Bundle.of_files(altered_audit(thresholds={"\x1b[2J": "x"}))
    assert str(refused.value).isprintable()


def test_dicom_objects_have_to_show_the_images() -> None:
    pytest.importorskip("highdicom", reason="the dicom extra is not installed")
    from medistill.sharing.dicom import dicom_files

    ours, other = small_set(), replace(small_set(), images=-small_set().images)
    assert Bundle.of_files(pack(ours, PLAIN, dicom=dicom_files(ours))).distilled.ipc == 2
    with pytest.raises(ArtifactError, match=r"dicom/0000\.dcm.*does not show"):
        Bundle.of_files(pack(ours, PLAIN, dicom=dicom_files(other)))
    with pytest.raises(ArtifactError, match="not one DICOM object an image"):
        Bundle.of_files(pack(ours, PLAIN, dicom=dict(list(dicom_files(ours).items())[:2])))


GUARANTEE = {
    "epsilon": 7.9, "delta": 1e-5, "unit": "patient", "mechanism": "DP-SGD", "accountant": "PRV", "sigma": 1.2,
    "clip": 1.0, "sample_rate": 0.1, "steps": 10, "experts": 2, "units_public": 1000, "choice": "last outer step",
}  # fmt: skip


def test_a_guarantee_is_told_and_has_to_be_the_one_of_the_set() -> None:
    private = replace(small_set(), provenance={"differential_privacy": GUARANTEE})
    files = pack(private, PLAIN)
    bundle = Bundle.of_files(files)
    assert bundle.distilled.provenance.differential_privacy == GUARANTEE
    stated = bundle.manifest.privacy
    assert stated is not None
    assert (stated.epsilon, stated.delta, stated.unit) == (7.9, 1e-5, "patient")
    better = stated.model_copy(update={"epsilon": 0.5})
    for false in ({"privacy": better}, {"privacy": None}):
        with pytest.raises(ArtifactError, match="one guarantee of privacy"):
            Bundle.of_files(listed_anew(files, **false))


def test_an_object_that_breaks_the_reader_of_dicom_is_refused_without_a_warning() -> None:
    pytest.importorskip("highdicom", reason="the dicom extra is not installed")
    from medistill.sharing.dicom import dicom_files

    objects, numbers = dicom_files(small_set()), np.random.default_rng(4)
    good = bytearray(objects["dicom/0001.dcm"])
    for _ in range(150):
        held = bytearray(good)
        for place in numbers.integers(128, len(good), 4):
            held[place] = numbers.integers(256)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with suppress(ArtifactError):
                _check_dicom({**objects, "dicom/0001.dcm": bytes(held)}, small_set().viewable())


def test_a_united_set_keeps_its_sources() -> None:
    other = replace(small_set(), images=-small_set().images, provenance={"differential_privacy": GUARANTEE})
    united = merge_sets(
        [MergeSource("a", small_set(), "a" * 64, "St Example"), MergeSource("b", other, "b" * 64, "Ward 7")]
    )
    bundle = Bundle.of_files(pack(united, PLAIN))
    assert bundle.distilled.provenance.sources == united.provenance.sources
    assert "| 2 | Ward 7 (unverified) | 4 to 7 | 7.9 |" in bundle.files["README.md"].decode()


def test_words_cannot_promise_more_privacy_than_the_figures() -> None:
    better, honest = "It has epsilon = 0.1, delta = 1e-9.", "epsilon = 7.91, delta = 1e-05"
    private = {"differential_privacy": GUARANTEE}
    one, other = (replace(small_set(), images=k * small_set().images, provenance=private) for k in (1, -1))
    whole = merge_sets([MergeSource("a", one, "a" * 64), MergeSource("b", other, "b" * 64)])
    united = whole.provenance.as_json()
    assert "epsilon = " in united["privacy"]
    half = {**united, "sources": [{**united["sources"][0], "epsilon": None, "delta": None}, united["sources"][1]]}
    for known in (
        {"privacy": better},
        {**private, "privacy": better},
        {**united, "privacy": better},
        {**united, "sources": [{**united["sources"][0], "privacy": better}, united["sources"][1]]},
        half,
    ):
        with pytest.raises(ArtifactError, match="smaller epsilon than its figures"):
            Bundle.of_files(pack(replace(whole, provenance=known), PLAIN))
    for known in ({**private, "privacy": honest}, united):
        assert Bundle.of_files(pack(replace(whole, provenance=known), PLAIN)).distilled.provenance
    with pytest.raises(ArtifactError, match="do not make up its images"):
        Bundle.of_files(pack(replace(small_set(), provenance=united), PLAIN))
