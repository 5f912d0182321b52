"""The least that the whole chain can be made to do: it takes seconds."""

from __future__ import annotations

TINY = (
    "network.width=4",
    "experts.count=2",
    "experts.epochs=3",
    "distill.iterations=4",
    "distill.syn_steps=2",
    "distill.max_start_epoch=2",
    "distill.validate_every=2",
    "distill.validate_epochs=3",
    "distill.validate_networks=1",
    "evaluate.networks=2",
    "evaluate.epochs=5",
    "evaluate.raw_epochs=2",
    "evaluate.bootstrap=100",
    "schedule.choose=fixed",
)
"""Overrides of a recipe."""
