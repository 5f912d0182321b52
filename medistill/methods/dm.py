"""DM: mean features of fresh networks matched, no experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from medistill.methods.base import Distilled, Facts, Method, Needs
from medistill.recipe.outer_loop import OuterLoopRecipe
from medistill.recipe.section import AtMost, Count, Positive

if TYPE_CHECKING:
    from torch import Tensor

    from medistill.artifacts.normalisation import Normalisation
    from medistill.artifacts.trajectories import Trajectories
    from medistill.methods.optimising.outer_run import OuterPlan
    from medistill.training.context import Context


class Settings(OuterLoopRecipe):
    """DM: mean features of fresh networks matched, no experts."""

    OWN: ClassVar[tuple[str, ...]] = ("image_lr",)

    name: Literal["dm"] = "dm"
    image_lr: Positive = 1.0
    """Learning rate of the images (`lr_img`). The loss sums over the features: with fewer of them, as in a narrower
    network or of smaller images, a larger one fits."""
    batch_real: Annotated[Count, AtMost(65_536)] = 256
    """Originals of each class an outer step (`batch_real`)."""


class Dm(Method[Settings]):
    """Distribution matching (DM; Zhao and Bilen 2023)."""

    settings_type = Settings
    needs: ClassVar[Needs] = "nothing"
    display_name = "DM"
    family = "distribution matching"
    phrase = "distribution matching (DM; Zhao and Bilen 2023)"
    citation = (
        "Zhao and Bilen 2023",
        "Zhao B, Bilen H. Dataset condensation with distribution matching. WACV 2023. arXiv:2110.04181.",
    )

    def facts(self, settings: Settings | None = None) -> Facts:
        return replace(
            super().facts(settings),
            outer_steps=True,
            loss="How far the mean features of the images are from those of originals, in the eyes of a fresh network.",
            steps="No network was trained to make them. In each outer step ({iterations} in all) a network with fresh "
            "random parameters was shown the distilled images and up to {batch_real} originals of each class, "
            "augmented alike; the distilled images were then changed so that the means of each class's features, the "
            "input of the network's last layer, came closer to each other.",
        )

    def distil(
        self,
        context: Context,
        class_ids: Sequence[int],
        trajectories: Trajectories | None,
        origin: Mapping[str, Any],
    ) -> Distilled:
        from medistill.methods.optimising.outer_run import distilled, keep_history, run_outer_loop
        from medistill.methods.optimising.start import start_digest, starting_images
        from medistill.training.fitted_normalisation import fitted_normalisation

        normalisation = fitted_normalisation(context.corpus, context.recipe, context.progress)
        start, labels, quantisation = starting_images(context, class_ids, normalisation)
        plan = _plan(context, start, labels, normalisation)
        origin = {**origin, "experts": "", "start": start_digest(start)}
        state = run_outer_loop(plan, context, origin)
        keep_history(state, context.out, {})
        return replace(distilled(plan, state, origin), quantisation=quantisation)


METHOD = Dm()


def _plan(context: Context, start: Tensor, labels: Tensor, normalisation: Normalisation) -> OuterPlan:
    """Return what it puts into the outer loop.

    Args:
        context: of the run.
        start: (N, C, H, W) the images before the first step.
        labels: (N,) the class that each is made for.
        normalisation: of the images.
    """
    from medistill.engine.labels import HardLabels
    from medistill.engine.objectives.mean_features import MeanFeatures
    from medistill.engine.sources.fresh import FreshNetworks
    from medistill.engine.sources.originals import Originals
    from medistill.methods.optimising.outer_run import OuterPlan
    from medistill.methods.optimising.problem import one_hot, outer_settings, pixels, stages, validation

    corpus, recipe, spec, device = context.corpus, context.recipe, context.spec, context.device
    settings, class_ids = METHOD.settings_of(recipe), tuple(labels.unique().tolist())
    return OuterPlan(
        settings=outer_settings(settings),
        objective=MeanFeatures(
            networks=FreshNetworks(spec, recipe.seed, device),
            originals=Originals(corpus, class_ids, settings.batch_real, normalisation, recipe.seed, device),
            augmentation=recipe.augmentation,
            classes=spec.classes,
            seed=recipe.seed,
        ),
        parameterisation=pixels(settings, start),
        labels=HardLabels(one_hot(labels, spec.classes)),
        stage=stages(settings, labels),
        student_lr=lambda learned: recipe.evaluate.lr,
        normalisation=normalisation,
        made_from=corpus.content,
        validation=validation(settings, recipe.privacy, labels),
    )
