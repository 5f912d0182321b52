"""Settings of trajectory matching: what all its methods share, and the parts by which one differs from another.

A method takes `MatchingRecipe` and the parts that are its own, some of them from `outer_loop`. `WholeMatching` has them
all: the engine is told every setting, and what a method does not have is off there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from medistill.errors import UsageError
from medistill.recipe.experts import ExpertsRecipe, FlatExpertsRecipe, SelectedExpertsRecipe
from medistill.recipe.importance import ImportanceRecipe, KeptRecipe, MaskRecipe
from medistill.recipe.method import MethodSettings
from medistill.recipe.outer_loop import LearnedLabels, OuterLoopRecipe, SharpSteps, Staged
from medistill.recipe.privacy import PrivacyRecipe
from medistill.recipe.section import AtMost, Count, CountOrNone, Fraction, Positive, Section
from medistill.recipe.unrolling import RealRecipe


class MatchingRecipe(OuterLoopRecipe):
    """Trajectory matching with the exact gradient: the outer optimisation, and the experts that it follows."""

    MAY_PROMISE: ClassVar[bool] = True

    syn_steps: Annotated[Count, AtMost(1000)] = 10
    """Student steps on the distilled images, J (`syn_steps`)."""
    expert_epochs: Annotated[Count, AtMost(100)] = 2
    """Expert epochs that the student has to match, K (`expert_epochs`)."""
    min_start_epoch: CountOrNone = 0
    """Start snapshots are drawn from this one on (`min_start_epoch`)."""
    max_start_epoch: Count = 10
    """Start snapshots are drawn up to, and not including, this one (`max_start_epoch`)."""
    segments: Annotated[Count, AtMost(64)] = 1
    """Segments of trajectories an outer step; their gradients are averaged."""
    image_lr: Positive = 100.0
    student_lr: Positive = 0.01
    """Initial learning rate of the student, alpha (`lr_teacher`)."""
    student_lr_lr: Annotated[float, Field(ge=0)] = 1e-5
    """Learning rate of alpha in the published unit (`lr_lr`); alpha moves by its logarithm, so it stays positive."""
    momentum: Fraction = 0.5
    """Momentum of the images' and of alpha's SGD."""
    batch_syn: CountOrNone = 0
    """Distilled images a student step (`batch_syn`); 0 takes all of them."""
    experts: ExpertsRecipe = ExpertsRecipe()

    @property
    def learns_labels(self) -> bool:
        return self.whole.labels == "soft"

    @property
    def followed(self) -> FlatExpertsRecipe:
        return FlatExpertsRecipe(**self.experts.model_dump())

    @property
    def whole(self) -> WholeMatching:
        """Every setting of the family, those off that this method does not have."""
        mine = {name: getattr(self, name) for name in type(self).model_fields if name in WholeMatching.model_fields}
        return WholeMatching.model_construct(**{**mine, "experts": self.followed})

    def cut_down(self, *, experts: int, iterations: int) -> Self:
        fewer = self.experts.model_copy(update={"count": min(self.experts.count, experts)})
        return super().cut_down(experts=experts, iterations=iterations).model_copy(update={"experts": fewer})

    def misfits(self, image_size: int) -> Iterator[str]:
        if self.min_start_epoch >= self.max_start_epoch:
            yield (
                f"method.min_start_epoch {self.min_start_epoch} is not below method.max_start_epoch "
                f"{self.max_start_epoch}"
            )
        start_epochs = self.max_start_epoch - self.min_start_epoch
        divided = self.stage_count if self.whole.new_experts else start_epochs
        if self.stage_count > min(self.ipc, divided, self.iterations):
            yield (
                f"method.stages {self.stage_count} needs as many images per class, start epochs and outer steps, but "
                f"there are {self.ipc} (method.ipc), {start_epochs} and {self.iterations} (method.iterations)"
            )
        last = self.max_start_epoch - 1 + self.expert_epochs
        if last > self.experts.epochs:
            yield (
                f"method.max_start_epoch - 1 + method.expert_epochs is {last}, but method.experts.epochs makes only "
                f"{self.experts.epochs} epochs"
            )
        if self.whole.shape and min(self.expert_epochs, self.syn_steps) < 2:
            yield (
                f"method.shape {self.whole.shape:g} needs a middle of both walks, but method.expert_epochs is "
                f"{self.expert_epochs} and method.syn_steps is {self.syn_steps} (at least 2 of each)"
            )
        yield from self.whole.real.unfit("method.real")
        yield from super().misfits(image_size)

    def breaches(self, privacy: PrivacyRecipe) -> Iterator[str]:
        batch = self.experts.batch_size
        if self.init != "noise":
            yield (
                "images that start from patients' images, or from means of them, would show them without any noise "
                "(set method.init = noise)"
            )
        if self.whole.asks_originals:
            yield (
                "the loss on originals sees patients' images without noise (set method.real.weight = 0, "
                "method.real.begins = 1 and another method.importance.direction than usefulness)"
            )
        if self.whole.new_experts:
            yield "experts trained anew for a stage see patients without noise (set method.new_experts = false)"
        if isinstance(self.followed, SelectedExpertsRecipe) and self.followed.selection.selects:
            yield (
                "networks that tell how difficult a patient is see every patient without noise (set "
                "method.selection.start_share = 1, method.selection.drop_first = 0 and "
                "method.selection.drop_last = 0)"
            )
        if self.followed.sharpness:
            yield (
                "sharpness-aware experts use each patient twice an update, which is unaccounted (set "
                "method.experts.sharpness = 0)"
            )
        if batch > privacy.units:
            yield (
                f"an update cannot expect {batch} of {privacy.units} units (lower method.experts.batch_size, or "
                "correct privacy.units)"
            )


class GrowingStart(Section):
    """A range of start epochs that grows."""

    start_growth: Fraction = 0.0
    """Share of the outer steps over which that range grows from its first snapshot to all (DATM); 0: all at once."""


class Masked(Section):
    """Matches that leave parameters out."""

    mask: MaskRecipe = MaskRecipe()


class StageExperts(Section):
    """Stages whose experts may be made anew."""

    new_experts: bool = False
    """Whether each later stage has experts of its own, which learned the images so far before the originals (as
    published), and the whole range of starts; else the stages divide the range of one set of experts."""
    former_epochs: Annotated[Count, AtMost(20_000)] = 1000
    """Epochs for which they learn the images so far (`override_epoch_eval_train`)."""


class EasyFirst(Section):
    """Matches that parameters join as they become easy."""

    kept: KeptRecipe = KeptRecipe()


class Shaped(Section):
    """Matches of the shape of a walk, beside its end."""

    shape: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the loss of shape: the angles between start, middle and end, a student's against an expert's (HoP-TM;
    `lamb`); 0 matches the end alone."""


class OfLength(Section):
    """Matches after a number of student steps that the student decides."""

    closest: Literal["off", "l1", "l2"] = "off"
    """Which of the student's states is matched: its end, or the one nearest to the expert's (ATT), by the sum of
    magnitudes (the published code) or of squares (the paper)."""


class Deep(Section):
    """Matches of the layers that lie deep."""

    depth: Fraction = 0.0
    """Share of the parameters, from the image on, that a match leaves out (PAD; `depth_ratio`)."""


class Weighed(Section):
    """Matches in which parameters count by learned weights."""

    importance: ImportanceRecipe = ImportanceRecipe()


class Guided(Section):
    """Matches that the loss on originals goes with, or follows."""

    real: RealRecipe = RealRecipe()


class WholeMatching(
    LearnedLabels, GrowingStart, Staged, StageExperts, SharpSteps, Masked, EasyFirst, Shaped, OfLength, Deep, Weighed,
    Guided, MatchingRecipe,
):  # fmt: skip
    """Every setting of trajectory matching, off by default: plain MTT. No method of its own."""

    name: str = ""
    experts: FlatExpertsRecipe = FlatExpertsRecipe()
    importance: ImportanceRecipe = ImportanceRecipe(direction="frozen")

    @property
    def asks_originals(self) -> bool:
        """Whether networks trained on the images are tried on originals, beside the experts that are followed."""
        return self.real.counts or self.importance.direction == "usefulness"


def whole_matching(method: MethodSettings) -> WholeMatching:
    """Every setting of a method of the family.

    Raises:
        UsageError: it is of another family.
    """
    if isinstance(method, MatchingRecipe):
        return method.whole
    raise UsageError(
        f"method {method.name} follows no experts",
        expected="a method that matches trajectories",
        do="choose another --method",
    )
