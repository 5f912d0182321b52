"""A coverage-guided search for bytes that `Bundle.open` neither opens nor refuses: `make fuzz`.

Needs atheris (``pip install atheris``), which no other part of medistill does. Arguments are those of libFuzzer:
``-max_total_time=600`` ends it after ten minutes, a folder keeps the inputs that reached new code. The first argument
names what is mutated:

- ``archive``: the bytes of the file.
- ``files``: a file inside, with a manifest that fits it, so that its reader is reached behind the hashes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["medistill.sharing", "medistill.artifacts", "safetensors", "PIL"]):
    from medistill.errors import MedistillError
    from medistill.sharing.archive import read_archive, write_archive
    from medistill.sharing.bundle import Bundle
    from tests import sent_bundle

GOOD = sent_bundle.unsigned()
NAMES = sorted(GOOD)


def mutated_archive(path: Path, data: bytes) -> None:
    """What opens must be the one archive of what is in it."""
    path.write_bytes(data)
    try:
        found = Bundle.open(path).files
    except MedistillError:
        return
    write_archive(path, found)
    if path.read_bytes() != data:
        raise AssertionError("two archives of the same files were opened")


def mutated_file(path: Path, data: bytes) -> None:
    """The first byte chooses the file; what opens must hold the bytes that were put in."""
    if not data:
        return
    name = NAMES[data[0] % len(NAMES)]
    changed = {**GOOD, name: data[1:]}
    try:
        write_archive(path, changed if name == "manifest.json" else sent_bundle.listed_anew(changed))
        found = Bundle.open(path).files
    except MedistillError:
        return
    if found[name] != data[1:]:
        raise AssertionError(f"{name} was read as something else")


def seeds(folder: Path, target: str) -> None:
    """Good inputs to begin with."""
    if target == "archive":
        write_archive(folder / "good", GOOD)
        read_archive(folder / "good")
        return
    for number, name in enumerate(NAMES):
        (folder / name.replace("/", "-")).write_bytes(bytes([number]) + GOOD[name])


def main() -> None:
    """Run libFuzzer until it finds something or is stopped."""
    targets = {"archive": mutated_archive, "files": mutated_file}
    if len(sys.argv) < 2 or sys.argv[1] not in targets:
        sys.exit("usage: python -m tests.fuzz.bundle archive|files [ARGUMENT OF LIBFUZZER ...]")
    target = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as scratch:
        start = Path(scratch) / "seeds"
        start.mkdir()
        seeds(start, target)
        path = Path(scratch) / "bundle.zip"
        atheris.Setup([*sys.argv, str(start)], lambda data: targets[target](path, data))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
