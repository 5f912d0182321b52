"""How many outer steps a method takes in given processor seconds, from a few short runs of it in this process."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import Corpus
from medistill.recipe import load_recipe
from medistill.workflow.distill import distill
from medistill.workflow.experts import followed_experts
from tests.bench.cell_corpus import CellCorpus

SHORT = 4
"""Outer steps of the first two runs. The first also makes what is kept for the others, as centroids are."""
LONGER = (16, 64, 256)
"""Outer steps of the run whose difference to the second tells what a step takes: the first of these that takes
``TOLD`` longer, since what is done once takes not quite the same every time."""
TOLD = 0.2


@dataclass(frozen=True)
class Pilot:
    """What the parts of a run take, in processor seconds, without looks at the validation split but the last.

    Attributes:
        experts: training what it follows, 0 where it follows nothing.
        rest: all that is done once: starts, quantising, networks that are trained before the first step, the last look.
        step: an outer step.
    """

    experts: float
    rest: float
    step: float

    def steps(self, seconds: float) -> int:
        """Return the outer steps that fit into so many processor seconds, at least one."""
        return max(1, int((seconds - self.experts - self.rest) / self.step))


def pilot(source: CellCorpus, name: str, changes: list[str], file: Path) -> Pilot:
    """Return what a recipe takes here; it is kept in ``file``, and taken from there the next time.

    Args:
        source: of the images.
        name: of the recipe, or its file.
        changes: of its settings, as ``method.ipc=10``.
        file: beside the cells.
    """
    if file.is_file():
        return Pilot(**json.loads(file.read_text()))
    corpus = source.read(load_recipe(name, changes))
    with _empty_cache():
        experts, first = _run(corpus, name, changes, SHORT)
        _, short = _run(corpus, name, changes, SHORT)
        for steps in LONGER:
            _, took = _run(corpus, name, changes, steps)
            if took > (1 + TOLD) * short:
                break
    step = (took - short) / (steps - SHORT)
    if step <= 0:
        raise RuntimeError(f"{name}: a run of {steps} steps took no longer than one of {SHORT} ({took}, {short})")
    found = Pilot(experts, max(0.0, first - SHORT * step), step)
    file.write_text(json.dumps(asdict(found)))
    sys.stderr.write(f"{name}: {found}\n")
    return found


@contextmanager
def _empty_cache() -> Iterator[None]:
    """Work in a cache that holds nothing but the encoders, so that nobody's experts are had for nothing."""
    encoders, before = cache_root() / "encoders", os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        if encoders.is_dir():
            private_folder(cache_root())
            shutil.copytree(encoders, cache_root() / "encoders")
        try:
            yield
        finally:
            os.environ.pop("XDG_CACHE_HOME")
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


def _run(corpus: Corpus, name: str, changes: list[str], steps: int) -> tuple[float, float]:
    """Return the processor seconds of experts, 0 where they are there already, and of distilling in so many steps."""
    recipe = load_recipe(name, [*changes, f"method.iterations={steps}", f"method.validate_every={steps}"])
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        experts = followed_experts(corpus, recipe, device="cpu")
        trained = time.process_time()
        distill(corpus, experts, recipe, out=Path(folder) / "run", device="cpu")
        return trained - begun, time.process_time() - trained
