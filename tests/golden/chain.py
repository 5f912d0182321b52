"""The chain on the phantom corpus under every method, and a digest of whatever comes out of it.

    python -m tests.golden.chain                 # says what differs from tests/golden/values.json
    python -m tests.golden.chain --write         # writes it anew: say in the commit why it moved
    python -m tests.golden.chain --demo FILE     # the same with the recipe `demo` in full, to or against a file

Bits depend on processor and torch: one thread, and `machine` tells machines apart by what they answer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from medistill.artifacts.corpus import Corpus
from medistill.data.phantom import write_phantom
from medistill.data.phantom_drawing import Exposure, Habitus, draw_phantom
from medistill.evaluate.predictions import load_arms
from medistill.recipe import load_recipe
from medistill.studies.audit.audit import audit
from medistill.workflow.distill import distill
from medistill.workflow.evaluate import evaluate
from medistill.workflow.experts import followed_experts
from medistill.workflow.prepare import prepare
from tests.factories.tiny import TINY

VALUES = Path(__file__).with_name("values.json")
METHODS = ("iadd", "mtt", "pp", "ftd", "satm", "pdd", "datm", "ddoq", "d4m")
SMALL = (
    *TINY,
    "method.experts.epochs=5",
    "method.ipc=2",
    "method.iterations=12",
    "method.syn_steps=4",
    "method.max_start_epoch=4",
    "method.image_lr=30",
    "method.quantise.min_cluster_size=2",
    "audit.shadows=4",
    "audit.shadow_iterations=2",
    "audit.networks=2",
)
"""Overrides that make the chain short. They come before the method, which turns on what is its own."""
OF_METHOD = {"iadd": ("method.importance.lr=0.1",), "pdd": ("method.stages=2",), "satm": ("method.segments=2",)}
EVALUATED, AUDITED = ("iadd", "pdd", "datm", "ddoq"), ("iadd", "ddoq")


def machine() -> str:
    """Digest of what this machine's arithmetic answers to a few questions."""
    numbers = torch.Generator().manual_seed(5)
    x, w = torch.randn(7, 3, 32, 32, generator=numbers), torch.randn(16, 3, 3, 3, generator=numbers)
    answers = [
        torch.nn.functional.conv2d(x, w, padding=1),
        x.flatten(1) @ x.flatten(1).T,
        x.exp().sum(),
        torch.nn.functional.instance_norm(x),
        torch.linalg.eigh(x[0, 0] @ x[0, 0].T)[0],
        x.softmax(1).log(),
    ]
    told = hashlib.sha256(f"{torch.__version__} {np.__version__}".encode())
    for answer in answers:
        told.update(answer.numpy().tobytes())
    told.update(_drawn().tobytes())
    return told.hexdigest()


def _drawn() -> np.ndarray:
    """What NumPy makes of the functions that phantoms are drawn with, float64."""
    numbers = np.random.default_rng(5)
    x = np.abs(numbers.standard_normal((64, 64), np.float32)) + np.float32(0.1)
    wide, spectrum = x.astype(np.float64), np.fft.rfft2(x)
    answers = [op(of) for of in (x, wide) for op in (np.exp, np.log, np.sin, np.cos, np.tanh, np.sqrt, np.arctan)]
    answers += [x**1.7, wide**1.7, np.hypot(x, x.T), np.fft.irfft2(spectrum), numbers.lognormal(0, 0.1, 64)]
    drawn = draw_phantom(
        Habitus.draw(numbers, sex="F"), Exposure.draw(numbers, supine=False), "COVID", 0.7, 64, numbers, numbers
    )
    return np.concatenate([np.ravel(one).astype(np.float64) for one in (*answers, drawn)])


def digest(*arrays: np.ndarray | None) -> str:
    """SHA-256 over arrays, their types and shapes."""
    told = hashlib.sha256()
    for array in arrays:
        if array is not None:
            told.update(f"{array.dtype} {array.shape}".encode())
            told.update(np.ascontiguousarray(array).tobytes())
    return told.hexdigest()[:32]


def answers(corpus: Corpus, name: str, small: Sequence[str], folder: Path, *, full: bool) -> Iterator[tuple[str, str]]:
    """What -> digest, for every method in turn; ``full`` evaluates and audits too."""
    for method in METHODS:
        out = folder / method
        recipe = load_recipe(name, [*small, f"method.name={method}", *OF_METHOD.get(method, ())])
        experts = followed_experts(corpus, recipe, device="cpu")
        if experts is not None:
            shots = [experts.snapshot(e, epoch) for e in range(experts.count) for epoch in range(experts.epochs + 1)]
            yield f"{method}: experts", digest(*shots)
        made = distill(corpus, experts, recipe, out=out, device="cpu")
        yield f"{method}: images", digest(made.images)
        yield f"{method}: labels and weights", digest(made.labels, made.soft_labels, made.weights, made.stage)
        yield f"{method}: learning rate", made.student_lr.hex()
        if not full:
            continue
        if method in EVALUATED:
            evaluate(made, corpus, recipe, out=out, device="cpu")
            for arm in load_arms(out / "evaluation"):
                yield f"{method}: predictions of {arm.arm}", digest(arm.validation, arm.test)
        if method in AUDITED:
            found = audit(made, corpus, recipe, out=out / "audit", run=out, device="cpu")
            told = [(one.name, one.figure, one.threshold, one.verdict) for one in found.criteria]
            yield f"{method}: audit", hashlib.sha256(repr(told).encode()).hexdigest()[:32]


def made(folder: Path) -> dict[str, str]:
    """The digests of the small chain, on a phantom corpus in ``folder``."""
    write_phantom(folder / "xray", patients=30, size=64)
    recipe = load_recipe("demo", SMALL)
    return dict(answers(prepare(folder / "xray", recipe), "demo", SMALL, folder, full=True))


def differences(now: dict[str, str], before: dict[str, str]) -> list[str]:
    """What is not as it was, by name."""
    return sorted(name for name in {*now, *before} if now.get(name) != before.get(name))


def _demo(folder: Path) -> dict[str, str]:
    write_phantom(folder / "xray")
    return dict(answers(prepare(folder / "xray", load_recipe("demo")), "demo", (), folder, full=False))


def main() -> int:
    """Write or compare; 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--demo", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    file = asked.demo or VALUES
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(MEDISTILL_CACHE=f"{folder}/cache", MEDISTILL_LEDGER=f"{folder}/ledger")
        os.environ.update(MEDISTILL_KEYS=f"{folder}/keys")
        now = _demo(Path(folder)) if asked.demo else made(Path(folder))
    if asked.write or not file.is_file():
        file.write_text(json.dumps({"machine": machine(), "values": now}, indent=1) + "\n", encoding="utf-8")
        return 0
    known = json.loads(file.read_text(encoding="utf-8"))
    if known["machine"] != machine():
        sys.stderr.write("this machine computes other bits than the one that wrote the file\n")
    differing = differences(now, known["values"])
    sys.stdout.write("".join(f"{name}\n" for name in differing) or "nothing differs\n")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
