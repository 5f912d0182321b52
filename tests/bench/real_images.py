"""A set that must not leave: random training images of a run's corpus in place of the distilled ones.

The audit has to fail it. Run ``python -m tests.bench.real_images RUN OUT --data FOLDER [--labels CSV]``, then
``medistill audit OUT`` with the same folder and table. The set that is written holds patients' images.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from medistill.artifacts.distilled_set import DistilledSet
from medistill.evaluate.protocol import random_rows
from medistill.workflow.prepare import prepare


def main() -> None:
    """Write the set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels", type=Path)
    options = parser.parse_args()
    distilled = DistilledSet.load(options.run)
    recipe = distilled.provenance.made_with(str(options.run))
    corpus = prepare(options.data, recipe, labels=options.labels)
    rows = random_rows(corpus, np.bincount(distilled.labels), recipe.seed, -1)
    images = distilled.normalisation.apply(np.asarray(corpus.images[rows])).astype(np.float32)
    replace(distilled, images=images, labels=corpus.labels[rows]).save(options.out)


if __name__ == "__main__":
    main()
