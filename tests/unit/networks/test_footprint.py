"""The memory of a network's parameters against a count of them by hand."""

from __future__ import annotations

import pytest
import torch

from medistill.errors import MemoryShortError
from medistill.networks.footprint import machine_memory, refuse_beyond_memory
from medistill.networks.registry import NetworkSpec, build_network
from medistill.recipe import NetworkRecipe


def test_a_network_that_fits_passes_and_one_byte_less_is_refused() -> None:
    network = torch.nn.Linear(10, 7)
    needed = (10 * 7 + 7) * 4 * 3
    refuse_beyond_memory(network, "Linear", memory=needed)
    with pytest.raises(MemoryShortError, match="77 parameters"):
        refuse_beyond_memory(network, "Linear", memory=needed - 1)


def test_a_network_wider_than_the_machine_is_refused_before_it_takes_memory() -> None:
    there = machine_memory()
    assert there is not None
    assert 2**28 < there < 2**48
    spec = NetworkSpec(NetworkRecipe(width=65_536), 1, 32, 2)
    with pytest.raises(MemoryShortError, match=r"network\.width") as refused:
        build_network(spec, torch.Generator())
    assert "micro_batch" not in str(refused.value)
