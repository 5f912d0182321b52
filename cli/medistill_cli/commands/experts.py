"""`medistill experts`: train the experts of a corpus and keep their trajectories in the private cache."""

from __future__ import annotations

from medistill_cli import options
from medistill_cli.recipe_choice import choose_recipe, overrides_of, words_of
from medistill_cli.results import print_facts, print_json, print_next
from medistill_cli.working import working


def experts(
    data: options.Data = None,
    labels: options.Labels = None,
    recipe: options.RecipeName = None,
    sites: options.Sites = None,
    classes: options.Classes = None,
    settings: options.Settings = None,
    seed: options.Seed = None,
    device: options.Device = "auto",
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Train the experts that distilled images will imitate.

    Their training steps go into the private cache. `distill` does this by itself; run it alone to have the experts
    ready, or to add more (experts.count). Experts that are in the cache already are not trained again.

    \b
    Examples:
      medistill experts --data xray/
      medistill experts --data xray/ --recipe covid-xray-cpu --set experts.count=16
    """
    with working("repeat") as progress:
        chosen = choose_recipe(
            recipe,
            overrides_of(settings, seed=seed, sites=sites, classes=classes),
            data=data,
            device=device,
            progress=progress,
        )
        from medistill.workflow.experts import train_experts
        from medistill.workflow.prepare import prepare
        from medistill.workflow.run import built_in_corpus

        folder = built_in_corpus(progress) if data is None else data
        corpus = prepare(folder, chosen, labels=labels, progress=progress)
        trajectories = train_experts(corpus, chosen, device=device, progress=progress)
    if json:
        print_json(
            {
                "trajectories": str(trajectories.path),
                "key": trajectories.key,
                "experts": trajectories.count,
                "epochs": trajectories.epochs,
                "parameters": trajectories.parameters,
                "corpus": corpus.content,
            }
        )
        return
    print_facts(
        [
            ("Experts", f"{trajectories.count}, {trajectories.epochs} epochs each"),
            ("Parameters", str(trajectories.parameters)),
            ("Kept in (private)", str(trajectories.path)),
        ]
    )
    words = words_of(data, labels, recipe, settings, seed=seed, sites=sites, classes=classes)
    print_next([(["medistill", "distill", *words], "distil with these experts")])
