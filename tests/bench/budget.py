"""How many outer steps a method takes in given processor seconds, from three short runs of it in this process."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from medistill.artifacts.corpus import Corpus
from medistill.recipe import Recipe, load_recipe
from medistill.workflow.distill import distill
from medistill.workflow.experts import followed_experts
from tests.bench.cell_corpus import CellCorpus

SHORT = (4, 4, 16)
"""Outer steps of the runs. The first also makes what is kept in the cache for the others, as centroids are; the
difference of those tells what a step takes."""


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
    took: list[float] = []
    experts = 0.0
    for steps in SHORT:
        recipe = load_recipe(name, [*changes, f"method.iterations={steps}", f"method.validate_every={steps}"])
        corpus = source.read(recipe)
        trained, made = _run(corpus, recipe)
        experts, took = max(experts, trained), [*took, made]
    step = (took[2] - took[1]) / (SHORT[2] - SHORT[1])
    if step <= 0:
        raise RuntimeError(f"{name}: a run of {SHORT[2]} steps took no longer than one of {SHORT[1]} ({took})")
    found = Pilot(experts, max(0.0, took[0] - SHORT[0] * step), step)
    file.write_text(json.dumps(asdict(found)))
    sys.stderr.write(f"{name}: {found}\n")
    return found


def _run(corpus: Corpus, recipe: Recipe) -> tuple[float, float]:
    """Return the processor seconds of experts and of distilling."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        experts = followed_experts(corpus, recipe, device="cpu")
        trained = time.process_time()
        distill(corpus, experts, recipe, out=Path(folder) / "run", device="cpu")
        return trained - begun, time.process_time() - trained
