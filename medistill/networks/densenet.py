"""DenseNet-121 as MONAI builds it, with group norm in place of batch norm."""

from __future__ import annotations

from torch import nn

GROUPS = 8
"""Groups of every norm. For images of 32 pixels the last block sees a single one: groups of 16 channels and more still
have something to be measured by there, which an instance norm has not."""


def densenet121(channels: int, classes: int) -> nn.Module:
    """Four dense blocks of 6, 12, 24 and 16 layers (Huang et al. 2017), never pretrained; at least 32 pixels wide."""
    from monai.networks.nets.densenet import DenseNet121

    network: nn.Module = DenseNet121(2, channels, classes, norm=("group", {"num_groups": GROUPS}), act="relu")
    return network
