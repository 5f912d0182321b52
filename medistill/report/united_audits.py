"""United audits: which of the sets that were united into one do not pass an audit, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from medistill.artifacts.provenance import MergedPart
from medistill.report.wording import listed

ENDED = {
    "fail": "fails its audit",
    "not enough evidence": "passes no audit, for lack of evidence",
    "none": "was not audited",
}
"""How an audit ended -> what that says of the set."""


def united_audits(parts: Sequence[MergedPart]) -> str:
    """Say which of the united sets do not pass an audit; empty where all do, or where that was not looked at."""
    lacking = [
        f"set {number}{f' ({part.sender})' if part.sender else ''} {ENDED[part.audit]}"
        for number, part in enumerate(parts, 1)
        if part.audit in ENDED
    ]
    if not lacking:
        return ""
    return (
        f"{len(lacking)} of {len(parts)} sets {'does' if len(lacking) == 1 else 'do'} not pass an "
        f"audit: {listed(lacking)}. What a set gives away, the united set gives away too."
    )
