"""Standard streams that are closed, that lose their reader, or whose encoding lacks a letter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medistill_cli.standard_streams import spelt

SPEAKS = """
import sys, medistill_cli.main as main
from medistill_cli.results import print_json
from medistill_cli.terminal import out_console, write
main.app = lambda **_: (write(TEXT), out_console().print(TEXT, soft_wrap=True), print_json({"name": TEXT}))
main.main()
"""
TEXT = "\u0141uszczyca \u80ba\u708e \U0001f600 \u22120.5\u202f% \u201cwell\u201d"


def spoken(encoding: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", f"TEXT = {TEXT!r}\n{SPEAKS}"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii", "latin-1", "cp932"])
def test_every_encoding_takes_every_word_and_json_reads_back_the_same(encoding: str) -> None:
    words, console, *record = spoken(encoding).decode(encoding).splitlines()
    assert words == console
    assert json.loads("\n".join(record)) == {"name": TEXT}
    if encoding == "utf-8":
        assert words == TEXT
    if encoding == "ascii":
        assert words == r"\u0141uszczyca \u80ba\u708e \ud83d\ude00 -0.5 % " + '"well"'


def test_what_an_encoding_lacks_is_written_plainly_or_by_its_code() -> None:
    lacking = "a\u2212\u202f\u80bab"
    assert spelt(UnicodeEncodeError("ascii", lacking, 1, 4, "")) == ("- \\u80ba", 4)
    with pytest.raises(UnicodeDecodeError):
        spelt(UnicodeDecodeError("ascii", b"\xff", 0, 1, ""))


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["doctor", "recipes list --json", "--version", "--help"])
def test_a_closed_stream_is_no_error(command: str, closed: str) -> None:
    done = subprocess.run(
        f"{sys.executable} -m medistill_cli.main {command} {closed}", shell=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_no_file_takes_the_place_of_a_stream_that_was_closed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    program = (
        "import os, medistill_cli.main as main\n"
        f"main.app = lambda **_: (open({str(kept)!r}, 'w'), os.write(1, b'words of a library'))\nmain.main()"
    )
    given = {**os.environ, "PROGRAM": program}
    subprocess.run(f'{sys.executable} -c "$PROGRAM" >&-', shell=True, env=given, check=True)
    assert kept.read_text() == ""


def test_a_reader_that_leaves_early_does_not_change_the_exit_code() -> None:
    program = "import medistill_cli.main as main\nmain.app = lambda **_: (print('words' * 99999), exit(4))\nmain.main()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ended:
        assert ended.stdout is not None
        assert ended.stderr is not None
        ended.stdout.close()
        assert ended.stderr.read() == b""
    assert ended.returncode == 4
