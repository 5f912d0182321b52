"""The console against a terminal's own view: no word from outside is a command, a colour or markup."""

from __future__ import annotations

import io
import re

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from medistill_cli.bars import Bars
from medistill_cli.lines import Lines
from medistill_cli.plain_words import PlainWords
from medistill_cli.stop import Stop

NASTY = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[bold red]x[/bold red] :skull:\u2028\x00"
OURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Rich's own styles and moves of the cursor, which hold no letter of ours."""


def _drawn(what: object, *, terminal: bool) -> str:
    console = PlainWords(width=200)
    console.file, console._force_terminal = io.StringIO(), terminal
    console.print(what)
    return console.file.getvalue()


def _table() -> Table:
    table = Table(title=NASTY)
    table.add_column(NASTY)
    table.add_row(NASTY)
    return table


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("what", [NASTY, Text(NASTY), Panel(Text(NASTY), title=NASTY), _table()])
def test_no_control_character_of_a_word_is_drawn(what: object, terminal: bool) -> None:
    drawn = _drawn(what, terminal=terminal)
    left = OURS.sub("", drawn) if terminal else drawn
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028]", left)
    assert "\x1b]0;" not in drawn
    assert "[2J" not in drawn.replace("\\x1b[2J", "")
    assert "[bold red]x[/bold red] :skull:" in drawn


def test_progress_on_a_terminal_and_elsewhere_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    stop = Stop(lambda: None)
    console = PlainWords(width=300)
    console.file, console._force_terminal = io.StringIO(), True
    for progress in (Bars(console, stop), Lines(stop)):
        with progress, progress.task(NASTY, 2) as task:
            task.advance(figures=NASTY)
            progress.say(NASTY)
    for drawn in (OURS.sub("", console.file.getvalue()), capsys.readouterr().err):
        assert not re.search("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2028]", drawn)
        assert "owned" in drawn
