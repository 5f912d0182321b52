"""The networks of the registry that see pixels, which most tests of networks go through."""

from __future__ import annotations

from medistill.networks.registry import REGISTRY

PIXEL_NETWORKS = sorted(set(REGISTRY) - {"probe"})
