"""Across networks: the same arms on networks other than the one that the set was distilled with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json
from medistill.errors import DivergedError
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.schedule_choice import Way
from medistill.networks.registry import check_image_size, network_spec
from medistill.progress import Progress, Silent
from medistill.ranks.ranks import ALONE, Ranks
from medistill.recipe import Recipe
from medistill.workflow.encoder_choice import with_encoder
from medistill.workflow.evaluate import evaluate
from medistill.workflow.originals import Originals


def evaluate_across(
    distilled: DistilledSet,
    corpus: Corpus,
    recipe: Recipe,
    *,
    out: str | Path,
    originals: Originals | None = None,
    schedules: Mapping[str, Way] = MappingProxyType({}),
    device: str = "auto",
    ranks: Ranks = ALONE,
    progress: Progress = Silent(),
) -> tuple[Evaluation, ...]:
    """Evaluate on each network of ``recipe.evaluate.across``, into ``out/across/NAME/evaluation``.

    Nothing but the network changes, and where schedules are chosen, what suits it: each network has a search of its
    own. A network that diverges is left out; ``out/across/NAME/failed.json`` says why, and the others go on.

    Args:
        originals: as for `evaluate`.
        schedules: likewise.
        ranks: likewise.

    Raises:
        RecipeError: the images are too small for one of the networks; nothing has been trained.
    """
    check_across(corpus, recipe)
    made = []
    for name, other in _recipes(recipe).items():
        folder = Path(out) / "across" / name
        failed = folder / "failed.json"
        ranks.lead(lambda failed=failed: failed.unlink(missing_ok=True))  # type: ignore[misc]
        try:
            evaluation = evaluate(
                distilled,
                corpus,
                other,
                out=folder,
                originals=originals,
                schedules=schedules,
                device=device,
                ranks=ranks,
                progress=progress,
            )
            made.append(evaluation)
        except DivergedError as error:
            words = network_spec(corpus, other).words
            if ranks.leads:
                keep_json(private_folder(folder) / failed.name, {"network": words, "reason": error.seen}, private=True)
            progress.say(f"No evaluation on {words}: {error.seen}. The other networks go on.")
    return tuple(made)


def check_across(corpus: Corpus, recipe: Recipe) -> None:
    """Refuse images that are too small for one of the other networks.

    Raises:
        RecipeError: with the network and both sizes.
    """
    for other in _recipes(recipe).values():
        check_image_size(network_spec(corpus, other))


def _recipes(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe of each other network, in the order in which they are named."""
    without_others = recipe.evaluate.model_copy(update={"across": ()})
    return {
        name: with_encoder(recipe.model_copy(update={"network": recipe.network.of(name), "evaluate": without_others}))
        for name in dict.fromkeys(recipe.evaluate.across)
    }
