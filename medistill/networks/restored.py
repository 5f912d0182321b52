"""The network of a trained classifier, with its weights in place."""

from __future__ import annotations

import torch
from torch import nn

from medistill.artifacts.classifier import Classifier
from medistill.encoders.presence import has_encoder
from medistill.errors import ArtifactError, UsageError
from medistill.networks.registry import NetworkSpec, build_network, spec_of


def classifier_spec(classifier: Classifier) -> NetworkSpec:
    """What has to be known to build the network of a classifier.

    Raises:
        UsageError: it is a probe, and its encoder is not in the cache; with where that can be had.
    """
    channels, size, _ = classifier.shape
    network, encoder = classifier.recipe.network, classifier.provenance.encoder
    if network.encoder and not has_encoder(network.encoder):
        source = encoder.source if encoder is not None else "ask whoever sent the classifier"
        raise UsageError(
            f"the encoder of this classifier is not on this machine: SHA-256 {network.encoder}",
            expected="that very encoder: a classifier answers by its features alone",
            do=f"get it ({source}), and bring it with `medistill encoder add FOLDER`",
        )
    return spec_of(network, channels, size, len(classifier.class_names))


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
