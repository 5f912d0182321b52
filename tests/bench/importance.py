"""What W does by usefulness, and what the loss on originals adds to trajectories, by cross-validation.

    python -m tests.bench.importance --data FOLDER --labels CSV --set 'data.prefer_sites=["raddb"]' \\
        --set 'data.classes=["COVID","Normal"]' --out runs.jsonl

The patients of the training and validation splits are divided into thirds as `tests.bench.gap` does: each run distils
two of them, fresh networks trained on its last images are scored on the third, and test patients take no part. All
variants of a third share its experts and its seed, so that differences are of the setting alone. Finished runs in
``--out`` are not repeated; more thirds, or ``--set seed``s of other files, tell how far seeds spread.
"""

from __future__ import annotations

from tests.bench import gap

W = "method.importance."
FROZEN = ("method.name=iadd", f"{W}direction=frozen")
USEFUL = ("method.name=iadd", f"{W}direction=usefulness")
VARIANTS: dict[str, tuple[str, ...]] = {
    "W = 1 (MTT)": FROZEN,
    "W by descent": ("method.name=iadd", f"{W}direction=descent"),
    "W by descent, lr .01": ("method.name=iadd", f"{W}direction=descent", f"{W}lr=0.01"),
    "W by usefulness": USEFUL,
    "W by usefulness, lr .01": (*USEFUL, f"{W}lr=0.01"),
    "W by usefulness, weighed by movement": (*USEFUL, f"{W}constraint=movement"),
    "W = 1, the real loss with a weight of .5": (*FROZEN, "method.real.weight=0.5"),
    "W = 1, the real loss after half of the steps": (*FROZEN, "method.real.begins=0.5"),
    "W by usefulness, the real loss after half of the steps": (*USEFUL, "method.real.begins=0.5"),
}
"""The first is what the others are compared with."""


def main() -> None:
    """Run what is missing and print the table."""
    gap.main(VARIANTS, __doc__)


if __name__ == "__main__":
    main()
