"""`medistill verify` as it is typed: what passes, what is demanded of a signature, and what a full disk leaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medistill.errors import ArtifactError
from medistill.privacy.accounting import ACCOUNTANT, MECHANISM, Guarantee, spent_epsilon
from medistill.privacy.attacks.letters import no_text
from medistill.privacy.findings import findings
from medistill.privacy.spent import Spent
from medistill.recipe import load_recipe
from medistill.sharing.archive import read_archive, write_archive
from medistill.sharing.bundle import Bundle, pack
from medistill.sharing.claimed_epsilon import least_epsilon
from medistill.sharing.keys import forget_key
from medistill.sharing.manifest import BundleManifest
from medistill.sharing.statement import Statement
from medistill.workflow.received import receive
from medistill.workflow.verify import verify
from medistill_cli.main import app
from tests.factories import report_example, sent_bundle


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """The keys of a sender, good for 30 days."""
    sent_bundle.make_sender(tmp_path / "theirs", valid_days=30)
    return tmp_path / "theirs"


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of our keys, with none in it."""
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "ours"))
    return tmp_path / "ours"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A bundle that is not signed."""
    write_archive(tmp_path / "plain.zip", sent_bundle.unsigned())
    return tmp_path / "plain.zip"


@pytest.fixture
def signed(tmp_path: Path, theirs: Path) -> Path:
    """A bundle that the sender signed."""
    write_archive(tmp_path / "signed.zip", sent_bundle.signed(sent_bundle.unsigned(), theirs))
    return tmp_path / "signed.zip"


def typed(*words: str | Path) -> tuple[int, str, str]:
    told = CliRunner().invoke(app, ["verify", *map(str, words)])
    return told.exit_code, told.stdout, told.stderr


def test_a_bundle_without_a_signature_passes_and_that_is_said(plain: Path, ours: Path) -> None:
    code, out, _ = typed(plain)
    assert code == 0
    assert "nobody vouches for it" in out
    assert "that nobody can be told from the images" in out
    assert "A test." in out
    assert not ours.exists()


def test_json_tells_each_check(plain: Path, ours: Path) -> None:
    code, out, _ = typed(plain, "--json")
    told = json.loads(out)
    states = {check["name"]: check["state"] for check in told["checks"]}
    assert code == 0
    assert (told["accepted"], told["signer"]) == (True, None)
    assert states["Files"] == states["Distilled set"] == "passed"
    assert states["Signature"] == states["Audit"] == states["Differential privacy"] == "missing"
    assert states["Acknowledged risk"] == "declared"
    assert states["Burnt-in text"] == "passed", "8 pixels"


@pytest.mark.parametrize(
    ("original", "reader", "state", "words"),
    [
        ("RapidOCR 3", "RapidOCR 3", "declared", "what was found was masked"),
        ("", "RapidOCR 3", "missing", "was not looked for, and images of this size can carry letters"),
        ("RapidOCR 3", "", "missing", "it was not read"),
    ],
)
def test_whether_text_was_looked_for_is_told(
    original: str, reader: str, state: str, words: str, tmp_path: Path, ours: Path
) -> None:
    made = sent_bundle.small_set()
    audit = sent_bundle.audit_of(made.digest(), "pass")
    text = replace(report_example.text_figures(), originals=original, reader=reader)
    files = pack(made, Statement(licence="CC-BY-4.0", intended_use="Tests"), audit=replace(audit, text=text))
    write_archive(tmp_path / "read.zip", files)
    found, told = state_of(tmp_path / "read.zip", "Burnt-in text")
    assert (found, words in told) == (state, True)


def test_what_the_sender_did_not_look_for_is_shown_as_no_pass(tmp_path: Path, ours: Path) -> None:
    made = sent_bundle.small_set()
    audit = sent_bundle.audit_of(made.digest(), "pass")
    text = replace(report_example.text_figures(), side=32, legible=False, originals="", reader="", images=0)
    unread = tuple(replace(one, attack="letters") for one in no_text(text))
    others = tuple(one for one in audit.criteria if one.attack != "letters")
    audit = replace(audit, criteria=(*others, *unread), text=text)
    write_archive(
        tmp_path / "unread.zip", pack(made, Statement(licence="CC-BY-4.0", intended_use="Tests"), audit=audit)
    )
    state, told = state_of(tmp_path / "unread.zip", "Privacy statement")
    assert (state, "2 not asked" in told) == ("declared", True)
    briefly = " ".join(typed(tmp_path / "unread.zip")[1].split())
    assert briefly.count("not asked: images of 32 pixels are too small for letters") == 1
    said = " ".join(typed(tmp_path / "unread.zip", "--details")[1].split())
    assert said.count("(not asked): images of 32 pixels are too small for letters") == 2


def test_the_signature_of_a_trusted_key_passes(signed: Path, theirs: Path, ours: Path) -> None:
    sent = sent_bundle.trust_sender(theirs, ours)
    for trust in (None, sent_bundle.SENDER, str(sent)):
        found = verify(signed, trust=trust, today=sent_bundle.TODAY)
        assert found.signer == sent_bundle.SENDER
        assert {check.state for check in found.checks if check.name == "Signature"} == {"passed"}


def test_the_file_of_a_key_is_enough(signed: Path, theirs: Path, ours: Path, tmp_path: Path) -> None:
    sent = sent_bundle.trust_sender(theirs, tmp_path / "elsewhere")
    assert verify(signed, trust=str(sent), today=sent_bundle.TODAY).signer == sent_bundle.SENDER
    assert not ours.exists()


def test_ones_own_signature_passes(signed: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDISTILL_KEYS", str(theirs))
    assert verify(signed, today=sent_bundle.TODAY).signer == sent_bundle.SENDER


def test_the_signature_of_an_unknown_key_is_refused(signed: Path, theirs: Path, ours: Path) -> None:
    code, out, err = typed(signed)
    assert (code, out) == (3, "")
    assert "not known here" in err
    assert "medistill keys trust" in err
    sent_bundle.trust_sender(theirs, ours)
    verify(signed, today=sent_bundle.TODAY)
    forget_key(ours, sent_bundle.SENDER)
    with pytest.raises(ArtifactError, match="not known here"):
        verify(signed, today=sent_bundle.TODAY)


def test_an_expired_key_is_refused_from_the_day_after(signed: Path, theirs: Path, ours: Path) -> None:
    sent = sent_bundle.trust_sender(theirs, ours)
    last = sent_bundle.TODAY + timedelta(days=30)
    assert verify(signed, today=last).signer == sent_bundle.SENDER
    for trust in (None, sent_bundle.SENDER, str(sent)):
        with pytest.raises(ArtifactError, match="expired on 2026-12-21"):
            verify(signed, trust=trust, today=last + timedelta(days=1))


def test_another_key_than_the_one_demanded_is_refused(signed: Path, theirs: Path, ours: Path) -> None:
    sent_bundle.trust_sender(theirs, ours)
    sent_bundle.make_sender(ours, "ward-7")
    code, _, err = typed(signed, "--trust", "ward-7")
    assert code == 3
    assert "a signature by the key 'ward-7'" in err


def test_a_signature_that_is_demanded_must_be_there(plain: Path, theirs: Path, ours: Path) -> None:
    sent_bundle.trust_sender(theirs, ours)
    code, _, err = typed(plain, "--trust", sent_bundle.SENDER)
    assert code == 3
    assert "is not signed" in err


def test_a_key_that_is_nowhere_is_a_slip_of_the_user(plain: Path, ours: Path) -> None:
    assert typed(plain, "--trust", "nobody")[0] == 2


def test_a_signed_bundle_changed_by_its_owner_needs_a_new_signature(tmp_path: Path, theirs: Path, ours: Path) -> None:
    sent_bundle.trust_sender(theirs, ours)
    files = sent_bundle.signed(sent_bundle.unsigned(), theirs)
    changed = sent_bundle.listed_anew(files, acknowledged_risk="Another one.")
    write_archive(tmp_path / "old.zip", changed)
    write_archive(tmp_path / "new.zip", sent_bundle.signed(changed, theirs))
    code, _, err = typed(tmp_path / "old.zip")
    assert code == 3
    assert "does not fit the manifest" in err
    assert verify(tmp_path / "new.zip", today=sent_bundle.TODAY).manifest.acknowledged_risk == "Another one."


def test_a_bundle_unpacked_and_zipped_again_is_refused(signed: Path, theirs: Path, ours: Path, tmp_path: Path) -> None:
    sent_bundle.trust_sender(theirs, ours)
    shutil.unpack_archive(signed, tmp_path / "unpacked")
    again = Path(shutil.make_archive(str(tmp_path / "again"), "zip", tmp_path / "unpacked"))
    code, _, err = typed(again)
    assert code == 3
    assert "never zipped again" in err
    code, _, err = typed(tmp_path / "unpacked")
    assert code == 3
    assert "is no file" in err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    mount = shutil.which("mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = mount and os.geteuid() == 0
    if (
        not made
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode
    ):
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_half_way_leaves_nothing(small_disk: Path) -> None:
    write_archive(small_disk / "bundle.zip", {"README.md": b"first"})
    before = (small_disk / "bundle.zip").read_bytes()
    with pytest.raises(ArtifactError, match="disk is full"):
        write_archive(small_disk / "bundle.zip", {"README.md": b"x" * 30_000, "labels.csv": b"x" * 60_000})
    assert os.listdir(small_disk) == ["bundle.zip"]
    assert (small_disk / "bundle.zip").read_bytes() == before
    (small_disk / "filler").write_bytes(b"x" * 56_000)

    def make_many() -> None:
        for k in range(40):
            sent_bundle.make_sender(small_disk / "keys", f"ward-{k}")

    with pytest.raises(ArtifactError, match="disk is full"):
        make_many()
    held = os.listdir(small_disk / "keys" / "own")
    assert sorted(name for name in held if name.endswith(".json")) == sorted(
        name.replace(".pem", ".json") for name in held if name.endswith(".pem")
    )


def state_of(path: Path, name: str) -> tuple[str, str]:
    [check] = [check for check in verify(path, today=sent_bundle.TODAY).checks if check.name == name]
    return check.state, check.told


def test_pages_that_medistill_would_not_write_are_told_of(tmp_path: Path, ours: Path) -> None:
    report = report_example.whole()
    good = pack(
        sent_bundle.small_set(),
        Statement(licence="CC-BY-4.0", intended_use="Tests", acknowledged_risk="A test."),
        report=report,
    )
    write_archive(tmp_path / "good.zip", good)
    assert state_of(tmp_path / "good.zip", "Pages")[0] == "passed"
    script = good["report.html"].replace(b"</body>", b"<script>fetch('https://example.org')</script></body>")
    record = good["report.json"].replace(b'"shows_real": false', b'"shows_real": true')
    picture = good["previews/0000.png"]
    for name, held, named in (
        ("report.html", script, "report.html"),
        ("report.json", record, "report.html"),
        ("README.md", good["README.md"] + b"<img src=https://example.org/x.png>", "README.md"),
        ("contact_sheet.png", picture, "contact_sheet.png"),
    ):
        assert held != good[name]
        write_archive(tmp_path / f"{name}.zip", sent_bundle.listed_anew({**good, name: held}))
        state, told = state_of(tmp_path / f"{name}.zip", "Pages")
        assert state == "declared"
        assert told.startswith(named)


def test_dicom_headers_that_medistill_would_not_write_are_told_of(tmp_path: Path, ours: Path) -> None:
    pytest.importorskip("highdicom", reason="the dicom extra is not installed")
    from medistill.sharing.dicom import dicom_files

    made = sent_bundle.small_set()
    objects = dicom_files(made)
    for name, first in (("same", objects["dicom/0000.dcm"]), ("other", b"MZ" + objects["dicom/0000.dcm"][2:])):
        files = pack(
            made, Statement(licence="CC-BY-4.0", intended_use="Tests"), dicom={**objects, "dicom/0000.dcm": first}
        )
        write_archive(tmp_path / f"{name}.zip", files)
    assert state_of(tmp_path / "same.zip", "Pages")[0] == "passed"
    state, told = state_of(tmp_path / "other.zip", "Pages")
    assert (state, told.startswith("dicom/")) == ("declared", True)


GUARANTEE = {
    "epsilon": 2.7, "delta": 1e-5, "unit": "patient", "mechanism": MECHANISM, "accountant": ACCOUNTANT, "sigma": 1.2,
    "clip": 1.0, "sample_rate": 0.1, "steps": 10, "experts": 2, "units_public": 1000, "choice": "last outer step",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "follows"),
    [
        ({}, "follows"),
        ({"sigma": 0.01, "steps": 10**12}, "not worked out"),
        ({"delta": 1e-200}, "not worked out"),
        ({"accountant": "an own one"}, "not worked out"),
        ({"epsilon": 0.5}, None),
        ({"steps": 1000}, None),
        ({"sample_rate": 0.5}, None),
    ],
)
def test_an_epsilon_has_to_follow_from_its_own_figures(
    changes: dict[str, object], follows: str | None, tmp_path: Path, ours: Path
) -> None:
    pytest.importorskip("opacus", reason="the dp extra is not installed")
    private = replace(sent_bundle.small_set(), provenance={"differential_privacy": {**GUARANTEE, **changes}})
    write_archive(tmp_path / "b.zip", pack(private, Statement(licence="CC-BY-4.0", intended_use="Tests")))
    if follows is None:
        with pytest.raises(ArtifactError, match="its own noise, rate and steps give"):
            verify(tmp_path / "b.zip", today=sent_bundle.TODAY)
    else:
        state, told = state_of(tmp_path / "b.zip", "Differential privacy")
        assert state == "declared"
        assert follows in told


def test_the_accountants_own_epsilon_is_never_refused() -> None:
    pytest.importorskip("opacus", reason="the dp extra is not installed")
    for sigma, rate, steps in ((0.6, 0.05, 300), (2.0, 0.01, 20_000), (40.0, 0.2, 5_000)):
        spent = spent_epsilon(sigma, 1e-5, rate, steps)
        plain = {**GUARANTEE, "epsilon": spent, "sigma": sigma, "sample_rate": rate, "steps": steps, "experts": 1}
        least = least_epsilon(Guarantee(**plain))  # type: ignore[arg-type]
        assert least is not None
        assert 0.5 * spent < least <= spent


SPENT = {
    "releases": 2, "epsilon": 4.0, "delta": 2e-5, "others_epsilon": 2.7, "others_delta": 1e-5, "unit": "patient"
}  # fmt: skip


def spending_bundle(folder: Path, **changes: object) -> Path:
    """A private bundle that says this of what was spent in all."""
    spent = Spent(**{**SPENT, **changes})  # type: ignore[arg-type]
    provenance = {"differential_privacy": GUARANTEE, "privacy": spent.sentence, "privacy_spent": spent.as_json()}
    made = replace(sent_bundle.small_set(), provenance=provenance)
    write_archive(
        folder / "spent.zip",
        pack(made, Statement(licence="CC-BY-4.0", intended_use="Tests", acknowledged_risk="A test.")),
    )
    return folder / "spent.zip"


def test_what_was_spent_in_all_is_told(tmp_path: Path, ours: Path) -> None:
    state, told = state_of(spending_bundle(tmp_path), "Spent in all")
    assert state == "declared"
    assert "one of 2 releases from the same people" in told
    assert "epsilon = 4 (without this one 2.7), delta = 2e-05 for one patient" in told
    assert b"together they have spent epsilon = 4" in Bundle.open(tmp_path / "spent.zip").files["README.md"]
    private = replace(sent_bundle.small_set(), provenance={"differential_privacy": GUARANTEE})
    write_archive(
        tmp_path / "old.zip",
        pack(private, Statement(licence="CC-BY-4.0", intended_use="Tests", acknowledged_risk="A test.")),
    )
    assert state_of(tmp_path / "old.zip", "Spent in all")[0] == "missing"


@pytest.mark.parametrize(
    "changes",
    [
        {"delta": 1e-5},
        {"releases": 1, "others_epsilon": 0.0, "others_delta": 0.0},
        {"releases": 1, "epsilon": 2.7},
    ],
)
def test_what_was_spent_in_all_has_to_fit_to_the_set(tmp_path: Path, ours: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ArtifactError, match="spent in all"):
        verify(spending_bundle(tmp_path, **changes), today=sent_bundle.TODAY)


def quantised_bundle(
    folder: Path, *, priors: str = "equal", weights: tuple[float, ...] = (0.4, 1.6, 1, 1), **said: object
) -> Path:
    """A bundle of four means, two a class, that says this of them."""
    known = {"encoder": "pca", "dimension": 8, "min_cluster_size": 5, "smallest_cluster": 7, "weights": "mass"}
    recipe = load_recipe("demo", ["method.name=ddoq", f"method.quantise.priors={priors}"]).model_dump(mode="json")
    provenance = {
        "starts_from": said.pop("starts_from", "quantised"), "split_unit": "patient", "recipe": recipe,
        "quantisation": {**known, "labels": "hard", **said},
    }  # fmt: skip
    made = replace(sent_bundle.small_set(), weights=np.array(weights, np.float32), provenance=provenance)
    write_archive(
        folder / "quantised.zip",
        pack(made, Statement(licence="CC-BY-4.0", intended_use="Tests", acknowledged_risk="A test.")),
    )
    return folder / "quantised.zip"


@pytest.mark.parametrize(
    ("section", "key", "value", "why"),
    [
        ("evaluate", "epochs", "DOE^JOHN", "none that this version"),
        ("augmentation", "scale", 1e308, "none that this version"),
        ("DOE^JOHN", "", 1, "none that this version"),
        ("name", "", "DOE^JOHN", "does not share"),
        ("data", "patient_column", "DOE^JOHN", "does not share"),
    ],
)
def test_a_recipe_that_could_name_somebody_is_refused_and_not_quoted(
    tmp_path: Path, section: str, key: str, value: object, why: str
) -> None:
    """By `verify`, and by whatever else opens a bundle, as `export` does."""
    files = read_archive(quantised_bundle(tmp_path))
    manifest = BundleManifest.from_bytes(files["manifest.json"])
    recipe = json.loads(files["manifest.json"])["provenance"]["recipe"]
    if key:
        recipe[section][key] = value
    else:
        recipe[section] = value
    bundle = tmp_path / "worded.zip"
    changed = manifest.replaced(provenance=manifest.provenance.replaced(recipe=recipe))
    write_archive(bundle, {**files, "manifest.json": changed.to_bytes()})
    with pytest.raises(ArtifactError, match=why) as refused:
        verify(bundle, today=sent_bundle.TODAY)
    assert "DOE" not in str(refused.value)
    with pytest.raises(ArtifactError, match=why):
        receive(bundle, today=sent_bundle.TODAY)


def test_what_is_said_of_means_is_told_where_the_set_agrees(tmp_path: Path, ours: Path) -> None:
    state, told = state_of(quantised_bundle(tmp_path), "Quantisation")
    assert state == "declared"
    assert "a mean of 7 patients or more" in told
    common = quantised_bundle(tmp_path, priors="corpus", weights=(0.2, 0.6, 1.6, 1.6))
    assert state_of(common, "Quantisation")[0] == "declared"
    write_archive(tmp_path / "plain.zip", sent_bundle.unsigned())
    assert "Quantisation" not in {
        check.name for check in verify(tmp_path / "plain.zip", today=sent_bundle.TODAY).checks
    }


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"smallest_cluster": 4}, "a mean of 4, where 5 were the fewest"),
        ({"labels": "soft"}, "labels are said to be soft"),
        ({"weights": (0.4, 1.7, 1, 1)}, "weights is not 1"),
        ({"weights": (0.2, 0.6, 1.6, 1.6)}, "classes are said to weigh alike"),
        ({"weights": (0.2, 0.6, 1.6, 1.7), "priors": "corpus"}, "weights is not 1"),
        ({"starts_from": "noise"}, "began as noise"),
        ({"starts_from": None}, "does not say"),
        ({"encoder": "autoencoder"}, "encoder is said to be autoencoder, and pca in the recipe"),
        ({"min_cluster_size": 7}, "min_cluster_size is said to be 7, and 5 in the recipe"),
        ({"temperature": 2.0}, "temperature is said to be 2.0, and 1.0"),
        ({"decoder": "0" * 64}, "decoder is said to be 0000"),
    ],
)
def test_what_is_said_of_means_and_is_not_so_is_refused(
    said: dict[str, object], why: str, tmp_path: Path, ours: Path
) -> None:
    with pytest.raises(ArtifactError, match=why):
        verify(quantised_bundle(tmp_path, **said), today=sent_bundle.TODAY)  # type: ignore[arg-type]


def test_means_of_nobody_knows_how_many_are_told_of(tmp_path: Path, ours: Path) -> None:
    made = replace(sent_bundle.small_set(), provenance={"starts_from": "quantised"})
    write_archive(
        tmp_path / "silent.zip",
        pack(made, Statement(licence="CC-BY-4.0", intended_use="Tests", acknowledged_risk="A test.")),
    )
    state, told = state_of(tmp_path / "silent.zip", "Quantisation")
    assert state == "missing"
    assert "of how many is not said" in told


def test_weights_that_are_said_to_be_uniform_must_be(tmp_path: Path, ours: Path) -> None:
    known = {"encoder": "pca", "dimension": 8, "min_cluster_size": 5, "smallest_cluster": 7, "weights": "uniform"}
    for weights, fits in (((0.4, 1.6, 1, 1), False), ((1, 1, 1, 1), True)):
        made = replace(
            sent_bundle.small_set(),
            weights=np.array(weights, np.float32),
            provenance={"starts_from": "quantised", "quantisation": known},
        )
        path = tmp_path / f"{fits}.zip"
        write_archive(
            path, pack(made, Statement(licence="CC-BY-4.0", intended_use="Tests", acknowledged_risk="A test."))
        )
        if fits:
            assert state_of(path, "Quantisation")[0] == "declared"
        else:
            with pytest.raises(ArtifactError, match="uniform, and differ"):
                verify(path, today=sent_bundle.TODAY)


def test_the_summary_fits_two_screens_and_names_what_is_not_passed_and_details_hold_the_rest(
    tmp_path: Path, ours: Path
) -> None:
    made = sent_bundle.small_set()
    audit = sent_bundle.audit_of(made.digest(), "fail")
    said = Statement(licence="CC-BY-4.0", intended_use="Tests", acknowledged_risk="lengthy " * 200)
    write_archive(tmp_path / "b.zip", pack(made, said, audit=audit))
    code, short, _ = typed(tmp_path / "b.zip")
    whole = typed(tmp_path / "b.zip", "--details")[1]
    assert code == 0
    assert len(short.splitlines()) <= 60
    figures = [one for attack in findings(audit) for one in attack.findings]
    failed = sum(one.verdict == "fail" for one in figures)
    assert f"{len(figures)} figures: {sum(one.verdict == 'pass' for one in figures)} pass, {failed} fail" in short
    assert failed > 0
    assert f"fails this set: {failed} of {len(figures)} figures" in short
    assert "fail: " in short
    assert "Acknowledged risk" in short
    assert short.count("lengthy") < 40 < whole.count("lengthy")
    assert "Checked here, and right: Archive, Files, Distilled set" in short
    assert f"medistill verify {tmp_path / 'b.zip'} --details" in short
    for check in verify(tmp_path / "b.zip", today=sent_bundle.TODAY).checks:
        assert check.name in short
        assert check.name in whole
