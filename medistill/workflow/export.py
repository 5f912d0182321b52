"""Export: write a distilled set in a form that other programs read."""

from __future__ import annotations

import io
from pathlib import Path

from medistill.artifacts.atomic import write_bytes
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.new_folder import new_folder
from medistill.sharing.dd_ranking import dd_ranking_tensors


def export_dd_ranking(distilled: DistilledSet, *, out: str | Path, dataset: str | None = None) -> list[Path]:
    """Write ``images.pt``, ``labels.pt`` and ``lr.pt`` for DD-Ranking, each one tensor. See `dd_ranking_tensors`.

    Raises:
        UsageError: ``out`` holds something already, or the dataset is unknown or has other channels.
    """
    import torch

    tensors = dd_ranking_tensors(distilled, dataset)
    with new_folder(Path(out)) as folder:
        for name, tensor in tensors.items():
            content = io.BytesIO()  # written by ourselves: torch does not say why where the disk is full
            torch.save(tensor, content)
            write_bytes(folder / f"{name}.pt", content.getvalue())
    return [Path(out) / f"{name}.pt" for name in tensors]
