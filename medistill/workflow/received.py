"""A set as it was received: from a bundle, from its own folder, or from the folder of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medistill.artifacts.atomic import read_json, sha256_file
from medistill.artifacts.distilled_set import DistilledSet
from medistill.errors import ArtifactError
from medistill.sharing.bundle import Bundle
from medistill.sharing.croissant import TENSORS


@dataclass(frozen=True)
class ReceivedSet:
    """A distilled set and what is known of its way here.

    Attributes:
        distilled: the set.
        set_digest: SHA-256 of its ``images.safetensors``.
        sender: who sent it, in the sender's own words; "" where not told.
    """

    distilled: DistilledSet
    set_digest: str
    sender: str = ""


def receive(source: str | Path) -> ReceivedSet:
    """Read the set in a bundle (a file), in a folder of a set, or in the folder of a run, and check it.

    Raises:
        ArtifactError: nothing of the kind is there, or it is damaged.
    """
    source = Path(source)
    if source.is_file():
        bundle = Bundle.open(source)
        return ReceivedSet(bundle.distilled, bundle.manifest.files[TENSORS].sha256, bundle.manifest.sender)
    folder = set_folder(source)
    return ReceivedSet(DistilledSet.load(folder), sha256_file(folder / TENSORS))


def set_folder(source: Path) -> Path:
    """The folder of the set in a folder: itself, or that of the run.

    Raises:
        ArtifactError: it holds no set, or is a bundle that was unpacked.
    """
    for folder in (source, source / "set"):
        if (folder / "manifest.json").is_file():
            if read_json(folder / "manifest.json", "distilled set").get("kind") == "medistill bundle":
                raise ArtifactError(
                    f"{folder} is a bundle that was unpacked",
                    expected="the bundle as it came: only the whole file can be checked",
                    do="name the zip file itself",
                )
            return folder
    raise ArtifactError(
        f"{source} holds no distilled set",
        expected="a bundle, the folder of a set, or of a run whose set is finished",
        do="check the path; a run that was stopped goes on with `medistill distill` and --resume",
    )
