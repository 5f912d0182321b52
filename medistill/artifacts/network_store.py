"""Networks of one kind in the private cache: the corpus's own, trained once, and those that were brought.

Each lies in a folder of weights (`weights_folder`) that its hash names, or that the hash of what it was trained with
does. What was trained here holds patients, and a purge takes every one of them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import cache_root
from medistill.artifacts.kept import keep_json, read_checked_json
from medistill.artifacts.lock import exclusive_lock
from medistill.errors import ArtifactError, UsageError

Network = TypeVar("Network")
OWN = "own.json"
"""Which key a network was trained for, beside it in its folder."""


@dataclass(frozen=True)
class NetworkStore(Generic[Network]):
    """Networks of one kind.

    Attributes:
        kind: their folder in the cache, as "decoders".
        noun: one that was brought, as "decoder", which is also the option that brings it.
        own_noun: one that was trained here, as "autoencoder".
        description: name of the file that tells of one, written last.
        load: folder -> the network on the CPU, its licence and its SHA-256, checked.
        bring: checks one in a folder, copies it into another under its SHA-256, and returns that.
    """

    kind: str
    noun: str
    own_noun: str
    description: str
    load: Callable[[Path], tuple[Network, str, str]]
    bring: Callable[[Path, Path], str]

    def keep_brought(self, path: Path, sha256: str) -> None:
        """Copy one that was checked into the cache, where it is not there whole.

        Raises:
            ArtifactError: it was changed since, or cannot be copied.
        """
        folder = self.folder()
        with exclusive_lock(folder / f"{sha256}.lock", when_taken=lambda: None, keep=True):
            if self._intact(folder / sha256, sha256) is None:
                shutil.rmtree(folder / sha256, ignore_errors=True)
                if self.bring(path, folder) != sha256:
                    raise ArtifactError(
                        f"the {self.noun} in {path} was changed while it was read",
                        expected="files that nobody writes to",
                        do="repeat the command",
                    )

    def bring_foreign(self, path: Path, *, own_licence: str, made_by: str, do: str) -> str:
        """Check one that somebody else made, and copy it into the cache; return its SHA-256.

        Args:
            path: its folder.
            own_licence: what those say that were trained here, and would pass for ones that saw no patient.
            made_by: how these came to be, as "fitted to a corpus by SETTING".
            do: what to do in place of bringing such a one.

        Raises:
            ArtifactError: it is damaged, states no licence, or its weights are not finite or of another network.
            UsageError: it was trained on a corpus here.
        """
        _, licence, sha256 = self.load(path)
        if licence == own_licence:
            raise UsageError(
                f"the {self.noun} in {path} was {made_by}",
                expected="one that was not trained on patients of this house, which is what sets say of it",
                do=do,
            )
        self.keep_brought(path, sha256)
        return sha256

    def brought(self, sha256: str) -> tuple[Network, str]:
        """One that was brought, on the CPU, and its licence.

        Raises:
            UsageError: it is not in the cache, or is damaged there.
        """
        found = self._intact(self.folder() / sha256, sha256)
        if found is None:
            raise UsageError(
                f"the {self.noun} {sha256[:12]} of the recipe is not in the private cache any more, or is damaged "
                "there",
                expected=f"the {self.noun} that was brought when the recipe was made",
                do=f"give it again with --{self.noun} FOLDER (medistill.bring_{self.noun} in Python)",
            )
        return found

    def own(
        self, made_with: Mapping[str, Any], train: Callable[[Path], Network], say: Callable[[str], None]
    ) -> Network:
        """The one of these data and settings; it is trained where the cache has none. Of several processes one trains,
        and the others wait.

        Args:
            made_with: all that decides it, as plain values.
            train: folder -> the network, which it leaves there.
            say: told what is found.

        Raises:
            ArtifactError: it cannot be written.
        """
        folder = self._own_folder(made_with)
        with exclusive_lock(
            folder.with_name(f"{folder.name}.lock"),
            when_taken=lambda: say(f"Another process trains the same {self.own_noun}: this one waits for it."),
            keep=True,
        ):
            if (folder / self.description).is_file():
                try:
                    network, _, sha256 = self.load(folder)
                    self._check_own(folder, sha256)
                except ArtifactError as error:
                    say(f"The {self.own_noun} is trained again: {error.seen}.")
                    shutil.rmtree(folder)
                else:
                    say(f"The {self.own_noun} is in the cache already.")
                    return network
            network = train(folder)
            keep_json(folder / OWN, {"key": folder.name, "sha256": self.load(folder)[2]}, private=True)
            return network

    def forget(self, made_with: Mapping[str, Any]) -> None:
        """Remove the one of these data and settings, where there is one: nobody will ask for it again."""
        folder = self._own_folder(made_with)
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_name(f"{folder.name}.lock").unlink(missing_ok=True)

    def folder(self) -> Path:
        """Where they lie."""
        return private_folder(cache_root() / self.kind)

    def _own_folder(self, made_with: Mapping[str, Any]) -> Path:
        return self.folder() / hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()

    def _check_own(self, folder: Path, sha256: str) -> None:
        """Refuse a network that was trained for another key, in whose folder it lies.

        Raises:
            ArtifactError: with what is wrong.
        """
        known = read_checked_json(folder / OWN, self.own_noun)
        if known != {"key": folder.name, "sha256": sha256}:
            raise ArtifactError(
                f"the {self.own_noun} in {folder} is another one",
                expected="the one that was trained for this corpus and these settings",
                do="repeat the command: it is trained again",
            )

    def _intact(self, folder: Path, sha256: str) -> tuple[Network, str] | None:
        """The one that lies there, if it is whole and has that hash."""
        try:
            network, licence, seen = self.load(folder)
        except ArtifactError:
            return None
        return (network, licence) if seen == sha256 else None
