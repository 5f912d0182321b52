"""`medistill doctor`: versions, device, decoders, encoders and room on disk; what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from medistill_cli import options
from medistill_cli.commands.encoder import plain_or_unusable
from medistill_cli.decoders import Decoder, decoders
from medistill_cli.results import print_facts, print_json, size
from medistill_cli.terminal import out_console

if TYPE_CHECKING:
    from medistill.encoders.encoder import Encoder
    from medistill.errors import ArtifactError

PACKAGES = (
    "medistill",
    "torch",
    "monai",
    "numpy",
    "pydicom",
    "nibabel",
    "pillow",
    "scikit-learn",
    "safetensors",
    "pydantic",
    "typer",
)
LITTLE_ROOM = 2 * 10**9
"""Free bytes below which the doctor warns."""


@dataclass(frozen=True)
class Missing:
    """Something that is not there, what that means, and how to get it."""

    what: str
    means: str
    get: str


def doctor(json: options.AsJson = False, debug: options.Debug = False) -> None:
    """Say what this machine has and what is missing.

    Versions, device, reader of text, decoders of DICOM pixels, frozen encoders, the private cache, room on disk, and
    how to get what is missing. Ends with 0 also where optional parts are missing.

    \b
    Examples:
      medistill doctor
      medistill doctor --json
    """
    from medistill.artifacts.cache import cache_folder, held
    from medistill.data.burnt_in_text import reader_name
    from medistill.encoders.store import stored_encoders

    root = cache_folder()
    versions = {name: _version(name) for name in PACKAGES}
    device, gpu = _device()
    known, encoders = decoders(), stored_encoders()
    inside, free = held(root), shutil.disk_usage(root).free
    room = inside.bytes + inside.built_in_bytes
    reader = reader_name()
    missing = _missing(versions, gpu, reader, known, free) + _missing_encoders(encoders)
    if json:
        print_json(
            {
                "python": platform.python_version(),
                "versions": versions,
                "device": device,
                "processor_cores": os.cpu_count(),
                "text_reader": reader,
                "decoders": [asdict(decoder) for decoder in known],
                "encoders": [plain_or_unusable(sha256, one) for sha256, one in encoders.items()],
                "cache": {
                    "path": str(root),
                    "corpora": inside.corpora,
                    "trajectories": inside.trajectories,
                    "decoders": inside.decoders,
                    "features": inside.features,
                    "patients_bytes": inside.bytes,
                    "bytes": room,
                },
                "free_bytes": free,
                "missing": [asdict(lack) for lack in missing],
            }
        )
        return
    console = out_console()
    console.print("Versions", style="bold")
    print_facts([("  Python", platform.python_version()), *((f"  {n}", v or "missing") for n, v in versions.items())])
    console.print("\nMachine", style="bold")
    print_facts(
        [
            ("  Device", device),
            ("  Processor cores", str(os.cpu_count())),
            ("  Reader of text", reader or "none"),
            ("  Private cache", f"{root}, {size(room)}: {inside.words}"),
            ("  Free disk there", size(free)),
        ]
    )
    console.print("\nDICOM pixels that can be decoded", style="bold")
    print_facts([(f"  {one.name}", ", ".join(one.by) or "no decoder") for one in known])
    console.print("\nFrozen encoders", style="bold")
    print_facts([(f"  {sha256[:12]}", _words(one)) for sha256, one in encoders.items()] or [("  none", "")])
    console.print("\nMissing", style="bold")
    if not missing:
        console.print("  nothing")
    for lack in missing:
        console.print(f"  {lack.what}: {lack.means}.\n    {lack.get}")


def _words(found: Encoder | ArtifactError) -> str:
    """An encoder in a line."""
    from medistill.errors import ArtifactError

    if isinstance(found, ArtifactError):
        return "cannot be used"
    said = found.description
    return f"{said.architecture}, {', '.join(said.layers)} ({found.dimension} features), {said.licence}"


def _missing_encoders(found: Mapping[str, Encoder | ArtifactError]) -> list[Missing]:
    """That no encoder is there, and which cannot be used."""
    from medistill.encoders.store import GET
    from medistill.errors import ArtifactError

    if not found:
        return [
            Missing(
                "a frozen encoder", "--encoder, and the methods that need one, cannot be used", f"In two steps: {GET}"
            )
        ]
    return [
        Missing(f"the encoder {sha256[:12]}", f"it cannot be used: {one.seen}", one.do)
        for sha256, one in found.items()
        if isinstance(one, ArtifactError)
    ]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _device() -> tuple[str, bool]:
    """What --device auto would take, in words, and whether it is a GPU."""
    import torch

    if torch.cuda.is_available():
        room = torch.cuda.get_device_properties(0).total_memory
        return f"cuda: {torch.cuda.get_device_name()}, {size(room)} of memory", True
    build = "a CUDA build of torch, but no CUDA GPU found" if torch.version.cuda else "a CPU build of torch"
    threads = torch.get_num_threads()
    return f"cpu, {threads} {'thread' if threads == 1 else 'threads'} ({build})", False


def _missing(
    versions: dict[str, str | None], gpu: bool, reader: str | None, known: list[Decoder], free: int
) -> list[Missing]:
    found = [
        Missing(name, "medistill was not installed whole", f"pip install {name}")
        for name, number in versions.items()
        if number is None
    ]
    if not gpu:
        found.append(
            Missing(
                "GPU",
                "the recipe covid-xray-cpu is taken by default, and covid-xray would take days",
                "On a machine with an NVIDIA GPU, install a CUDA build of torch: https://pytorch.org/get-started",
            )
        )
    if reader is None:
        found.append(
            Missing(
                "a reader of text",
                "names burnt into the pixels are not looked for, and no set of 64 pixels or more can pass its audit",
                "pip install 'medistill[ocr]'",
            )
        )
    for one in known:
        if not one.by:
            found.append(
                Missing(f"a decoder for {one.name}", "such files are refused, and counted in the report", one.get)
            )
    if free < LITTLE_ROOM:
        found.append(Missing("room on disk", f"{size(free)} are free", "Free some, or set MEDISTILL_CACHE elsewhere"))
    return found
