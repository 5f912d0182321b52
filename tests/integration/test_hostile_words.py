"""Names that others chose, through the commands: no control character reaches a terminal, a page or a table."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import load_corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.sharing.archive import write_archive
from medistill.workflow.report import write_report
from medistill_cli.main import app
from tests.factories import report_example, sent_bundle
from tests.settings_restored import settings_restored

NASTY = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eX\u200b\u2028"
HIDDEN = ("Cc", "Cf", "Zl", "Zp", "Cs")
COMMANDS = (
    ("train", "{}", "--out", "m"),
    ("merge", "{}", "{}", "--out", "m"),
    ("evaluate", "{}", "--out", "m"),
    ("audit", "{}", "--out", "m"),
    ("export", "{}", "--out", "m"),
    ("share", "{}", "--licence", "CC0-1.0", "--intended-use", "x", "--out", "m.zip", "--acknowledge-risk", "a test"),
    ("verify", "{}"),
    ("leave-site-out", "{}"),
    ("report", "{}"),
)


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / "cache"))
    with settings_restored():
        yield


def typed(*words: str) -> Result:
    told = CliRunner().invoke(app, list(words))
    assert told.exit_code in (0, 2, 3, 4), (told.exit_code, told.stderr)
    for text in (told.stdout, told.stderr):
        assert hidden(text) == [], (words, text)
    return told


def hidden(text: str, kept: str = "\n") -> list[str]:
    return [one for one in text if unicodedata.category(one) in HIDDEN and one not in kept]


def folder_of(name: str, **changes: object) -> Path:
    """A set whose manifest somebody changed."""
    folder = Path(name)
    sent_bundle.small_set().save(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}, ensure_ascii=False))
    return folder


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_set_with_hostile_names_is_refused_without_an_effect_on_the_terminal(words: tuple[str, ...]) -> None:
    folder_of("set", class_names=[NASTY, "=cmd|'/C calc'!A0"])
    told = typed(*[word.format("set") for word in words])
    assert told.exit_code != 0
    if words[0] in ("train", "merge", "evaluate", "audit", "export", "share"):
        assert "a name with a control character" in told.stderr
    deep: list[object] = []
    for _ in range(60):
        deep = [deep]
    folder_of("deep", provenance={"recipe": deep})
    assert "levels deep" in typed("train", "deep", "--out", "m").stderr


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_what_a_set_says_of_its_making_is_shown_without_an_effect(words: tuple[str, ...]) -> None:
    for k, provenance in enumerate(
        (
            {"method": NASTY, "privacy": NASTY, "network": NASTY, "recipe": {"name": NASTY}},
            {"privacy": NASTY, "recipe": {NASTY: NASTY}},
            {"sources": [{"sender": NASTY}], "privacy": NASTY, "recipe": {"data": {"classes": [NASTY]}}},
            {"starts_from": NASTY, "privacy": f"[red]{NASTY}[/red]", "synthetic_source": True},
        )
    ):
        folder_of(f"set{k}", provenance=provenance)
        typed(*[word.format(f"set{k}") for word in words])


def test_a_bundle_with_hostile_names_or_called_so_is_told_of_without_an_effect() -> None:
    name = f"a{NASTY.replace('/', '')}.zip"
    write_archive(Path(name), sent_bundle.unsigned())
    assert typed("verify", name).exit_code == 0
    assert typed("verify", name, "--json").exit_code == 0
    assert typed("train", name, "--out", NASTY).exit_code == 2
    files = sent_bundle.unsigned()
    for key, old in (("sender", b'"sender": ""'), ("licence", b'"CC-BY-4.0"'), ("class", b'"Normal"')):
        bad = files["manifest.json"].replace(old, old[:-1] + NASTY.encode() + b'"')
        write_archive(Path("bad.zip"), {**files, "manifest.json": bad})
        assert typed("verify", "bad.zip").exit_code == 3, key
        assert typed("train", "bad.zip", "--out", "m").exit_code == 3
        Path("bad.zip").unlink()


def test_files_and_classes_with_hostile_names_are_accounted_for_and_their_table_is_safe() -> None:
    names = ["=cmd|'C calc'!A0.png", "'quoted.png", "a\\b.png", f"{NASTY}.png", "plain.png"]
    for k, label in enumerate(("Normal", "COVID", f"Covid{NASTY}")):
        Path("data", label).mkdir(parents=True)
        for n, name in enumerate(names):
            drawn = np.random.default_rng([k, n]).integers(0, 255, (16, 16), np.uint8)
            Image.fromarray(drawn).save(Path("data", label, name), format="PNG")
    settings = [f"data.{part}_fraction={share}" for part, share in (("val", 0.3), ("test", 0.3))]
    small = [word for setting in ("data.image_size=16", "network.depth=2", *settings) for word in ("--set", setting)]
    told = typed("prepare", "--data", "data", *small)
    assert told.exit_code == 0, told.stderr
    [path] = (cache_root() / "corpora").iterdir()
    corpus = load_corpus(path)
    assert {row.file for row in corpus.manifest} == {
        f"{label}/{name}" for label in ("Normal", "COVID", f"Covid{NASTY}") for name in names
    }
    refused = {row.file for row in corpus.manifest if row.category == "unusable name"}
    assert refused == {f"Covid{NASTY}/{name}" for name in names}
    assert corpus.class_names == ("COVID", "Normal")
    for file in path.glob("*.[cj]s*"):
        assert hidden(file.read_text(), "\n\r") == [], file


def test_pages_and_tables_of_a_report_hold_no_control_character_and_no_markup(tmp_path: Path) -> None:
    hostile = f"<b>[red]{NASTY}=1"
    plain = json.dumps(report_example.evaluation(("distilled", "raw")).as_json())
    assert '"Normal"' in plain
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "evaluation.json").write_text(plain.replace('"Normal"', json.dumps(hostile)))
    made = replace(sent_bundle.small_set(), class_names=("COVID", "a\u200bb"), provenance={"method": NASTY})
    made.save(tmp_path / "set")
    write_report(tmp_path)
    assert typed("report", str(tmp_path)).exit_code == 0
    assert typed("report", str(tmp_path), "--json").exit_code == 0
    assert typed("report", str(tmp_path), str(tmp_path), "--compare", "--out", "both").exit_code in (0, 2, 3)
    for file in [*tmp_path.glob("report.*"), *Path("both").glob("*"), tmp_path / "set" / "manifest.json"]:
        assert hidden(file.read_text(encoding="utf-8"), "\n\t\u2060") == [], file
        assert file.suffix != ".html" or "<b>[red]" not in file.read_text(encoding="utf-8")
    read = DistilledSet.load(tmp_path / "set")
    assert (read.class_names, read.provenance) == (made.class_names, made.provenance)
