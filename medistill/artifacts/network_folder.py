"""Networks of one kind on disk: one format for those that were trained here and for those that a user brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from medistill.artifacts.weights_folder import FolderForm, Parts
from medistill.errors import ArtifactError


class Architecture(Protocol):
    """What a network is, without its parameters."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""

    def empty_network(self) -> nn.Module:
        """The network with the shapes of its parameters alone: nothing is allocated."""


class Built(Protocol):
    """A network that says what it is."""

    @property
    def architecture(self) -> Any: ...


Network = TypeVar("Network", bound=Built)


@dataclass(frozen=True)
class NetworkFolder(Generic[Network]):
    """How networks of one kind lie in a folder: weights, and a description with the architecture and a licence.

    Attributes:
        form: of the folder.
        network: what the description calls the network.
        of_json: plain values -> the architecture; raises ArtifactError where it cannot be built.
        of_weights: an architecture and its parameters by name -> the network on the CPU.
        state_of: a network -> its parameters by name, on the CPU.
    """

    form: FolderForm
    network: str
    of_json: Callable[[object], Architecture]
    of_weights: Callable[[Any, dict[str, Tensor]], Network]
    state_of: Callable[[Network], dict[str, np.ndarray]]

    def save(self, folder: Path, network: Network, licence: str, trained_on: str) -> str:
        """Write a network, readable by its owner alone; the description comes last.

        Args:
            folder: made where it is missing.
            network: what to write.
            licence: under which others may use it, in one line, as "CC-BY-4.0".
            trained_on: what it was trained on, in one line, for whoever brings it.

        Returns:
            SHA-256 of the two files together, as `load` gives it.

        Raises:
            ArtifactError: no licence, a text that is no line, or weights that are not finite.
        """
        described = {
            "network": self.network,
            "architecture": network.architecture.as_json(),
            "licence": licence,
            "trained_on": trained_on,
        }
        self.form.save(folder, described, self.state_of(network))
        return self._checked(folder)[0].sha256

    def load(self, folder: Path) -> tuple[Network, str, str]:
        """Read a network and check every part of it. Nothing in it is executed, and it names no other file.

        Returns:
            The network on the CPU, its licence, and the SHA-256 of both files.

        Raises:
            ArtifactError: a file is missing, damaged, a link or too large; another schema; no licence; or weights that
                are not those of the architecture, not finite, or not those that the description lists.
        """
        found, architecture = self._checked(folder)
        weights = {name: torch.from_numpy(array.copy()) for name, array in found.arrays.items()}
        return self.of_weights(architecture, weights), found.known["licence"], found.sha256

    def bring(self, folder: Path, into: Path) -> str:
        """Check a network and copy it to ``into/SHA256``, whole or not at all, readable by its owner alone.

        Returns:
            SHA-256 of both files, of the very bytes that were checked.

        Raises:
            ArtifactError: as `load`, or ``into`` cannot be written.
        """
        found, _ = self._checked(folder)
        self.form.bring(found, into)
        return found.sha256

    def _checked(self, folder: Path) -> tuple[Parts, Architecture]:
        described = self.form.known(folder)
        known = described[1]
        if known["network"] != self.network:
            raise self.form.unusable(folder, f"it has the network {known['network'][:64]!r}")
        try:
            architecture = self.of_json(known["architecture"])
        except ArtifactError as error:
            raise self.form.unusable(folder, f"{error.seen} ({error.expected})") from None
        shapes = {name: tuple(tensor.shape) for name, tensor in architecture.empty_network().state_dict().items()}
        parts = self.form.parts(folder, described, 4 * sum(torch.Size(shape).numel() for shape in shapes.values()))
        self.form.refuse_tensors(folder, parts.arrays, shapes)
        return parts, architecture
