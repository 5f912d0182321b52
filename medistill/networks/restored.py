"""The network of a trained classifier, with its weights in place."""

from __future__ import annotations

import torch
from torch import nn

from medistill.artifacts.classifier import Classifier
from medistill.errors import ArtifactError
from medistill.networks.registry import NetworkSpec, build_network


def classifier_spec(classifier: Classifier) -> NetworkSpec:
    """What has to be known to build the network of a classifier."""
    channels, size, _ = classifier.shape
    return NetworkSpec(classifier.recipe.network, channels, size, len(classifier.class_names))


def restored_network(classifier: Classifier, device: torch.device | None = None) -> nn.Module:
    """Build the network of a classifier: normalised images (N, C, H, W) -> logits (N, classes).

    Raises:
        ArtifactError: the weights are of another network.
    """
    network = build_network(classifier_spec(classifier), torch.Generator().manual_seed(0))
    try:
        network.load_state_dict({name: torch.from_numpy(array) for name, array in classifier.weights.items()})
    except RuntimeError:
        raise ArtifactError(
            f"the weights of this classifier do not fit its network, {classifier_spec(classifier).words}",
            expected="the weights of that network, for that many classes and channels",
            do="train it again, or fetch it again",
        ) from None
    network.eval()
    return network if device is None else network.to(device)
