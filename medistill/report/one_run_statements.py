"""What a set that was made once more says of epsilon, in words: the bound from below beside the promise from above."""

from __future__ import annotations

from medistill.privacy.attack_registry import display_name
from medistill.privacy.membership import OneRun, OneRunBound
from medistill.report.audit_statements import SOURCE_NAMES
from medistill.report.table import Column, Row, Table, table
from medistill.report.text import Missing
from medistill.report.wording import NARROW, counted, number, short, were


def one_run_sentences(found: OneRun, unit: str) -> tuple[str, ...]:
    """What was done, what follows for the set, and what it promises.

    Args:
        found: of the audit.
        unit: "patient", "study" or "image", for whom coins were tossed.
    """
    if found.reason:
        return (f"Epsilon cannot be bounded from below by one run, because {found.reason}.",)
    tossed = (
        f"The set was made once more, with the whole budget; a coin decided for each of "
        f"{counted(found.canaries, unit)}, real ones of the training split, whether all or none of their images are in "
        f"({counted(found.inside, unit)} {were(found.inside)}). Who is in was guessed from what was made, in ways that "
        "were fixed before and are corrected for."
    )
    bound = found.of("distilled")
    if bound is None:
        return (tossed, "No attack gives a score, so nothing follows.", _promise(found, unit))
    return (tossed, _lower(found, bound, unit), _promise(found, unit))


def _lower(found: OneRun, bound: OneRunBound, unit: str) -> str:
    right = f"{bound.right} of {counted(bound.guesses, 'guess', 'guesses')} right"
    if not bound.epsilon:
        return (
            f"The guesses were no better than chance allows ({right}), so that no epsilon is refuted. That shows no "
            "privacy: another attack may guess better."
        )
    return (
        f"With {100 * found.confidence:g}{NARROW}% confidence its making is not differentially private for one {unit} "
        f"with an epsilon below {number(bound.epsilon, 2)} at delta = {short(found.delta)} ({right}). A lower bound "
        "says what was found; another attack may guess better."
    )


def _promise(found: OneRun, unit: str) -> str:
    if found.stated_epsilon is None:
        return f"There is no promise to hold it against: {found.stated_reason}."
    return f"The set promises an epsilon of at most {number(found.stated_epsilon, 2)} for one {unit} at that delta."


def one_run_table(found: OneRun) -> Table:
    """The bound of the set and of its controls, beside what is promised."""
    return table(
        "Epsilon by one run",
        (
            Column("Made once more"),
            Column("Best attack"),
            Column("Guessed"),
            Column("Right", "count"),
            Column("Epsilon at least", "number", digits=2),
            Column("Promised at most", "number", digits=2),
        ),
        tuple(_row(found, bound) for bound in found.bounds),
    )


def _row(found: OneRun, bound: OneRunBound) -> Row:
    promised = found.stated_epsilon if bound.source == "distilled" else None
    return (
        SOURCE_NAMES[bound.source],
        one_run_attack(bound),
        bound.rule,
        f"{bound.right} of {bound.guesses}",
        bound.epsilon,
        Missing("nothing") if promised is None else promised,
    )


def one_run_attack(bound: OneRunBound) -> str:
    """Whose scores told most, such as "distance, less that to the set itself"."""
    return f"{display_name(bound.attack)}{', less that of the set itself' if bound.beside else ''}"
