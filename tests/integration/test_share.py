"""`medistill share`: what gets out of a run, what does not, and when nothing does."""

from __future__ import annotations

import base64
import getpass
import hashlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from safetensors.numpy import load
from typer.testing import CliRunner

from medistill.artifacts.corpus import load_corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.local_key import local_key
from medistill.errors import ArtifactError, GateError, UsageError
from medistill.privacy.attacks.letters import LETTERS, LETTERS_NAME
from medistill.privacy.criterion import Criterion
from medistill.privacy.gate import MAKING_NAME
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.report.pictures import data_address
from medistill.sharing.bundle import Bundle
from medistill.studies.audit.audit import audit
from medistill.workflow.audit_seal import seal_audit
from medistill.workflow.run import run as run_all
from medistill.workflow.share import share
from medistill.workflow.verify import verify
from medistill_cli.main import app
from tests.factories import reported_run, sent_bundle
from tests.integration.test_identifiers import identifiers

HOUSE, SITES, WORDS = "Quarksmann", ("Klinik_Zauberwald", "Praxis_Nebelhorn"), "Vertraulich-4711"
USER, HOST = "eva.quarksmann", "zauberwald-pacs-7"
TEXTS = {"licence": "CC-BY-4.0", "intended_use": "Research on exchange; not for diagnosis."}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of invented figures, without an audit."""
    folder = tmp_path_factory.mktemp("finished")
    recipe = load_recipe("demo", ["evaluate.bootstrap=100", "evaluate.networks=3"])
    return reported_run.whole_run(folder / "run", recipe, folder / "cache")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """The same, for a test of its own."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def bare(run: Path) -> Path:
    """The same without an evaluation, and so without a report, which takes a second to draw."""
    shutil.rmtree(run / "evaluation")
    return run


def put_audit(run: Path, verdict: str, digest: str = "", *, text: bool = True) -> None:
    """An audit of the run's set; without ``text`` it is of the version that did not look for any."""
    digest = digest or hashlib.sha256((run / "set" / "images.safetensors").read_bytes()).hexdigest()
    found = sent_bundle.audit_of(digest, verdict)  # type: ignore[arg-type]
    (run / "audit").mkdir(exist_ok=True)
    known = found.as_json()
    if not text:
        known = {**{name: value for name, value in known.items() if name != "text"}, "schema": 1}
    (run / "audit" / "audit.json").write_text(json.dumps(known))
    local_key()
    seal_audit(DistilledSet.load(run / "set"), run / "audit")


def pngs(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Every PNG: as a file, and inside the report."""
    for name, held in files.items():
        if name.endswith(".png"):
            yield name, held
    for k, found in enumerate(re.findall(rb"data:image/png;base64,([A-Za-z0-9+/=]+)", files.get("report.html", b""))):
        yield f"report.html picture {k}", base64.b64decode(found)


def readable(files: dict[str, bytes]) -> dict[str, bytes]:
    """Every byte of a bundle, and besides all that is packed in it: pictures, and tables inside the report."""
    places = {f"entry {name}": held for name, held in files.items()}
    places["names of entries"] = "\n".join(files).encode()
    for name, held in pngs(files):
        picture = Image.open(io.BytesIO(held))
        places[f"pixels of {name}"] = picture.tobytes()
        places[f"words of {name}"] = repr(picture.info).encode()
    page = files.get("report.html", b"")
    for k, (kind, held) in enumerate(re.findall(rb"data:(text/[a-z]+)[^,\"]*;base64,([A-Za-z0-9+/=]+)", page)):
        places[f"report.html download {k} ({kind.decode()})"] = base64.b64decode(held)
    return places


def unzipped(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


@pytest.fixture(scope="module")
def sent(phantom_folder: Path, tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory):
    """A house with names in every place, its run with real images in the report, and what it shares of it."""
    base = tmp_path_factory.mktemp("house") / HOUSE
    data = base / "Archiv" / USER
    for file in sorted(phantom_folder.rglob("*.dcm")):
        site = SITES[sorted(p.name for p in phantom_folder.iterdir() if p.is_dir()).index(file.parts[-3])]
        name = str(dcmread(file, stop_before_pixels=True).PatientName).replace("^", "_").replace(" ", "_")
        place = data / site / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place / f"{name}_{file.name}")
    recipe = override_recipe(
        tiny_recipe,
        [f"name={HOUSE}", f"description={WORDS}", f"data.site_column={WORDS}", "method.ipc=2"],
        "a test",
    )
    patch = pytest.MonkeyPatch()
    for variable, value in (("USER", USER), ("LOGNAME", USER), ("HOSTNAME", HOST), ("HOME", str(base / "home"))):
        patch.setenv(variable, value)
    patch.setenv("MEDISTILL_CACHE", str(base / "cache"))
    patch.setattr(socket, "gethostname", lambda: HOST)
    run = base / f"run_{USER}"
    try:
        run_all(recipe, out=run, data=data, show_real=True, device="cpu")
        corpus = load_corpus(
            base / "cache" / "corpora" / json.loads((run / "run.json").read_text())["corpus"]["content"]
        )
        from medistill.artifacts.distilled_set import DistilledSet

        command = f"medistill audit {run} --data {data}"
        distilled = DistilledSet.load(run)
        audit(distilled, corpus, recipe, out=run / "audit", quick=True, command=command, device="cpu")
        share(run, out=base / "bundle.zip", acknowledged_risk="drawn, not taken of anybody", **TEXTS)
    finally:
        patch.undo()
    return data, run, corpus, unzipped(base / "bundle.zip")


def house_words(data: Path) -> set[str]:
    """What must not get out: patients, folders, files, people, machines, and the day."""
    day = datetime.now(UTC)
    known = {HOUSE, *SITES, WORDS, USER, HOST, str(data), str(Path.home()), socket.gethostname(), getpass.getuser()}
    known |= {site.replace("_", " ") for site in SITES}
    known |= {file.stem for file in data.rglob("*.dcm")}
    known |= {f"{day:%Y-%m}", f"{day:%Y%m%d}", f"{day:%d.%m.%Y}", f"{day:%b %d}"}
    return identifiers(data) | {word for word in known if len(word) >= 6}


def found_in(places: dict[str, bytes], words: set[str]) -> set[tuple[str, str]]:
    lower = {place: held.lower() for place, held in places.items()}
    return {(place, word) for word in words for place, held in lower.items() if word.lower().encode() in held}


def test_no_name_of_a_patient_a_place_a_person_or_a_day_gets_out(sent) -> None:
    data, _, _, files = sent
    assert {"README.md", "audit.json", "croissant.json", "report.html", "report.json", "labels.csv"} <= files.keys()
    assert found_in(readable(files), house_words(data)) == set()


def test_the_search_finds_what_the_run_itself_says(sent) -> None:
    data, run, _, _ = sent
    own = {str(file.relative_to(run)): file.read_bytes() for file in run.rglob("*") if file.is_file()}
    leaks = found_in(readable({"report.html": own["report.html"]}) | own, house_words(data))
    assert {SITES[0], SITES[1], WORDS, HOUSE} <= {word for _, word in leaks}
    assert any("download" in place and SITES[0] == word for place, word in leaks)
    assert any(place == "audit/audit.json" and word == USER for place, word in leaks)
    headers = {"a header": next(data.rglob("*.dcm")).read_bytes()}
    assert found_in(headers, house_words(data))


def test_no_pixel_of_a_real_image_gets_out(sent) -> None:
    _, run, corpus, files = sent
    real = np.asarray(corpus.images)
    addresses = {data_address(image).encode() for image in real}
    own, sent_page = (run / "report.html").read_bytes(), files["report.html"]
    assert any(address in own for address in addresses)  # the run was made with --show-real
    assert not any(address in sent_page for address in addresses)
    grey = {image.tobytes() for image in real}
    places = readable(files)
    assert not any(image in held for image in grey for held in places.values())
    assert any(image in held for image in {image.tobytes() for image in load(files["images.safetensors"])["viewable"]}
               for held in places.values())  # fmt: skip
    shown = {Image.open(io.BytesIO(held)).tobytes() for _, held in pngs(files)}
    assert shown
    assert not shown & grey


def test_the_bundle_opens_and_holds_the_set_of_the_run(sent, tmp_path: Path) -> None:
    _, run, _, files = sent
    bundle = Bundle.of_files(files)
    assert files["images.safetensors"] == (run / "set" / "images.safetensors").read_bytes()
    assert bundle.manifest.acknowledged_risk == "drawn, not taken of anybody"
    assert bundle.audit is not None
    assert bundle.audit.set_digest == hashlib.sha256(files["images.safetensors"]).hexdigest()
    known = json.loads(files["report.json"])
    own = json.loads((run / "report.json").read_text())
    assert known["evaluation"]["arms"] == own["evaluation"]["arms"]
    assert known["making"]["commands"] == []
    assert not known["shows_real"]


def test_the_same_run_gives_the_same_bytes_from_anywhere_at_any_time(run: Path, tmp_path: Path, monkeypatch) -> None:
    put_audit(run, "pass")
    share(run, out=tmp_path / "first.zip", **TEXTS)
    elsewhere = tmp_path / "else" / "where"
    shutil.copytree(run, elsewhere / "another name")
    for file in elsewhere.rglob("*"):
        os.utime(file, (1e9, 1e9))
    monkeypatch.chdir(elsewhere)
    earlier, now = os.umask(0o077), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 4e6)
    try:
        share("another name", out="second.zip", **TEXTS)
    finally:
        os.umask(earlier)
    monkeypatch.undo()
    code = (
        "from medistill.workflow.share import share; import sys; "
        f"share(sys.argv[1], out=sys.argv[2], licence={TEXTS['licence']!r}, intended_use={TEXTS['intended_use']!r})"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    third = tmp_path / "third.zip"
    subprocess.run([sys.executable, "-c", code, str(run), str(third)], check=True, env=environment)
    first = (tmp_path / "first.zip").read_bytes()
    assert (elsewhere / "second.zip").read_bytes() == first
    assert third.read_bytes() == first
    assert Bundle.open(third).manifest.acknowledged_risk is None


def test_a_set_with_letters_is_sent_back_to_where_text_is_masked(bare: Path, tmp_path: Path) -> None:
    put_audit(bare, "fail")
    path = bare / "audit" / "audit.json"
    known = json.loads(path.read_text())
    known["criteria"].append(asdict(Criterion(LETTERS_NAME, 2, 0, "fail", "", LETTERS)))
    path.write_text(json.dumps(known))
    with pytest.raises(GateError, match=r"data\.burnt_in_text=mask"):
        share(bare, out=tmp_path / "bundle.zip", **TEXTS)


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (lambda run: None, "has not been audited"),
        (lambda run: put_audit(run, "fail"), "fails the audit"),
        (lambda run: put_audit(run, "not enough evidence"), "Not enough evidence"),
        (lambda run: put_audit(run, "pass", "0" * 64), "of another set"),
        (lambda run: put_audit(run, "pass", text=False), "did not look for text"),
    ],
)
def test_without_a_passing_audit_of_this_set_nothing_is_written(
    bare: Path, tmp_path: Path, prepare: Callable[[Path], None], why: str
) -> None:
    prepare(bare)
    with pytest.raises(GateError, match=why) as refused:
        share(bare, out=tmp_path / "bundle.zip", **TEXTS)
    assert refused.value.exit_code == 4
    assert re.search(
        "make another set" if "fails" in why else r"medistill audit |see in \S+audit\.html", refused.value.do
    )
    assert not (tmp_path / "bundle.zip").exists()
    bundle = share(bare, out=tmp_path / "bundle.zip", acknowledged_risk="They know.", **TEXTS)
    assert bundle.manifest.acknowledged_risk == "They know."
    assert "They know." in bundle.files["README.md"].decode()


def rewritten(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_pass_by_laxer_thresholds_needs_an_acknowledged_risk_and_is_told(bare: Path, tmp_path: Path) -> None:
    """Also where the audit is of a version that let flags open the gate, or of a hand that mended its verdict."""
    put_audit(bare, "pass")
    path = bare / "audit" / "audit.json"
    told = json.loads(path.read_text())
    mended = [{**one, "threshold": 0.9} if "Copies" in one["name"] else one for one in told["criteria"]]
    rewritten(path, criteria=mended, thresholds={**told["thresholds"], "most_copies": 0.9})
    with pytest.raises(GateError, match=r"audit\.most_copies is 0\.9 \(laxer than the shipped 0\)"):
        share(bare, out=tmp_path / "bundle.zip", **TEXTS)
    bundle = share(bare, out=tmp_path / "bundle.zip", acknowledged_risk="They know.", **TEXTS)
    card = bundle.files["README.md"].decode().replace("\\", "")
    assert "audit.most_copies is 0.9 (laxer than the shipped 0)" in card
    checks = {check.name: check for check in verify(tmp_path / "bundle.zip", today=sent_bundle.TODAY).checks}
    assert checks["Settings of the audit"].state == "missing"
    assert "audit.most_copies is 0.9" in checks["Settings of the audit"].told
    assert "less than this version asks for" in checks["Audit"].told


def test_an_audit_that_did_not_ask_for_the_making_does_not_pass(bare: Path, tmp_path: Path) -> None:
    put_audit(bare, "pass")
    path = bare / "audit" / "audit.json"
    rewritten(path, criteria=[one for one in json.loads(path.read_text())["criteria"] if one["name"] != MAKING_NAME])
    with pytest.raises(GateError, match="did not ask whether the set is the one"):
        share(bare, out=tmp_path / "bundle.zip", **TEXTS)
    share(bare, out=tmp_path / "bundle.zip", acknowledged_risk="They know.", **TEXTS)
    checks = {check.name: check for check in verify(tmp_path / "bundle.zip", today=sent_bundle.TODAY).checks}
    assert checks["Making of the set"].state == "missing"


@pytest.mark.parametrize("first", ["genuine", "forged"])
def test_the_verdict_and_its_seal_are_of_the_same_bytes(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """A second process changes the record between any two looks at it; what leaves is what was sealed."""
    put_audit(bare, "pass")
    record = bare / "audit" / "audit.json"
    genuine = record.read_bytes()
    forged = json.dumps({**json.loads(genuine), "not_tested": ["FORGED: everything was tested"]}).encode()
    turns = [genuine, forged] if first == "genuine" else [forged, genuine]
    opened, looks = Path.open, list[bytes]()

    def swapping(path: Path, *args, **more):
        if path == record:
            looks.append(turns[len(looks) % 2])
            record.unlink()
            with opened(record, "wb") as file:
                file.write(looks[-1])
        return opened(path, *args, **more)

    monkeypatch.setattr(Path, "open", swapping)
    bundle = tmp_path / "bundle.zip"
    judged = nullcontext() if first == "forged" else pytest.raises(GateError, match="was not made by this installation")
    with judged:  # whose set it is is asked first, what is judged second, and nothing after that
        share(bare, out=bundle, **TEXTS)
    assert len(looks) == 2
    assert bundle.exists() is (first == "forged")
    if bundle.exists():
        assert b"FORGED" not in b"".join(Bundle.open(bundle).files.values())


def test_what_a_hand_changed_after_the_audit_does_not_pass(bare: Path, tmp_path: Path) -> None:
    """A record without its checksum is read as an older version's, and the set's digest leaves out its words."""
    put_audit(bare, "fail")
    passing = sent_bundle.audit_of(DistilledSet.load(bare).digest(), "pass").as_json()
    rewritten(bare / "audit" / "audit.json", **passing)
    with pytest.raises(GateError, match="was not made by this installation, or the audit, or what the set says"):
        share(bare, out=tmp_path / "bundle.zip", **TEXTS)
    put_audit(bare, "pass")
    manifest = bare / "set" / "manifest.json"
    honest = manifest.read_text()
    names = json.loads(honest)["class_names"]
    rewritten(manifest, class_names=names[::-1])
    with pytest.raises(GateError, match="was not made by this installation, or the audit, or what the set says"):
        share(bare, out=tmp_path / "bundle.zip", **TEXTS)
    manifest.write_text(honest)
    share(bare, out=tmp_path / "bundle.zip", **TEXTS)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"originals": "not known"}, "split as it was"),
        ({"originals": "left out", "left_out": 3}, "split as it was"),
        ({"set_digest": "0" * 64}, "does not say that it is of this set"),
    ],
)
def test_an_evaluation_on_another_corpus_is_not_the_sets_own(
    run: Path, tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    put_audit(run, "pass")
    rewritten(run / "evaluation" / "evaluation.json", **changes)
    with pytest.raises(GateError, match=why):
        share(run, out=tmp_path / "bundle.zip", **TEXTS)
    shutil.rmtree(run / "evaluation")
    card = share(run, out=tmp_path / "bundle.zip", **TEXTS).files["README.md"].decode()
    assert "among the test images" not in card


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"licence": " "}, "--licence CC-BY-4.0"),
        ({"intended_use": ""}, "--intended-use"),
        ({"acknowledged_risk": ""}, "no reason"),
        ({"sender": "St\nExample"}, "sender"),
        ({"intended_use": "x" * 2001}, "intended_use"),
        ({"month": "November"}, "month"),
    ],
)
def test_words_that_are_missing_or_cannot_stand_there(bare: Path, tmp_path: Path, changes, why: str) -> None:
    put_audit(bare, "fail")
    with pytest.raises(UsageError, match=why):
        share(bare, out=tmp_path / "bundle.zip", **{"acknowledged_risk": "a test", **TEXTS, **changes})
    assert not (tmp_path / "bundle.zip").exists()


def test_nothing_is_written_over_and_a_bundle_is_no_run(bare: Path, tmp_path: Path) -> None:
    put_audit(bare, "pass")
    out = tmp_path / "thesis.docx"
    out.write_text("years of work")
    with pytest.raises(UsageError, match="exists already"):
        share(bare, out=out, **TEXTS)
    assert out.read_text() == "years of work"
    share(bare, out=tmp_path / "a.zip", **TEXTS)
    with pytest.raises(UsageError, match="is a bundle already"):
        share(tmp_path / "a.zip", out=tmp_path / "b.zip", **TEXTS)
    with pytest.raises(ArtifactError, match="there is no file or folder"):
        share(tmp_path / "nowhere", out=tmp_path / "b.zip", **TEXTS)


def test_teachers_decoders_and_codes_stay_at_home(bare: Path, tmp_path: Path) -> None:
    """They were trained on patients: nothing of a run but what is named gets into a bundle."""
    put_audit(bare, "pass")
    before = unzipped_share(bare, tmp_path / "before.zip")
    secret = np.random.default_rng(0).bytes(512)
    for name in (
        "teacher/teacher_00.safetensors", "quantisation.json", "state/codes.npy", "state/centroids.safetensors",
        "decoders/decoder.json", "decoder/weights.safetensors", "set/teacher.safetensors", "set/decoder.json",
        "audit/membership/shadow_000.safetensors",
    ):  # fmt: skip
        (bare / name).parent.mkdir(parents=True, exist_ok=True)
        (bare / name).write_bytes(secret)
    after = unzipped_share(bare, tmp_path / "after.zip")
    assert after == before
    assert secret not in (tmp_path / "after.zip").read_bytes()
    assert not [name for name in after if any(word in name for word in ("teacher", "decoder", "codes", "quantisation"))]


def unzipped_share(run: Path, out: Path) -> dict[str, bytes]:
    share(run, out=out, **TEXTS)
    return unzipped(out)


def test_dicom_objects_are_put_in_on_request(bare: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="the dicom extra is not installed")
    put_audit(bare, "pass")
    bundle = share(bare, out=tmp_path / "b.zip", dicom=True, **TEXTS)
    held = [dcmread(io.BytesIO(bundle.files[f"dicom/{k:04d}.dcm"])) for k in range(9)]
    assert np.array_equal(np.stack([one.pixel_array for one in held]), bundle.distilled.viewable()[:, 0])
    assert "`dicom/`" in bundle.files["README.md"].decode()


def test_the_command_signs_tells_the_month_and_names_what_the_recipient_does(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "keys"))
    put_audit(bare, "pass")
    monkeypatch.delenv("MEDISTILL_PASSPHRASE", raising=False)
    told = CliRunner()
    assert told.invoke(app, ["keys", "new", "st-example"]).exit_code == 0
    words = ["--licence", "CC0-1.0", "--intended-use", "Tests", "--sender", "St Example", "--month"]
    out = tmp_path / "signed.zip"
    done = told.invoke(app, ["share", str(bare), "--out", str(out), "--sign", "st-example", *words])
    assert done.exit_code == 0, done.stderr
    assert f"medistill verify {out}" in done.stdout
    bundle = Bundle.open(out)
    assert "manifest.sig" in bundle.files
    assert bundle.manifest.month == f"{datetime.now(UTC):%Y-%m}"
    checked = told.invoke(app, ["verify", str(out), "--json"])
    assert checked.exit_code == 0, checked.stderr


def test_the_command_refuses_with_the_exit_code_of_the_gate(bare: Path, tmp_path: Path) -> None:
    told = CliRunner()
    words = ["share", str(bare), "--out", str(tmp_path / "b.zip")]
    assert told.invoke(app, words).exit_code == 2
    assert "no licence was chosen" in told.invoke(app, words).stderr
    allowed = [*words, "--licence", "CC0-1.0", "--intended-use", "Tests"]
    refused = told.invoke(app, allowed)
    assert refused.exit_code == 4
    assert "--acknowledge-risk" in refused.stderr
    done = told.invoke(app, [*allowed, "--acknowledge-risk", "a test", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["manifest"]["acknowledged_risk"] == "a test"


def test_the_lines_of_the_data_card_run(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_audit(run, "pass")
    share(run, out=tmp_path / "bundle.zip", **TEXTS)
    card = Bundle.open(tmp_path / "bundle.zip").files["README.md"].decode()
    [code] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    assert len(names["dataset"]) == 9  # type: ignore[arg-type]
