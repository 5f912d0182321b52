"""Every command once, on small invented data, in a place of its own: `python -m tests.every_command FOLDER`.

Prints one line of JSON a command, with its exit code, and one at the end: what was sent where nothing was to be sent.
Run it where only loopback is there, as `tests/integration/test_no_network.py` does.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import click
import numpy as np
from typer.main import get_command
from typer.testing import CliRunner

from medistill_cli.main import app
from tests.factories.tiny import TINY

SMALL = ["data.image_size=16", "network.depth=2", *TINY, "method.ipc=2", "evaluate.networks=1", "evaluate.epochs=2"]
SMALL += ["evaluate.smallest_cell=1", "method.quantise.min_cluster_size=1"]
AUDIT = ["audit.networks=1", "audit.shadows=4", "audit.shadow_iterations=2"]
PRIVATE = [
    "privacy.mode=dp", "privacy.epsilon=4", "privacy.delta=0.001", "privacy.units=40", "method.experts.batch_size=20",
    "method.init=noise", 'data.classes=["COVID", "Normal", "Pneumonia"]',
]  # fmt: skip
ORIGIN = ["--licence", "CC0-1.0", "--trained-on", "nothing", "--source", "tests"]
STUDY = ["method.init=noise", 'data.classes=["COVID", "Normal"]']
COUNTERS = {
    "/proc/net/snmp": ("Ip: OutNoRoutes", "Udp: OutDatagrams"),
    "/proc/net/snmp6": ("Ip6OutNoRoutes", "Udp6OutDatagrams"),
}
"""What the kernel counts: what had nowhere to go, and datagrams, with which names are looked up."""


def names() -> set[str]:
    """The names of all commands of the program, those in groups with the name of the group."""

    def walk(command: click.Command, before: str) -> Iterator[str]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield before
        else:
            for name, one in inner.items():
                yield from walk(one, f"{before} {name}".strip())

    return set(walk(get_command(app), ""))


def sets(*settings: str) -> list[str]:
    """The options --set for the small recipe and more."""
    return [word for one in (*SMALL, *settings) for word in ("--set", one)]


def installed(package: str) -> bool:
    """Whether a package of an extra is there."""
    return find_spec(package) is not None


def commands(pacs: str, there: Callable[[str], bool] = installed) -> list[tuple[str, list[str]]]:
    """Name and words of each call, in an order in which one finds what it needs; paths are in the working folder.

    Args:
        pacs: address of a DICOMweb service on this machine.
        there: whether a package of an extra can be used.
    """
    made = ["--recipe", "demo", "--device", "cpu"]
    read = ["--data", "xray", "--labels", "labels.csv"]
    masked = ["data.burnt_in_text=mask"] if there("rapidocr") and there("onnxruntime") else []
    share = ["--licence", "CC0-1.0", "--intended-use", "Tests", "--acknowledge-risk", "a test", "--sign", "house"]
    share += ["--dicom"] if there("highdicom") else []
    calls = [
        ("phantom", ["drawn", "--patients", "12", "--size", "32"]),
        ("recipes list", []),
        ("recipes show", ["demo"]),
        ("recipes upgrade", ["former.toml", "--out", "upgraded.toml"]),
        ("doctor", []),
        ("ledger", []),
        ("encoder convert", ["efficientnet_lite0", "weights.pth", "--out", "encoder", *ORIGIN]),
        ("encoder add", ["encoder"]),
        ("encoder list", []),
        ("encoder show", [""]),
        ("keys new", ["house"]),
        ("keys list", []),
        ("keys export", ["house", "--out", "house.key.json"]),
        ("keys trust", ["theirs/other.key.json", "--as", "other"]),
        ("prepare", ["--data", "xray", "--labels", "few.csv", "--recipe", "demo", *sets(*masked)]),
        ("init", [*read, "--classes", "all", "--ipc", "2", "--privacy", "none", "--out", "first.toml"]),
        ("experts", [*read, *made, *sets()]),
        ("distill", [*read, *made, *sets(*AUDIT), "--out", "run"]),
        ("distill", [*made, *read, *sets("method.init=quantised"), "--out", "averaged"]),
        ("evaluate", ["run", *read, "--out", "evaluation", "--device", "cpu"]),
        ("leave-site-out", ["run", *read, "--device", "cpu"]),
        ("audit", ["run", *read, "--device", "cpu"]),
        ("report", ["run"]),
        ("share", ["run", "--out", "one.zip", *share]),
        ("share", ["averaged", "--out", "two.zip", *share]),
        ("verify", ["one.zip"]),
        ("train", ["one.zip", "--out", "classifier", *sets(), "--device", "cpu"]),
        ("merge", ["one.zip", "two.zip", "--out", "united"]),
        ("export", ["one.zip", "--format", "dd-ranking", "--out", "files"]),
        ("exchange-study", [*read, *made, *sets(*STUDY), "--out", "study"]),
        ("flare job", ["job", "--recipe", "demo", "--classes", "COVID,Normal", "--sites", "east,west"]),
        ("benchmark", ["pneumoniamnist", "--ipc", "1", "--data", "official", *sets(), "--out", "bench"]),
    ]
    if there("opacus"):
        calls += [("distill", [*read, *made, *sets(*PRIVATE), "--out", "private"])]
    if there("dicomweb_client") and there("highdicom"):
        pull = ["--data", f"dicomweb+{pacs}", "--labels", "pacs.csv", "--recipe", "demo", *sets()]
        calls += [("push", ["one.zip", "--dicomweb", pacs]), ("prepare", pull)]
    return [*calls, ("encoder remove", [""]), ("keys forget", ["other"]), ("purge", ["--yes"])]


def sent() -> dict[str, int]:
    """What the kernel has counted so far in this network namespace."""
    found = {}
    for file, wanted in COUNTERS.items():
        text = Path(file).read_text(encoding="utf-8") if Path(file).exists() else ""
        lines = [line.split() for line in text.splitlines()]
        if file.endswith("6"):
            counts = {name: int(count) for name, count in lines}
        else:
            pairs = zip(lines[::2], lines[1::2], strict=True)
            columns = ((head[0], *column) for head, row in pairs for column in zip(head[1:], row[1:], strict=True))
            counts = {f"{protocol} {name}": int(count) for protocol, name, count in columns}
        found |= {name: counts[name] for name in wanted if name in counts}
    return found


def raise_loopback() -> None:
    """Switch the interface `lo` on, which is off in a new namespace."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        up_and_running = struct.pack("16sh14x", b"lo", 0x1 | 0x40)
        fcntl.ioctl(any_socket, 0x8914, up_and_running)  # SIOCSIFFLAGS


def write_official(folder: Path) -> dict[str, int]:
    """A small file of PneumoniaMNIST's form, and how many images each of its splits has."""
    numbers, arrays, counts = np.random.default_rng(0), {}, {"train": 24, "val": 8, "test": 8}
    for split, count in counts.items():
        labels = np.arange(count) % 2
        pixels = numbers.integers(0, 120, (count, 28, 28)) + 80 * labels[:, None, None]
        arrays |= {f"{split}_images": pixels.astype(np.uint8), f"{split}_labels": labels[:, None].astype(np.uint8)}
    folder.mkdir()
    np.savez_compressed(folder / "pneumoniamnist.npz", **arrays)
    return counts


def tell(**facts: object) -> None:
    """One line of JSON."""
    sys.stdout.write(f"{json.dumps(facts)}\n")
    sys.stdout.flush()


def main(folder: Path) -> None:
    """Run all of them in ``folder``, which is new and becomes the user's home too."""
    from dataclasses import replace

    from medistill.data.benchmarks.catalogue import BENCHMARKS
    from medistill.sharing.keys import export_key
    from tests.factories.published_weights import save_published
    from tests.factories.sent_bundle import make_sender
    from tests.factories.sited_corpus import write_sites
    from tests.fake_pacs import Pacs, serving
    from tests.settings_restored import settings_restored

    raise_loopback()
    write_sites(folder)
    head, *rows = (folder / "labels.csv").read_text(encoding="utf-8").splitlines()
    (folder / "former.toml").write_text('method = "mtt"\n\n[distill]\nipc = 2\n', encoding="utf-8")
    (folder / "few.csv").write_text("\n".join([head, *rows[::3]]), encoding="utf-8")
    save_published(folder / "weights.pth")
    make_sender(folder / "theirs", "other")
    export_key(folder / "theirs", "other", folder / "theirs" / "other.key.json")
    counts = write_official(folder / "official")
    known = {"pneumoniamnist": replace(BENCHMARKS["pneumoniamnist"], **counts)}
    os.chdir(folder)
    with serving(Pacs(studies=6)) as pacs, mock.patch.dict(BENCHMARKS, known):
        rows = [f"{study},{'AB'[k % 2]}" for k, study in enumerate(pacs.studies)]
        Path("pacs.csv").write_text("\n".join(["StudyInstanceUID,label", *rows]), encoding="utf-8")
        before = sent()
        for name, words in commands(pacs.url):
            with settings_restored():
                told = CliRunner().invoke(app, [*name.split(), *words])
            tell(command=name, exit=told.exit_code, said=told.stderr[-2000:])
        tell(sent={key: count - before[key] for key, count in sent().items()})
    before = sent()
    try:
        socket.getaddrinfo("medistill.invalid", 443)
    except OSError:
        tell(counted=sum(sent().values()) - sum(before.values()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
