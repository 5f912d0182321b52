"""The store of experts: which experts are those of a corpus, a network and a recipe, and how many are there."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.trajectories import Trajectories, open_trajectories
from medistill.errors import ArtifactError
from medistill.networks.flat import FlatParameters
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import NetworkSpec, build_network, network_spec
from medistill.privacy.accounting import Guarantee
from medistill.progress import Progress
from medistill.recipe import Recipe, experts_of
from medistill.training.fitted_normalisation import fitted_whitening, unwhitened
from medistill.training.fresh_network import augmentation_of
from medistill.training.randomness import generator


def expert_store(corpus: Corpus, recipe: Recipe, spec: NetworkSpec, progress: Progress) -> Trajectories:
    """Return the store that these experts belong to, made where it is not there.

    Args:
        corpus: that they learn from.
        recipe: of the run.
        spec: their network.
        progress: told of the whitening, where one has to be fitted.
    """
    settings, normalisation = experts_of(recipe.method), unwhitened(corpus, recipe)
    made_with = _made_with(corpus, recipe, spec, normalisation)
    flat = FlatParameters(build_network(spec, generator(recipe.seed, "expert", 0)))

    return open_trajectories(
        private_folder(cache_root() / "trajectories"),
        {
            "key": hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest(),
            "count": settings.count,
            "epochs": settings.epochs,
            "names": list(flat.names),
            "shapes": [list(shape) for shape in flat.shapes],
            "normalisation": normalisation.as_json(),
            "store": settings.store,
            "made_with": made_with,
        },
        whitening=(lambda: fitted_whitening(corpus, recipe, progress)) if recipe.data.zca else None,
    )


def tally(trajectories: Trajectories) -> str:
    """How many of all experts are in the store, and the numbers of those that are not."""
    missing = trajectories.missing()
    text = f"{trajectories.count - len(missing)} of {trajectories.count} experts are in the store"
    if not missing:
        return f"{text}."
    runs: list[list[int]] = []
    for expert in missing:
        if runs and expert == runs[-1][-1] + 1:
            runs[-1].append(expert)
        else:
            runs.append([expert])
    numbers = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"{text}; missing, counted from 0: {numbers}."


def refuse_other_experts(
    trajectories: Trajectories, corpus: Corpus, recipe: Recipe, network: NetworkFactory | None = None
) -> None:
    """Check that experts were made of this corpus, with this network, normalisation and these settings, and are whole.

    Only the seed may differ: experts of another seed are as good.

    Raises:
        ArtifactError: they were not, with each field that differs; or some are missing.
    """
    expected = _made_with(corpus, recipe, network_spec(corpus, recipe, network), unwhitened(corpus, recipe))
    differences = trajectories.differences({**expected, "seed": trajectories.made_with.get("seed")})
    count = experts_of(recipe.method).count
    if trajectories.count != count:
        differences.append(f"method.experts.count: seen {trajectories.count}, expected {count}")
    if differences:
        raise ArtifactError(
            f"the trajectories in {trajectories.path} were made otherwise ({'; '.join(differences)})",
            expected="experts of this corpus, network and recipe",
            do="call train_experts with this corpus, recipe and network (`medistill experts`), and take its result",
        )
    if trajectories.missing():
        raise ArtifactError(
            f"experts are missing in {trajectories.path}: {tally(trajectories)}",
            expected="every expert that the recipe asks for",
            do="run `medistill experts` without --shard, or the shards that have not finished",
        )


def _made_with(corpus: Corpus, recipe: Recipe, spec: NetworkSpec, normalisation: Normalisation) -> dict[str, Any]:
    """Everything that decides the snapshots but for rounding, and, under differential privacy, for secret numbers."""
    guarantee = Guarantee.of(recipe)
    private = ("unit", "mechanism", "sigma", "clip", "sample_rate", "steps", "experts")
    return {
        "seed": recipe.seed,
        "corpus": corpus.content,
        "network": spec.identity(),
        "augmentation": augmentation_of(spec, recipe).model_dump(mode="json"),
        "experts": experts_of(recipe.method).model_dump(mode="json", exclude={"count"}),
        "precision": recipe.compute.precision,
        "normalisation": normalisation.as_json(),
        "zca": recipe.data.zca_regularisation if recipe.data.zca else None,
        **({} if guarantee is None else {"privacy": {name: guarantee.as_json()[name] for name in private}}),
    }
