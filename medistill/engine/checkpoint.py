"""Checkpoints: the state of a distillation in one file that is whole or not there."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from medistill.artifacts.atomic import read_tensors, write_tensors
from medistill.artifacts.making import array_digest
from medistill.engine.state import History, State
from medistill.errors import ArtifactError

CHECKPOINT_SCHEMA = 3
CHAIN = "chain"
"""Where a checkpoint says to which chain of states it belongs."""

Origin = Mapping[str, str]
"""What a run was started from, as plain values that its checkpoints repeat."""


def save_checkpoint(state: State, path: Path, origin: Origin) -> None:
    """Write the state with what its run was started from, atomically and readable by its owner alone."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in state.tensors().items()}
    metadata = {
        "schema": str(CHECKPOINT_SCHEMA),
        "crc32": json.dumps(checksums(arrays)),
        "origin": json.dumps(dict(origin)),
        "iteration": str(state.iteration),
        "threads": str(torch.get_num_threads()),
        "micro_batch": str(state.micro_batch),
        "best_step": str(state.best_step),
        "history": json.dumps(asdict(state.history)),
    }
    if state.chain is None:
        write_tensors(path, arrays, metadata, private=True)
        return
    grown = state.chain.linked(_digest(arrays, metadata))
    write_tensors(path, arrays, {**metadata, CHAIN: grown.as_text(state.chain)}, private=True)
    state.chain = grown


def load_checkpoint(state: State, path: Path, refuse_another: Callable[[Origin], None]) -> int:
    """Continue from a file, in place.

    Args:
        state: as it starts, with tensors of the same names and shapes.
        path: the file.
        refuse_another: is called with what the file's run was started from, and raises where that is another.

    Returns:
        The number of processor threads that it was written with; another number rounds sums in another order.

    Raises:
        ArtifactError: damaged, of another version, or not what the chain was sealed with.
    """
    arrays, metadata = read_tensors(path, "checkpoint")
    if metadata.get("schema") != str(CHECKPOINT_SCHEMA):
        raise unusable_checkpoint(path, f"it has schema {metadata.get('schema')!r}, not {CHECKPOINT_SCHEMA}")
    refuse_another(_origin(path, metadata))
    tensors = state.tensors()
    if set(arrays) != set(tensors) or any(arrays[name].shape != tuple(t.shape) for name, t in tensors.items()):
        raise unusable_checkpoint(path, "its tensors have other names or shapes")
    try:
        if json.loads(metadata["crc32"]) != checksums(arrays):
            raise unusable_checkpoint(path, "its checksums do not fit")
        threads = int(metadata["threads"])
        state.micro_batch = int(metadata["micro_batch"])
        state.iteration = int(metadata["iteration"])
        state.best_step = int(metadata["best_step"])
        state.history = History(**json.loads(metadata["history"]))
    except ArtifactError:
        raise
    except (KeyError, ValueError, TypeError) as error:
        raise unusable_checkpoint(path, f"its metadata cannot be read ({error})") from None
    if state.chain is not None:
        sealed = {name: text for name, text in metadata.items() if name != CHAIN}
        chain = state.chain.resumed(metadata.get(CHAIN), _digest(arrays, sealed))
        if chain is None:
            raise unusable_checkpoint(path, "it was changed after this installation wrote it, or is of another run")
        state.chain = chain
    for name, tensor in tensors.items():
        tensor.copy_(torch.from_numpy(np.asarray(arrays[name])))
    return threads


def checksums(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Return CRC-32 of each array."""
    return {name: zlib.crc32(np.ascontiguousarray(array).tobytes()) for name, array in arrays.items()}


def unusable_checkpoint(path: Path, why: str) -> ArtifactError:
    """Return the error of a checkpoint that a run cannot go on from."""
    return ArtifactError(
        f"checkpoint {path} cannot be used: {why}",
        expected="the checkpoint of this run",
        do="remove it to start this stage again, or choose another --out; the corpus and the experts are kept",
    )


def _origin(path: Path, metadata: Mapping[str, str]) -> Origin:
    try:
        origin = json.loads(metadata["origin"])
        return {str(name): str(value) for name, value in origin.items()}
    except (KeyError, ValueError, AttributeError) as error:
        raise unusable_checkpoint(path, f"what its run was started from cannot be read ({error})") from None


def _digest(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    return array_digest({**arrays, "": np.frombuffer(json.dumps(dict(metadata), sort_keys=True).encode(), np.uint8)})
