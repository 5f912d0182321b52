"""Networks between their start and their end."""

from __future__ import annotations

import torch

from medistill.engine.sources.blend import NAME, BlendedNetworks, TrainedNetworks
from medistill.networks.registry import build_network
from medistill.training.randomness import generator
from tests.factories.compared import CPU, SHOWN, SPEC


def theta(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([one.flatten() for one in network.parameters()])


STARTS = torch.stack([theta(build_network(SPEC, generator(0, NAME, k))) for k in range(4)]).detach()
ENDS = STARTS + torch.arange(1.0, 5)[:, None]
"""Each is as far from its start as its number says."""


def test_a_blend_lies_between_the_start_and_the_end_of_the_network_that_is_drawn():
    blends, trained = (kind(SPEC, ENDS, 0, CPU) for kind in (BlendedNetworks, TrainedNetworks))
    drawn, shares = set(), []
    for iteration in range(30):
        end = theta(trained.draw(iteration, SHOWN))
        (which,) = [k for k in range(4) if torch.equal(end, ENDS[k])]
        gone = (theta(blends.draw(iteration, SHOWN)) - STARTS[which]) / (which + 1)
        assert float(gone.std()) < 1e-5
        drawn.add(which)
        shares.append(float(gone.mean()))
    assert drawn == {0, 1, 2, 3}
    assert 0 < min(shares) < 0.2
    assert 0.8 < max(shares) < 1


def test_what_is_drawn_depends_on_the_iteration_alone():
    blends = BlendedNetworks(SPEC, ENDS, 0, CPU)
    first, again, other = (blends.draw(step, SHOWN) for step in (3, 3, 4))
    assert torch.equal(theta(first), theta(again))
    assert not torch.equal(theta(first), theta(other))
    assert not torch.equal(theta(first), theta(blends.draw(3, SHOWN, 1)))
    assert not any(one.requires_grad for one in first.parameters())
