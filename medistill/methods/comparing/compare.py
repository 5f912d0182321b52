"""Compare: images brought closer to a batch of originals, outer step by outer step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from torch import Tensor, nn

from medistill.artifacts.normalisation import Normalisation
from medistill.engine.coordinates import Values
from medistill.engine.labels import HardLabels, Labels
from medistill.engine.objectives.base import Objective
from medistill.engine.objectives.compared_features import ComparedFeatures
from medistill.engine.parameterisations.base import Parameterisation
from medistill.engine.sources.base import Source
from medistill.engine.sources.fresh import FreshNetworks
from medistill.engine.sources.originals import Originals
from medistill.methods.base import Distilled
from medistill.methods.optimising.outer_run import OuterPlan, distilled, keep_history, run_outer_loop
from medistill.methods.optimising.problem import one_hot, outer_settings, pixels, stages, validation
from medistill.methods.optimising.start import start_digest, starting_images
from medistill.recipe.comparing import ComparingRecipe
from medistill.training.context import Context
from medistill.training.fitted_normalisation import fitted_normalisation

Distance = TypeVar("Distance", bound=ComparedFeatures)


@dataclass(frozen=True)
class Compared:
    """What the sockets of such a method are made from.

    Attributes:
        context: of the run.
        settings: of the method.
        start: (N, C, H, W) the images before the first step, normalised, class by class.
        labels: int64 (N,) the class that each is made for.
        normalisation: of the images.
    """

    context: Context
    settings: ComparingRecipe
    start: Tensor
    labels: Tensor
    normalisation: Normalisation

    @cached_property
    def class_ids(self) -> tuple[int, ...]:
        """Classes of the corpus that the set is to hold, ascending."""
        return tuple(self.labels.cpu().unique().tolist())

    @cached_property
    def originals(self) -> Originals:
        """A batch of each class, of `batch_real` images, drawn anew for every outer step."""
        context = self.context
        return Originals(
            context.corpus,
            self.class_ids,
            self.settings.batch_real,
            self.normalisation,
            context.recipe.seed,
            context.device,
            context.spec.encoder,
        )

    @property
    def fresh(self) -> FreshNetworks:
        """A network with random parameters for every outer step."""
        return FreshNetworks(self.context.spec, self.context.recipe.seed, self.context.device)

    def features(self, kind: type[Distance], networks: Source[nn.Module], **more: Any) -> Distance:
        """Return a distance of the features of images and originals.

        Args:
            kind: which one.
            networks: source of the networks in whose eyes they are compared.
            more: what this one has beside that.
        """
        recipe = self.context.recipe
        return kind(networks, self.originals, recipe.augmentation, self.context.spec.classes, recipe.seed, **more)

    def pixels(self) -> Parameterisation:
        """Return images that move by their pixels, by SGD with the momentum of the recipe."""
        return pixels(self.settings.image_lr, self.settings.momentum, self.start)

    def classes(self) -> Labels:
        """Return labels that are the classes, and stay."""
        return HardLabels(one_hot(self.labels, self.context.spec.classes))


@dataclass(frozen=True)
class Sockets:
    """What a method puts into the outer loop.

    Attributes:
        objective: what the images are compared with, and how.
        parameterisation: what the images are made of.
        labels: what they are labelled with.
        made_from: what the run follows beside the corpus; a checkpoint of another is refused.
        student_lr: the learning rate to train on the images with, from the coordinates; None takes that of the recipe.
        history: what the history tells beside the figures of the objective.
    """

    objective: Objective[Any]
    parameterisation: Parameterisation
    labels: Labels
    made_from: str = ""
    student_lr: Callable[[Values], float] | None = None
    history: Mapping[str, Any] = field(default_factory=dict)


def compare(
    context: Context,
    settings: ComparingRecipe,
    class_ids: Sequence[int],
    origin: Mapping[str, Any],
    sockets: Callable[[Compared], Sockets],
) -> Distilled:
    """Make a set whose images are moved by an objective; its state lies in ``out/state``.

    Args:
        context: corpus, recipe, network and device, and the folder of the run.
        settings: of the method.
        class_ids: classes of the corpus that the set is to hold, ascending.
        origin: what it is made from, for the record of its making.
        sockets: of the method, made from what it compares.

    Raises:
        DataError: a class has fewer training images than it needs.
        DivergedError: the optimisation left the finite numbers; the last good state is kept.
    """
    recipe = context.recipe
    normalisation = fitted_normalisation(context.corpus, recipe, context.progress)
    start, labels, quantisation = starting_images(context, class_ids, normalisation)
    filled = sockets(Compared(context, settings, start, labels, normalisation))
    plan = OuterPlan(
        settings=outer_settings(settings),
        objective=filled.objective,
        parameterisation=filled.parameterisation,
        labels=filled.labels,
        stage=stages(settings, labels),
        student_lr=filled.student_lr or (lambda learned: recipe.evaluate.lr),
        normalisation=normalisation,
        made_from=" ".join([context.corpus.content, filled.made_from]).strip(),
        validation=validation(settings, recipe.privacy, labels),
        tiles=settings.tiles,
    )
    origin = {**origin, "experts": "", "start": start_digest(start)}
    state = run_outer_loop(plan, context, origin)
    keep_history(state, context.out, filled.history)
    return distilled(plan, state, origin, quantisation)
