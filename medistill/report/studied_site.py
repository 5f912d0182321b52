"""StudiedSite: a site of a study of exchange as a place where a set is made, and what an audit says of that set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SetAudit:
    """What an audit says of a set.

    Attributes:
        verdict: of its gate; "not audited" where there was none.
        failed: what the gate asked for and did not find.
        open: what it asked for and could not see.
        reason: why there is no audit; else empty.
        searched: where copies were looked for, as "pixels".
        copies: most images that are copies in any of these; None where nothing was searched.
    """

    verdict: str
    failed: tuple[str, ...]
    open: tuple[str, ...]
    reason: str
    searched: tuple[str, ...] = ()
    copies: int | None = None


@dataclass(frozen=True)
class StudiedSite:
    """A site as a place where a set is made.

    Attributes:
        name: its name.
        classes: classes that its set holds.
        originals: its training images of these classes; None of all ways of making sets but the study's own, since two
            counts, of other classes, would tell that of one class.
        set_images: images of its set; 0 where it has none.
        recovered: those of them that, of all training images of their class, are most like the one that they began as;
            None where the set is missing or they did not begin as real images.
        reason: why it has no set; else empty.
        note: which of its classes take no part; else empty.
        audit: of its set; None where it has none.
        guarantee: what its set promises formally, in a sentence; empty where it promises nothing.
        epsilon: of that promise; None where there is none.
    """

    name: str
    classes: tuple[str, ...]
    originals: int | None
    set_images: int
    recovered: int | None
    reason: str
    note: str
    audit: SetAudit | None = None
    guarantee: str = ""
    epsilon: float | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StudiedSite:
        """Read what `dataclasses.asdict` made of one, before or after JSON."""
        audit = value["audit"]
        return cls(**{**_tuples(value), "audit": None if audit is None else SetAudit(**_tuples(audit))})


def _tuples(value: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with tuples in the place of lists."""
    return {name: tuple(field) if isinstance(field, list) else field for name, field in value.items()}
