"""What `data.equalise` is worth at another site: Normal or not, by a linear probe on an encoder's features.

    python -m tests.bench.equalise --data ../shared/data/chest --encoder HASH

A probe learns from the training patients of some sites, its L2 penalty is chosen on their validation patients, and it
is asked about every image of a site that it never saw. Everything but the probe, scikit-learn's logistic regression, is
medistill's own: reading, features, AUC and its interval, in which the patient is the unit. Text is left in.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from medistill.artifacts.corpus import Corpus
from medistill.encoders.features import features_of
from medistill.encoders.store import encoder_named, stored_encoder
from medistill.evaluate.delong import Components
from medistill.evaluate.intervals import Estimate
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe
from medistill.workflow.prepare import prepare

ABNORMAL = ("COVID", "Pneumonia", "Viral_Pneumonia", "Bacterial_Pneumonia", "Other")
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""L2 penalties among which validation patients choose, each on half of the squared weights beside the mean loss."""
FEWEST = 100
"""Images of either class without which a site is neither learnt from alone nor tested on."""


def recipe_for(image_size: int, *, equalise: bool) -> Recipe:
    """Return how the chest radiographs are read."""
    settings = [
        f"data.image_size={image_size}",
        "data.fit=pad",
        "data.burnt_in_text=unchecked",
        "data.patient_column=group_id",
        "data.classes=Normal,Abnormal",
        f"data.class_map.Abnormal={','.join(ABNORMAL)}",
        f"data.equalise={str(equalise).lower()}",
    ]
    return load_recipe("demo", settings)


def area(features: np.ndarray, corpus: Corpus, learnt: Sequence[int], tested: int) -> Estimate:
    """Return the AUC on every image of a site, of a probe that learnt from other sites.

    Args:
        features: (N, D).
        corpus: labels, patients, sites and splits.
        learnt: indices of the sites that it learns from.
        tested: index of the site that it is asked about.
    """
    of = {split: corpus.rows(split)[np.isin(corpus.sites[corpus.rows(split)], learnt)] for split in ("train", "val")}
    asked, abnormal = np.flatnonzero(corpus.sites == tested), corpus.labels == 1

    def scores(penalty: float, rows: np.ndarray) -> np.ndarray:
        probe = LogisticRegression(C=1 / (penalty * len(of["train"])), max_iter=2000)
        probe.fit(features[of["train"]], corpus.labels[of["train"]])
        return np.asarray(probe.decision_function(features[rows]))

    def on_validation(penalty: float) -> float:
        rows = of["val"]
        return Components.of(scores(penalty, rows), abnormal[rows], corpus.groups[rows]).auc

    best = max(PENALTIES, key=on_validation)
    return Components.of(scores(best, asked), abnormal[asked], corpus.groups[asked]).estimate(0.95)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", default="", help="beginning of the hash of an encoder in the cache")
    parser.add_argument("--image-size", type=int, default=128)
    asked = parser.parse_args()
    encoder = stored_encoder(encoder_named(asked.encoder))
    found: dict[tuple[str, str], list[Estimate]] = {}
    for equalise in (False, True):
        recipe = recipe_for(asked.image_size, equalise=equalise)
        corpus = prepare(asked.data, recipe, labels=asked.data / "manifest.csv")
        features = np.asarray(features_of(corpus, encoder, torch.device("cpu"), Silent()), np.float32)
        sites = [
            site
            for site in range(len(corpus.site_names))
            if min(np.sum((corpus.sites == site) & (corpus.labels == c)) for c in (0, 1)) >= FEWEST
        ]
        everywhere = range(len(corpus.site_names))
        pairs = [([one], other) for one in sites for other in sites if one != other]
        pairs += [([site for site in everywhere if site != out], out) for out in sites]
        with Bar(console=Console(stderr=True)) as bar:
            for learnt, tested in bar.track(pairs, description="Probing"):
                others = "all others" if len(learnt) > 1 else corpus.site_names[learnt[0]]
                key = (others, corpus.site_names[tested])
                found.setdefault(key, []).append(area(features, corpus, learnt, tested))
    title = f"Normal or not, {encoder.display_name}, {asked.image_size} px"
    table = Table("learnt from", "tested on", "AUC as they are", "AUC equalised", title=title)
    for (learnt_from, tested_on), (plain, even) in found.items():
        table.add_row(learnt_from, tested_on, in_words(plain), in_words(even))
    Console(width=110).print(table)


def in_words(one: Estimate) -> str:
    """Return an AUC with its interval."""
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


if __name__ == "__main__":
    main()
