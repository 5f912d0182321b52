"""Weights of EfficientNet-Lite0 as its package publishes them, drawn at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from medistill.encoders.efficientnet_lite import STAGES


def batch_normed(seed: int) -> dict[str, np.ndarray]:
    """Weights by the names of the published file, whose batch norms are not folded."""
    numbers = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}

    def layer(convolution: str, norm: str, shape: tuple[int, ...]) -> None:
        weights[f"{convolution}.weight"] = numbers.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        for part, low, high in (
            ("weight", 0.5, 1.5),
            ("bias", -1, 1),
            ("running_mean", -1, 1),
            ("running_var", 0.5, 2),
        ):
            weights[f"{norm}.{part}"] = numbers.uniform(low, high, shape[0])

    layer("_conv_stem", "_bn0", (32, 3, 3, 3))
    channels, number = 32, 0
    for stage in STAGES:
        for _ in range(stage.blocks):
            inner, block = channels * stage.expansion, f"_blocks.{number}"
            if stage.expansion > 1:
                layer(f"{block}._expand_conv", f"{block}._bn0", (inner, channels, 1, 1))
            layer(f"{block}._depthwise_conv", f"{block}._bn1", (inner, 1, stage.kernel, stage.kernel))
            layer(f"{block}._project_conv", f"{block}._bn2", (stage.channels, inner, 1, 1))
            channels, number = stage.channels, number + 1
    layer("_conv_head", "_bn1", (1280, channels, 1, 1))
    return weights


def save_published(path: Path, seed: int = 0, **changed: np.ndarray | None) -> Path:
    """Write them as PyTorch does, with a classifier and counts; some changed, or left out where they are None."""
    weights: dict[str, np.ndarray | None] = {**batch_normed(seed), **changed}
    tensors = {
        name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in weights.items() if array is not None
    }
    tensors |= {"_fc.weight": torch.zeros(10, 1280), "_bn0.num_batches_tracked": torch.tensor(7)}
    torch.save(tensors, path)
    return path
