"""What one private release of class means says of epsilon: to an auditor who knows all but the coins, and to an audit.

    python -m tests.bench.one_run_release --data FOLDER --labels TABLE --set network.encoder=SHA256 [--sites SITE]
        [--epsilons 1 3 100] [--canaries 100 700] [--seeds 0 1 2]

No image is rendered: the release itself, of which a private set is made, is drawn with each canary in or out by a coin.
The auditor holds the features of all patients, takes those without a coin off the sums, and decodes the coins by ridge
regression, with the ridge that the noise asks for. That is more than a recipient knows. The audit's own attack on such
statistics, `tracing`, knows held-out patients in place of those; it is asked as an audit asks it, of the release alone
and beside another one of everybody. A row is a draw: right guesses of the best rule, the bound, and what was promised,
of both. Nothing is released: what is drawn is forgotten.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from medistill.artifacts.class_statistics import ClassStatistics
from medistill.artifacts.corpus import Corpus
from medistill.encoders.encoder import Encoder
from medistill.encoders.features import features_of
from medistill.encoders.projecting import encoder_projection
from medistill.encoders.store import stored_encoder
from medistill.privacy.attacks.one_run import best_bound
from medistill.privacy.attacks.tracing import Sums, traced
from medistill.privacy.membership import Source
from medistill.privacy.signals import CoinScores, Population, Released
from medistill.progress import Silent
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.statistics.contributions import Blocks
from medistill.statistics.gaussian_mechanism import sigma_for
from medistill.statistics.release import release
from medistill.training.device import choose_device
from medistill.workflow.one_run import OneRunPlan, plan_one_run
from medistill.workflow.prepare import prepare
from tests.bench.one_run import say


def contributions(seen: np.ndarray, corpus: Corpus, rows: np.ndarray, patients: np.ndarray, clip: float) -> np.ndarray:
    """What each patient adds to the sums (m, C K), as the definition of the release has it."""
    norms = np.linalg.norm(seen[rows], axis=1, keepdims=True)
    clipped = seen[rows] * np.minimum(1.0, clip / np.maximum(norms, 1e-300))
    found = np.zeros((len(patients), len(corpus.class_names), seen.shape[1]))
    for place, patient in enumerate(patients):
        own = corpus.groups[rows] == patient
        for c in range(len(corpus.class_names)):
            found[place, c] = clipped[own & (corpus.labels[rows] == c)].sum(axis=0) / own.sum()
    return found.reshape(len(patients), -1)


def decoded(sums: np.ndarray, own: np.ndarray, others: np.ndarray, noise: float) -> np.ndarray:
    """The coins (m,), as numbers around 0, by ridge regression: mean of a normal of variance 1/4 given the sums.

    Args:
        sums: (L,), noisy, of everybody who is in.
        own: (m, L), what each canary would add.
        others: (L,), what all who have no coin add.
        noise: standard deviation of a number of the sums.
    """
    left = sums - others - own.sum(axis=0) / 2
    return np.asarray(np.linalg.solve(own @ own.T + 4 * noise**2 * np.eye(len(own)), own @ left))


def drawn_of(
    rows: np.ndarray, corpus: Corpus, recipe: Recipe, encoder: Encoder, features: np.ndarray
) -> ClassStatistics:
    """One release of some images."""
    privacy, projection = recipe.privacy, encoder_projection(encoder)
    return release(
        lambda some: features[rows[some]],
        corpus.labels[rows],
        corpus.groups[rows],
        class_names=corpus.class_names,
        projection=projection,
        blocks=Blocks(len(corpus.class_names), projection.dimension, privacy.clip, counts=0.05, second=0.0),
        sigma=sigma_for(privacy.epsilon, privacy.delta),
        unit=privacy.unit,
    )


def by_decoding(drawn: ClassStatistics, corpus: Corpus, seen: np.ndarray, plan: OneRunPlan) -> list[CoinScores]:
    """What the auditor who knows everybody says of the coins."""
    train, clip = corpus.rows("train"), drawn.record.clip
    own = contributions(seen, corpus, plan.rows, plan.patients, clip)
    rest = train[~np.isin(train, plan.rows)]
    others = contributions(seen, corpus, rest, np.unique(corpus.groups[rest]), clip).sum(axis=0)
    guesses = decoded(drawn.sums.ravel(), own, others, drawn.record.sums_noise[0])
    return [CoinScores("decoded", "distilled", False, guesses)]


def by_tracing(
    drawn: ClassStatistics, before: ClassStatistics, corpus: Corpus, seen: np.ndarray, plan: OneRunPlan
) -> list[CoinScores]:
    """What the attack of an audit says of them: alone, and less what it says of a release of everybody."""
    signals: Any = SimpleNamespace(
        released=Released(drawn, corpus.labels, corpus.groups, lambda rows: seen[rows]),
        population=Population(corpus, plan.rows, plan.rows[:0]),
        search=SimpleNamespace(held_out=np.sort(np.concatenate([corpus.rows("val"), corpus.rows("test")]))),
        rng=lambda *names: np.random.default_rng(0),
    )
    sums: dict[Source, Sums] = {"distilled": Sums.of(drawn), "raw": Sums.of(before)}
    told = traced(sums, plan.rows, signals)
    if isinstance(told, str):
        return []
    first = [int(np.flatnonzero(corpus.groups == patient)[0]) for patient in plan.patients]
    alone, yardstick = told["distilled"][first], told["raw"][first]
    return [
        CoinScores("tracing", "distilled", False, alone),
        CoinScores("tracing", "distilled", True, alone - yardstick),
    ]


def in_words(scores: list[CoinScores], plan: OneRunPlan, delta: float) -> str:
    """What follows from scores, in words."""
    found = best_bound(scores, plan.inside, delta=delta, confidence=0.95)
    if found is None:
        return "nothing guessed"
    beside = ", beside the set" if found.beside else ""
    return (
        f"{found.attack} {found.epsilon:.2f}, {found.right} of {found.guesses} right "
        f"({found.rule}{beside}; best of {found.tests})"
    )


def main() -> None:
    """Read the arguments and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--sites", nargs="*", default=[])
    parser.add_argument("--set", nargs="*", default=[], dest="settings")
    parser.add_argument("--epsilons", nargs="+", type=float, default=[1.0, 3.0, 100.0])
    parser.add_argument("--canaries", nargs="+", type=int, default=[100])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    told = parser.parse_args()
    sites = [f"data.sites={list(told.sites)}".replace("'", '"')] if told.sites else []
    recipe = load_recipe("covid-xray-private", [*sites, "method.space=encoder", *told.settings])
    corpus, encoder = prepare(told.data, recipe, labels=told.labels), stored_encoder(recipe.network.encoder)
    features = np.asarray(features_of(corpus, encoder, choose_device("cpu"), Silent()))
    seen = encoder_projection(encoder).apply(features)
    patients = len(np.unique(corpus.groups[corpus.rows("train")]))
    say(f"{len(corpus.rows('train'))} training images of {patients} patients")
    for epsilon in told.epsilons:
        for count in told.canaries:
            for seed in told.seeds:
                started = time.process_time()
                settings = [f"privacy.epsilon={epsilon:g}", f"audit.one_run_canaries={count}", f"seed={seed}"]
                asked = override_recipe(recipe, settings, "bench")
                plan = plan_one_run(corpus, asked)
                drawn, before = (
                    drawn_of(one.rows("train"), corpus, asked, encoder, features)
                    for one in (plan.corpus(corpus), corpus)
                )
                delta = asked.privacy.delta
                say(
                    f"promised {epsilon:g}, {len(plan.patients)} canaries, seed {seed}: epsilon at least "
                    f"{in_words(by_decoding(drawn, corpus, seen, plan), plan, delta)}; "
                    f"{in_words(by_tracing(drawn, before, corpus, seen, plan), plan, delta)}; "
                    f"{time.process_time() - started:.1f} s"
                )


if __name__ == "__main__":
    main()
