"""Words from outside against Unicode's own categories: nothing hidden is left, nothing visible is touched."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medistill.errors import ArtifactError
from medistill.visible import MOST_WORDS, json_text, steers, visible

HIDDEN = ("Cc", "Cf", "Zl", "Zp", "Cs")
"""Categories of which no character may reach a terminal or a page."""
NASTY = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202edlrow\u2066\u200b\u2028\x7f\ud800"
anything = st.text(st.characters(codec=None, categories=None), max_size=40) | st.text(
    "\x1b\x9b\u202eab\\\n", max_size=20
)


@given(anything)
def test_nothing_hidden_is_left_and_what_is_visible_stays(text: str) -> None:
    shown = visible(text)
    assert not [character for character in shown if unicodedata.category(character) in HIDDEN]
    assert visible(shown) == shown
    plain = "".join(character for character in text if unicodedata.category(character) not in HIDDEN)
    assert visible(plain) == plain or any("\U0001343f" >= character >= "\U00013430" for character in plain)
    shown.encode()


@given(anything, st.integers(1, 30))
def test_a_bound_holds_and_cuts_nothing_shorter(text: str, most: int) -> None:
    assert len(visible(text, most=most)) <= most
    if len(visible(text)) <= most:
        assert visible(text, most=most) == visible(text)


@given(st.dictionaries(anything.filter(lambda text: max(text, default="") < "\ud800"), anything))
def test_json_is_safe_to_show_and_reads_back_the_same(value: dict[str, str]) -> None:
    text = json_text(value)
    assert json.loads(text) == value
    assert not [one for one in text if unicodedata.category(one) in HIDDEN and one != "\n"]


def test_codes_are_told_and_ends_of_lines_can_be_kept() -> None:
    assert visible("a\x1b[31m\u202eb\U000e0041") == "a\\x1b[31m\\u202eb\\U000e0041"
    assert visible("a\nb\r", keep="\n") == "a\nb\\x0d"
    assert visible("Übersicht − 12 % “肺炎” 🫁") == "Übersicht − 12 % “肺炎” 🫁"


@pytest.mark.parametrize("text", ["\x1b", "a\nb", "\x9b", "\u202e", "\u2067", "\u2029", "\udcff", "\u200f"])
def test_what_steers_is_found(text: str) -> None:
    assert steers(text)


def test_names_that_need_joiners_do_not_steer() -> None:
    assert not steers("می\u200cخواهم")
    assert not steers("COVID-19 =1 'x' [red]")


def test_an_error_shows_no_control_character_and_is_bounded() -> None:
    error = ArtifactError(f"class {NASTY} and {'x' * 10**6}", expected=NASTY, do="mend it\nhere")
    assert not [one for one in str(error) if unicodedata.category(one) in HIDDEN and one != "\n"]
    assert len(str(error)) < 3 * MOST_WORDS
