"""What a method is: the settings of its recipe, what others say of it, and how it distils.

Nothing here needs torch: to read a recipe, or to tell what its method is called, imports the file of the method.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from medistill.recipe.method import MethodSettings

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from medistill.artifacts.class_statistics import ClassStatistics
    from medistill.artifacts.label_kind import LabelKind
    from medistill.artifacts.making import Chain
    from medistill.artifacts.normalisation import Normalisation
    from medistill.artifacts.trajectories import Trajectories
    from medistill.quantisation.record import Quantisation
    from medistill.recipe import Recipe
    from medistill.training.context import Context

Needs = Literal["experts", "nothing"]
"""What has to be made of the corpus before a method can distil: trajectories of experts, or nothing."""
Settings = TypeVar("Settings", bound=MethodSettings)


@dataclass(frozen=True)
class Facts:
    """What report, data card, DICOM export and methods text say of a method, and by what they choose their words.

    Attributes:
        display_name: its name, as "IADD".
        family: what was done, as "trajectory matching"; it stands after "made by".
        phrase: what it is called in a methods section, with the work that it cites.
        citations: how the phrase cites a work -> the work.
        experts: it follows experts.
        outer_steps: the images are learned step by step, and the best of them are chosen by the validation split; else
            there is one set, and nothing to choose.
        learned_lr: the learning rate to train with is learned with the images; else it is the one of the recipe.
        loss: what the loss of its outer steps tells, in a sentence.
        steps: what its outer steps do, in sentences of a methods section, in which settings of the method stand as
            ``{iterations}``.
        centroids: each image is the mean of several originals, decoded.
        label_values: labels are learned values, which networks are trained on by the squared error.
        target_vectors: labels are learned vectors of a frozen teacher's width, which networks are pretrained on.
    """

    display_name: str
    family: str
    phrase: str
    citations: Mapping[str, str] = field(default_factory=dict)
    experts: bool = False
    outer_steps: bool = False
    learned_lr: bool = False
    loss: str = ""
    steps: str = ""
    centroids: bool = False
    label_values: bool = False
    target_vectors: bool = False


@dataclass(frozen=True)
class Distilled:
    """What a method made: all of a distilled set but what it says of its making, for which the method gives its share.

    Attributes:
        images: float32 (N, C, H, W), normalised.
        labels: int64 (N,).
        weights: float32 (N,), mean 1.
        stage: int64 (N,) the stage in which each image joined.
        student_lr: learning rate to train with.
        normalisation: how the images are normalised.
        soft_labels: float32 (N, classes) probabilities or values; None where labels are classes.
        chain: seals every state on the way.
        origin: what the chain began from.
        quantisation: of what centroids the images are, or began as; None where they began otherwise.
        known: fields of the set's provenance that the method alone knows.
        statistics: noisy class statistics that travel with the set; None where there are none.
        tiles: of a side of each image (`DistilledSet.tiles`).
        label_kind: what soft labels are.
    """

    images: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    stage: np.ndarray
    student_lr: float
    normalisation: Normalisation
    soft_labels: np.ndarray | None
    chain: Chain
    origin: Mapping[str, Any]
    quantisation: Quantisation | None = None
    known: Mapping[str, Any] = field(default_factory=dict)
    statistics: ClassStatistics | None = None
    tiles: int = 1
    label_kind: LabelKind = "probabilities"


class Method(ABC, Generic[Settings]):
    """A method. Its file holds one as ``METHOD``, and the module's first line says in a few words what it does."""

    settings_type: type[Settings]
    needs: ClassVar[Needs]
    display_name: ClassVar[str]
    family: ClassVar[str]
    phrase: ClassVar[str]
    citation: ClassVar[tuple[str, str]]
    """How the phrase cites the work, and the work."""

    def settings_of(self, recipe: Recipe) -> Settings:
        """The settings of this method in a recipe that names it."""
        if not isinstance(recipe.method, self.settings_type):
            raise TypeError(f"the recipe names method {recipe.method.name}")
        return recipe.method

    def facts(self, settings: Settings | None = None) -> Facts:
        """What is said of it; of a set whose settings are not at hand, what holds for all.

        Here it is what the method is called and cites; a family adds what it does.
        """
        return Facts(self.display_name, self.family, self.phrase, dict([self.citation]))

    def pieces(self, settings: Settings) -> int:
        """How many pieces of work each of its steps falls into that ranks can share; with one, a rank alone distils."""
        return 1

    @abstractmethod
    def distil(
        self,
        context: Context,
        class_ids: Sequence[int],
        trajectories: Trajectories | None,
        origin: Mapping[str, Any],
    ) -> Distilled:
        """Make a set. What an interrupted call left in ``context.out/state`` is gone on from.

        Args:
            context: corpus, recipe, network and device, and the folder of the run.
            class_ids: classes of the corpus that the set is to hold, ascending.
            trajectories: the experts; None where the method needs none.
            origin: what it is made from, for the record of its making.
        """

    def train_together(self, context: Context, class_ids: Sequence[int]) -> None:
        """Have the ranks train, each the next one, the networks that it trains on its way to a set, where one rank
        distils and the others wait. Each is kept in a file of the run, in which `distil` finds it. Here there is none.

        Args:
            context: as for `distil`, with the ranks.
            class_ids: as for `distil`.

        Raises:
            DivergedError: a network left the finite numbers.
        """

    def least_steps(self, recipe: Recipe) -> int:
        """The fewest outer steps with which it can be made: one for each stage."""
        return recipe.method.stage_count

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe whose settings name what there is not, before anything is read or made.

        Raises:
            RecipeError: with what there is.
        """

    def start(self, context: Context, class_ids: Sequence[int], count: int, normalisation: Normalisation) -> Tensor:
        """Make again what the images of a run began as, (N, C, H, W); of a method with outer steps.

        Args:
            context: as for `distil`.
            class_ids: as for `distil`.
            count: images of the set, N.
            normalisation: of them.
        """
        from medistill.methods.optimising.start import starting_images

        return starting_images(context, class_ids, normalisation)[0]

    def begin(self, context: Context, class_ids: Sequence[int]) -> None:
        """Make, or refuse, what can be made before hours are spent on experts; `distil` takes it up.

        Args:
            context: as for `distil`; no network of it is used.
            class_ids: as for `distil`.
        """
