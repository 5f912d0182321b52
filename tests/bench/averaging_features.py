"""How well averaging features hides who was averaged: the attacks by distance in an encoder's features.

    python -m tests.bench.averaging_features --data FOLDER --labels CSV --sites raddb --classes COVID,Normal

Each row takes k-means of the features of every class of the training images, and attacks the means themselves, as if an
image had been found for each that the encoder sees just so: the worst that images for an encoder can give away. A mean
of fewer than the least number of patients goes to its nearest neighbour. No network is trained. Markdown.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans

from medistill.artifacts.corpus import Corpus
from medistill.encoders.features import features_of
from medistill.encoders.store import encoder_named, stored_encoder
from medistill.evaluate.protocol import random_rows
from medistill.privacy.attacks.distance_in_features import ATTACKS
from medistill.progress import Silent
from medistill.recipe import load_recipe
from medistill.report.estimates import with_interval
from medistill.report.wording import percent
from medistill.workflow.environment import hardware, versions
from medistill.workflow.prepare import prepare
from tests.factories.in_features import signals_of

ROWS = ((1, 5), (5, 5), (10, 5), (10, 20), (50, 5))
"""Means a class, and fewest patients of each."""


def cells_of_class(features: np.ndarray, groups: np.ndarray, count: int, least: int, seed: int) -> list[np.ndarray]:
    """Return which of the images (N, D) of a class are in each mean, at most ``count`` of ``least`` patients each."""
    found = KMeans(count, n_init=2, random_state=seed).fit(features)
    cells, centres = {k: np.flatnonzero(found.labels_ == k) for k in range(count)}, found.cluster_centers_
    while len(cells) > 1:
        patients = {k: len(np.unique(groups[cell])) for k, cell in cells.items()}
        smallest = min(patients, key=lambda k: patients[k])
        if patients[smallest] >= least:
            break
        moved = cells.pop(smallest)
        names = np.array(list(cells))
        to = names[np.square(features[moved][:, None] - centres[names]).sum(axis=2).argmin(axis=1)]
        cells = {k: np.concatenate([cell, moved[to == k]]) for k, cell in cells.items()}
    return list(cells.values())


def row(corpus: Corpus, features: np.ndarray, count: int, least: int, seed: int) -> str:
    """Return a row of the table."""
    train, labels = corpus.rows("train"), corpus.labels
    of_class = [train[labels[train] == c] for c in range(len(corpus.class_names))]
    cells = [
        (c, rows[cell])
        for c, rows in enumerate(of_class)
        for cell in cells_of_class(features[rows], corpus.groups[rows], count, least, seed)
    ]
    signals = signals_of(
        features,
        np.isin(np.arange(len(labels)), train),
        corpus.groups,
        np.stack([features[cell].mean(axis=0) for _, cell in cells]),
        random_rows(corpus, [sum(c == of for of, _ in cells) for c in range(len(of_class))], seed, 0),
        labels=labels,
        of_images=np.array([c for c, _ in cells]),
    )
    patients = np.array([len(np.unique(corpus.groups[cell])) for _, cell in cells])
    told = [str(count), str(least), str(len(cells)), f"{np.median(patients):g}"]
    for attack in ATTACKS:
        of_all = attack.run(signals).membership[0].cells[0]
        share = next(one.rate.value for one in of_all.detections if one.one_in == 100)
        told.append(f"{with_interval(of_all.auc)}, {'' if share is None else percent(share)}")
    return f"| {' | '.join(told)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels")
    parser.add_argument("--sites", default="")
    parser.add_argument("--classes", default="")
    parser.add_argument("--encoder", default="", help="beginning of the hash of an encoder in the cache")
    parser.add_argument("--size", type=int, default=128, help="height and width of the images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.SETTING=VALUE")
    asked = parser.parse_args()
    chosen = [f"data.{name}={getattr(asked, name)}" for name in ("sites", "classes") if getattr(asked, name)]
    recipe = load_recipe("demo", [f"data.image_size={asked.size}", *chosen, *asked.set])
    corpus, encoder = prepare(asked.data, recipe, labels=asked.labels), stored_encoder(encoder_named(asked.encoder))
    features = np.asarray(features_of(corpus, encoder, torch.device("cpu"), Silent()), np.float32)
    headings = ["means a class", "fewest patients", "means", "median, patients"]
    headings += [f"{attack.display_name}: AUC, found with 1 in 100 wrong" for attack in ATTACKS]
    lines = [f"| {' | '.join(headings)} |", "|" + "---|" * len(headings)]
    lines += [row(corpus, features, count, least, asked.seed) for count, least in ROWS]
    used = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines += ["", f"- {encoder.display_name}; {hardware('cpu')}; {used}."]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
