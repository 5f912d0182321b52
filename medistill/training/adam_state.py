"""Adam on disk: a network's parameters and the running means of their gradients, by which a training goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from medistill.artifacts.kept import keep_tensors, read_kept

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Adam's running means of the gradient and of its square, as PyTorch names them."""


def keep_training(
    path: Path, key: str, network: nn.Module, adam: torch.optim.Adam, done: int, counted: str = "epochs"
) -> None:
    """Write weights, moments and how far the training is, readable by the owner alone.

    Args:
        path: the file.
        key: what the state belongs to.
        network: all of whose parameters Adam moves.
        adam: what moves them.
        done: how far it is.
        counted: in what, the name of that number in the file.

    Raises:
        ArtifactError: it cannot be written.
    """
    arrays = {counted: np.asarray(done)}
    for name, parameter in network.named_parameters():
        arrays[f"weights.{name}"] = parameter.detach().cpu().numpy()
        for moment in MOMENTS:
            arrays[f"{moment}.{name}"] = adam.state[parameter][moment].cpu().numpy()
    keep_tensors(path, arrays, {"key": key})


def restore_training(
    path: Path,
    key: str,
    network: nn.Module,
    adam: torch.optim.Adam,
    what: str,
    say: Callable[[str], None],
    *,
    counted: str = "epochs",
    updates: int = 1,
) -> int:
    """Go on from the file, where it is there and of the same training; return how far that was.

    Args:
        path: the file.
        key: what the state has to belong to.
        network: as for `keep_training`.
        adam: likewise.
        what: the state is called in what is said of one that is not taken.
        say: told of that.
        counted: as for `keep_training`.
        updates: that one of these takes.

    Raises:
        ArtifactError: it is damaged.
    """
    kept = read_kept(path, key, what, say)
    if kept is None:
        return 0
    done = int(kept[counted])
    for name, parameter in network.named_parameters():
        parameter.data.copy_(torch.from_numpy(kept[f"weights.{name}"]))
        moments = {moment: torch.from_numpy(kept[f"{moment}.{name}"]).to(parameter.device) for moment in MOMENTS}
        adam.state[parameter] = {"step": torch.tensor(float(done * updates)), **moments}
    return done
