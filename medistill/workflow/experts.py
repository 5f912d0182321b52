"""Train experts on the raw training split and keep their trajectories."""

from __future__ import annotations

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.trajectories import Trajectories
from medistill.methods.registry import method_of
from medistill.networks.own import NetworkFactory
from medistill.networks.registry import network_spec
from medistill.progress import Progress, Silent
from medistill.ranks.ranks import ALONE, Ranks
from medistill.recipe import Recipe
from medistill.training.context import Context
from medistill.training.device import choose_device, precision
from medistill.workflow.encoder_choice import with_encoder
from medistill.workflow.expert_store import expert_store, tally
from medistill.workflow.expert_training import ExpertTraining, refuse_unknown_units
from medistill.workflow.pruning import pruned
from medistill.workflow.shard import Shard
from medistill.workflow.spending import Use, spend


def train_experts(
    corpus: Corpus,
    recipe: Recipe,
    *,
    network: NetworkFactory | None = None,
    shard: str = "1/1",
    use: Use = "release",
    device: str = "auto",
    ranks: Ranks = ALONE,
    progress: Progress = Silent(),
) -> Trajectories:
    """Train the experts that are not there yet.

    Snapshot 0 is the start, snapshot e the parameters after e epochs of SGD. Each expert is written whole or not at
    all, and draws its random numbers from the seed and its own number: one that was interrupted is trained again to the
    same bits on the same machine. Several processes, on one machine or many, may fill one store; none waits.

    Under differential privacy experts are trained by DP-SGD. Its random numbers are secret: an expert that is trained
    again is another one.

    Args:
        network: makes a network of the user's own, called with channels, image size and classes; None takes the
            recipe's.
        shard: ``i/n`` trains only the experts whose number leaves i - 1 over when divided by n.
        use: "shadow" for those of an audit, which are removed again: under differential privacy they are no release.
        ranks: processes that share the work, each an expert at a time.

    Raises:
        DivergedError: an expert's parameters left the finite numbers.
        UsageError: the shard does not exist, or the user's own network cannot be used; or, under differential privacy,
            the budget or the total cannot be kept, patients are not known, or the extra ``dp`` is not installed.
        ArtifactError: under differential privacy, the ledger of what was spent is damaged or cannot be written.
    """
    part = Shard.parse(shard)
    refuse_unknown_units(corpus, recipe)
    recipe = with_encoder(recipe, network)
    spec, place = network_spec(corpus, recipe, network), choose_device(device)
    whole = corpus
    corpus = ranks.first(lambda: pruned(whole, recipe, spec, place, progress))
    trajectories = ranks.first(lambda: expert_store(corpus, recipe, spec, progress))
    mine = [expert for expert in range(trajectories.count) if part.has(expert)]
    waiting = ranks.told(lambda: [expert for expert in mine if not trajectories.has(expert)])
    ranks.lead(lambda: spend(corpus, recipe, trajectories, waiting, progress, use=use))
    if not waiting and part.of == 1:
        progress.say(f"The {trajectories.count} experts are in the cache already.")
        return trajectories
    for expert in waiting:
        path = trajectories.expert_path(expert)
        if path.is_file():
            progress.say(f"{path.name} cannot be used and is trained again: {trajectories.flaw(expert)}.")
    if waiting:
        context = Context(corpus, recipe, spec, place, trajectories.path, progress, ranks=ranks)
        training, epochs = ExpertTraining.of(context, trajectories, use), trajectories.epochs
        with (
            progress.task("Training experts", len(mine) * epochs, done=(len(mine) - len(waiting)) * epochs) as task,
            precision(recipe.compute.precision, context.device),
        ):
            training.run(waiting, task)
    if part.of > 1:
        progress.say(tally(trajectories))
    return trajectories


def followed_experts(
    corpus: Corpus,
    recipe: Recipe,
    *,
    network: NetworkFactory | None = None,
    use: Use = "release",
    device: str = "auto",
    progress: Progress = Silent(),
) -> Trajectories | None:
    """The experts that a recipe's method follows, as `train_experts` gives them; None where it follows none."""
    if method_of(recipe).needs != "experts":
        return None
    return train_experts(corpus, recipe, network=network, use=use, device=device, progress=progress)
