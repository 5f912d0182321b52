"""Former: what an audit may write over, of what lies where it is to be written."""

from __future__ import annotations

from pathlib import Path

from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import ArtifactError, UsageError
from medistill.privacy.audit import load_audit

AUDIT = "audit.json"


def is_of_run(folder: Path, run: Path | None) -> bool:
    """Whether a folder is where the run's own audit lies, which its report and its bundle show."""
    return run is not None and folder.resolve() == (run / "audit").resolve()


def refuse_what_lies_there(folder: Path, distilled: DistilledSet, *, run: Path | None, quick: bool) -> None:
    """Refuse to write over an audit that this one cannot stand for.

    Args:
        folder: where it would lie.
        distilled: the set.
        run: that made the set; the audit in its own folder may be of an earlier set.
        quick: this one asks less than a whole one of the same set.

    Raises:
        UsageError: the folder holds the audit of another set, or a whole one of this set and this one is quick.
    """
    if not (folder / AUDIT).is_file():
        return
    try:
        known = load_audit(folder / AUDIT)
    except ArtifactError:
        known = None
    same = known is not None and known.set_digest == distilled.digest()
    if not same and not is_of_run(folder, run):
        raise UsageError(
            f"{folder} holds the audit of another set, or one that cannot be read",
            expected="a new folder, or that of an earlier audit of this set",
            do="name another folder (--out, or `out` of `medistill.audit`)",
        )
    if quick and same and known is not None and known.trained:
        raise UsageError(
            f"{folder} holds a whole audit of this set, which says: {known.verdict}",
            expected="no answer in its place that asks less",
            do=f"read {folder / 'audit.html'}, or repeat the whole audit; a quick one may be written elsewhere "
            "(--out, or `out` of `medistill.audit`)",
        )
