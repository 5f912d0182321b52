"""The least that the whole chain can be made to do: it takes seconds."""

from __future__ import annotations

TINY = (
    "network.width=4",
    "method.experts.count=2",
    "method.experts.epochs=3",
    "method.iterations=4",
    "method.syn_steps=2",
    "method.max_start_epoch=2",
    "method.validate_every=2",
    "method.validate_epochs=3",
    "method.validate_networks=1",
    "evaluate.networks=2",
    "evaluate.epochs=5",
    "evaluate.raw_epochs=2",
    "evaluate.bootstrap=100",
    "schedule.choose=fixed",
)
"""Overrides of a recipe."""
TINY_QUANTISED = tuple(setting for setting in TINY if not setting.startswith("method."))
"""Those that a recipe of a method that quantises knows too."""
