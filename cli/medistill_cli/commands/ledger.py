"""`medistill ledger`: what was spent under differential privacy, as far as this installation knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medistill_cli import options
from medistill_cli.results import print_facts, print_json
from medistill_cli.terminal import out_console

if TYPE_CHECKING:
    from medistill.privacy.ledger import Entry
    from medistill.privacy.spent import Spent


def ledger(json: options.AsJson = False, debug: options.Debug = False) -> None:
    """List what was spent under differential privacy.

    Every training of experts under differential privacy is entered before it begins, whether a set is made of them or
    not. "In all" is what this release and all others from any of the same people have spent together. The ledger holds
    no name; it is a private file, which `purge` leaves alone. Keep a backup of its folder.

    \b
    Examples:
      medistill ledger
      medistill ledger --json
    """
    from medistill.privacy.ledger import ledger_root, read_ledger
    from medistill.privacy.spent import Spent

    root = ledger_root()
    known = read_ledger(root)
    rows = []
    for entry in known.entries if known is not None else ():
        earlier = [other.release for other in known.of(entry.people) if other.id != entry.id] if known else []
        rows.append((entry, Spent.of(earlier, [entry.release])))
    if json:
        entries = [
            {
                "day": entry.day,
                "recipe": entry.recipe,
                "epsilon": entry.release.epsilon,
                "delta": entry.release.delta,
                "unit": entry.release.unit,
                "in_all": {"releases": spent.releases, "epsilon": spent.epsilon, "delta": spent.delta},
            }
            for entry, spent in rows
        ]
        print_json({"ledger": str(root), "began": known.began if known is not None else None, "releases": entries})
        return
    if known is None:
        out_console().print(f"No ledger was begun in {root}: nothing was spent, as far as this installation knows.")
        return
    print_facts([("Ledger", str(root)), ("Begun", f"{known.began}; what was spent before is not known to it")])
    _print(rows)


def _print(rows: Sequence[tuple[Entry, Spent]]) -> None:
    from rich.table import Table

    from medistill.privacy.accounting import rounded_up

    table = Table(title_justify="left")
    for heading in ("", "Day", "Recipe", "Epsilon", "Delta", "For one", "In all, with the same people"):
        table.add_column(heading)
    for number, (entry, spent) in enumerate(rows, 1):
        release = entry.release
        amount = "cannot be stated" if spent.epsilon is None else f"epsilon {rounded_up(spent.epsilon)}"
        in_all = f"{amount}, delta {spent.delta:.3g} ({spent.releases} of {len(rows)} releases)"
        facts = (str(number), entry.day, entry.recipe, rounded_up(release.epsilon), f"{release.delta:.3g}")
        table.add_row(*facts, release.unit, in_all)
    out_console().print(table)
