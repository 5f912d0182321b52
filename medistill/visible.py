"""Words that come from outside: names of classes, sites, files, keys and senders, made safe to show and to store.

A name that somebody else chose may hold characters that steer a terminal, turn text around or cannot be seen. Whatever
shows such words passes them through here: a person then sees the code of the character in place of its effect.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_CLASSES = (
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: cursor, colours, titles of windows, bells
    "\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e"  # soft hyphen, marks of direction
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, line and paragraph ends, text turned around
    "\ufeff\ufff9-\ufffb\ud800-\udfff"  # byte order mark, annotations, halves of characters
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"  # tags
)
_HIDDEN = re.compile(f"[{_CLASSES}]")
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
MOST_NAME = 200
"""Characters that a name from outside may have."""
MOST_WORDS = 4000
"""Characters of a paragraph from outside that are shown."""


def visible(text: str, *, keep: str = "", most: int | None = None) -> str:
    """The text with every hidden character spelt as its code, as ``\\x1b`` or ``\\u202e``.

    Hidden are control characters, those that change the direction or have no width, ends of lines and halves of
    characters. What is visible already comes back as it was.

    Args:
        keep: hidden characters to leave, as a line feed in a paragraph.
        most: characters after which it is cut, with an ellipsis; None cuts nothing.
    """
    cut = text if most is None or len(text) <= most else f"{text[: most - 1]}…"
    spelt = _HIDDEN.sub(lambda found: found[0] if found[0] in keep else _code(found[0]), cut)
    return spelt if most is None or len(spelt) <= most else f"{spelt[: most - 1]}…"


def steers(text: str) -> bool:
    """Whether a name holds what no name needs: a control character, an end of a line, a change of direction.

    Joiners of zero width, which Persian and Indian spelling needs, do not count.
    """
    return _STEERING.search(text) is not None


def json_text(value: Mapping[str, Any]) -> str:
    """JSON in which hidden characters are written as escapes, so that it can be shown, and read back the same."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return _HIDDEN.sub(lambda found: found[0] if found[0] == "\n" else json.dumps(found[0])[1:-1], text)


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 2**16 else f"\\U{number:08x}"
