"""What can go wrong for a user, said in one paragraph: what was seen and where, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from medistill.visible import MOST_WORDS, visible

if TYPE_CHECKING:
    from pydantic import ValidationError


class MedistillError(ValueError):
    """An error that a user can mend.

    The words may quote names that others chose: hidden characters are spelt out, and what is too long is cut.

    Args:
        seen: what was found, and where (the file or the field). Never a patient's identifier.
        expected: what would have been right.
        do: the next thing to try.
    """

    exit_code = 3

    def __init__(self, seen: str, *, expected: str, do: str) -> None:
        seen, expected, do = (visible(part, keep="\n", most=MOST_WORDS) for part in (seen, expected, do))
        self.seen, self.expected, self.do = seen, expected, do
        super().__init__(f"{_ended(seen)} Expected: {_ended(expected)} What to do: {_ended(do)}")

    def __reduce__(self) -> tuple[Callable[[], MedistillError], tuple[()]]:
        """Let a worker process hand the error to the one that asked; the keywords would be lost otherwise."""
        return partial(type(self), self.seen, expected=self.expected, do=self.do), ()


class UsageError(MedistillError):
    """The command, an option or a recipe is wrong; nothing was read yet."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe cannot be read, has an unknown key, or a value outside its range."""


class BudgetError(UsageError):
    """A total of the ledger of privacy would be exceeded; nothing was spent."""


class DataError(MedistillError):
    """The corpus cannot be used as it is."""


class ArtifactError(MedistillError):
    """A corpus, trajectory store, checkpoint or distilled set on disk is damaged, foreign or of another version."""


class DivergedError(MedistillError):
    """The optimisation left the finite numbers; the last good state is kept."""


class WrongDerivativeError(MedistillError):
    """A faster way of taking derivatives does not give what the plain one gives on this machine."""


class GateError(MedistillError):
    """A distilled set may not leave: it fails its audit, or has none, and nobody took the risk upon themselves."""

    exit_code = 4


class MemoryShortError(MedistillError):
    """The work does not fit in memory; what was saved before is kept."""


class RankError(MedistillError):
    """A rank of a run is lost, hangs, or computes otherwise than the others; the last good state is kept."""

    exit_code = 6


class SaidElsewhere(MedistillError):
    """A rank ends because of what another one tells the user: this one need not tell it too."""


def _ended(part: str) -> str:
    return part if part.endswith("?") else f"{part.rstrip('.')}."


class FormerFile(UserWarning):
    """A file of a former version was read; what it says is as it would be written now."""


def first_complaint(error: ValidationError) -> str:
    """What pydantic has against a record, in one line: the field and what is wrong with it."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
