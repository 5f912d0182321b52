"""The state of a distillation: all that the next outer step depends on, in one file that is whole or not there."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medistill.artifacts.atomic import read_tensors, write_tensors
from medistill.artifacts.making import Chain, array_digest
from medistill.engine.importance import Importance
from medistill.errors import ArtifactError
from medistill.recipe import Recipe, refuse_another_recipe, validate_recipe

STATE_SCHEMA = 2
CHAIN = "chain"
"""Where a checkpoint says to which chain of states it belongs."""


@dataclass
class History:
    """What happened so far, for the report.

    Attributes:
        loss: of every outer step.
        student_lr: alpha after every outer step.
        importance: W (one value a group) after each look at the validation split; empty at scalar granularity.
        looks: the outer steps after which the validation split was looked at.
        stage: the stage of each look.
        accuracy: mean accuracy there.
        auc: mean macro AUC there.
    """

    loss: list[float] = field(default_factory=list)
    student_lr: list[float] = field(default_factory=list)
    importance: list[list[float]] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)
    stage: list[int] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    auc: list[float] = field(default_factory=list)


@dataclass
class State:
    """Images, their soft labels, learning rate and W with their optimisers, and the best images so far.

    Random numbers need no state: each outer step derives its own from the seed and its number.

    Attributes:
        iteration: finished outer steps.
        pixels: (N, C, H, W) the images, normalised.
        velocity: momentum of the images' SGD.
        log_alpha: () float64, logarithm of the student's learning rate.
        log_alpha_velocity: its momentum.
        importance: W.
        average: moving average of the images (the images themselves where the recipe asks for none).
        logits: (N, classes) of the soft labels; None where labels are hard. No average is taken of them.
        logits_velocity: momentum of their SGD.
        best_pixels: images of the best look at the validation split in the present stage.
        best_logits: their logits.
        best_alpha: their learning rate.
        best_step: their outer step, -1 before the first look.
        history: what happened.
        micro_batch: images that pass the network at once, 0 before the first outer step; a resumed run keeps it.
        chain: seals every state that is saved; None seals nothing.
    """

    iteration: int
    pixels: Tensor
    velocity: Tensor
    log_alpha: Tensor
    log_alpha_velocity: Tensor
    importance: Importance
    average: Tensor
    logits: Tensor | None
    logits_velocity: Tensor | None
    best_pixels: Tensor
    best_logits: Tensor | None
    best_alpha: float
    best_step: int
    history: History
    micro_batch: int = 0
    chain: Chain | None = None

    @classmethod
    def start(
        cls,
        pixels: Tensor,
        alpha: float,
        importance: Importance,
        logits: Tensor | None = None,
        chain: Chain | None = None,
    ) -> State:
        """The state before the first outer step; ``logits`` of soft labels where these are learned."""
        log_alpha = torch.tensor(alpha, dtype=torch.float64).log()
        return cls(
            iteration=0,
            pixels=pixels,
            velocity=torch.zeros_like(pixels),
            log_alpha=log_alpha,
            log_alpha_velocity=torch.zeros_like(log_alpha),
            importance=importance,
            average=pixels.clone(),
            logits=logits,
            logits_velocity=None if logits is None else torch.zeros_like(logits),
            best_pixels=pixels.clone(),
            best_logits=None if logits is None else logits.clone(),
            best_alpha=alpha,
            best_step=-1,
            history=History(),
            chain=chain,
        )

    @property
    def alpha(self) -> float:
        """The student's learning rate."""
        return float(self.log_alpha.exp())

    def save(self, path: Path, recipe: Recipe, trajectories_key: str) -> None:
        """Write the state with the recipe that it belongs to, atomically and readable by its owner alone."""
        arrays = {name: t.detach().cpu().numpy() for name, t in self._tensors().items()}
        metadata = {
            "schema": str(STATE_SCHEMA),
            "crc32": json.dumps(_checksums(arrays)),
            "recipe": recipe.model_dump_json(),
            "trajectories": trajectories_key,
            "iteration": str(self.iteration),
            "threads": str(torch.get_num_threads()),
            "micro_batch": str(self.micro_batch),
            "best_alpha": self.best_alpha.hex(),
            "best_step": str(self.best_step),
            "history": json.dumps(asdict(self.history)),
        }
        if self.chain is None:
            write_tensors(path, arrays, metadata, private=True)
            return
        grown = self.chain.linked(_digest(arrays, metadata))
        write_tensors(path, arrays, {**metadata, CHAIN: grown.as_text(self.chain)}, private=True)
        self.chain = grown

    def restore(self, path: Path, recipe: Recipe, trajectories_key: str) -> int:
        """Continue from a file.

        Returns:
            The number of processor threads that it was written with; another number rounds sums in another order.

        Raises:
            UsageError: it was written under another recipe; the differing settings are named.
            ArtifactError: damaged, of another version, of other experts, or not what the chain was sealed with.
        """
        arrays, metadata = read_tensors(path, "checkpoint")
        _check_origin(path, metadata, recipe, trajectories_key)
        tensors = self._tensors()
        if set(arrays) != set(tensors) or any(arrays[name].shape != tuple(t.shape) for name, t in tensors.items()):
            raise _damaged(path, "its tensors have other names or shapes")
        try:
            if json.loads(metadata["crc32"]) != _checksums(arrays):
                raise _damaged(path, "its checksums do not fit")
            threads = int(metadata["threads"])
            self.micro_batch = int(metadata["micro_batch"])
            self.iteration = int(metadata["iteration"])
            self.best_alpha = float.fromhex(metadata["best_alpha"])
            self.best_step = int(metadata["best_step"])
            self.history = History(**json.loads(metadata["history"]))
        except ArtifactError:
            raise
        except (KeyError, ValueError, TypeError) as error:
            raise _damaged(path, f"its metadata cannot be read ({error})") from None
        if self.chain is not None:
            kept = {name: text for name, text in metadata.items() if name != CHAIN}
            chain = self.chain.resumed(metadata.get(CHAIN), _digest(arrays, kept))
            if chain is None:
                raise _damaged(path, "it was changed after this installation wrote it, or is of another run")
            self.chain = chain
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(np.asarray(arrays[name])))
        return threads

    def _tensors(self) -> dict[str, Tensor]:
        soft = {"logits": self.logits, "logits_velocity": self.logits_velocity, "best_logits": self.best_logits}
        return {
            "pixels": self.pixels,
            "velocity": self.velocity,
            "log_alpha": self.log_alpha,
            "log_alpha_velocity": self.log_alpha_velocity,
            "importance": self.importance.weights,
            "importance_velocity": self.importance.velocity,
            "average": self.average,
            "best_pixels": self.best_pixels,
            **{name: tensor for name, tensor in soft.items() if tensor is not None},
        }


def _digest(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    return array_digest({**arrays, "": np.frombuffer(json.dumps(metadata, sort_keys=True).encode(), np.uint8)})


def _checksums(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: zlib.crc32(np.ascontiguousarray(array).tobytes()) for name, array in arrays.items()}


def _check_origin(path: Path, metadata: dict[str, str], recipe: Recipe, trajectories_key: str) -> None:
    if metadata.get("schema") != str(STATE_SCHEMA):
        raise _damaged(path, f"it has schema {metadata.get('schema')!r}, not {STATE_SCHEMA}")
    try:
        settings: dict[str, Any] = json.loads(metadata["recipe"])
    except (KeyError, ValueError) as error:
        raise _damaged(path, f"its recipe cannot be read ({error})") from None
    refuse_another_recipe(recipe, validate_recipe(settings, f"the recipe inside {path}"), path.parent.parent)
    if metadata.get("trajectories") != trajectories_key:
        raise _damaged(path, "it was made with other experts or another corpus")


def _damaged(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"checkpoint {path} cannot be used: {why}",
        expected="the checkpoint of this run",
        do="remove it to start this stage again, or choose another --out; the corpus and the experts are kept",
    )
