"""From the settings of trajectory matching to the engine: the one place that knows both."""

from __future__ import annotations

import torch
from torch import Tensor

from medistill.artifacts.trajectories import Trajectories
from medistill.engine.coordinates import MomentumSGD
from medistill.engine.growing_mask import GrowingMask
from medistill.engine.importance import ImportanceSettings, ParameterGroups
from medistill.engine.labels import HardLabels, Labels, SoftLabels
from medistill.engine.mask import MaskSettings
from medistill.engine.objectives.trajectory import AlphaSettings, TrajectoryMatching
from medistill.engine.parameterisations.pixels import Pixels
from medistill.engine.scope import MatchScope
from medistill.engine.sources.experts import ExpertSegments, SegmentSettings
from medistill.engine.student import Student
from medistill.methods.optimising.problem import pixels
from medistill.methods.unrolling.unroll import moves
from medistill.ranks.ranks import ALONE, Ranks
from medistill.recipe import AugmentationRecipe, Recipe, WholeMatching, whole_matching


def expert_segments(
    recipe: Recipe, trajectories: Trajectories, augmentation: AugmentationRecipe, device: torch.device
) -> ExpertSegments:
    """Return the source of segments; ``augmentation`` is that of what a student step trains on."""
    settings = whole_matching(recipe.method)
    drawn = SegmentSettings(
        syn_steps=settings.syn_steps,
        expert_epochs=settings.expert_epochs,
        min_start_epoch=settings.min_start_epoch,
        max_start_epoch=settings.max_start_epoch,
        start_growth=settings.start_growth,
        batch_syn=settings.batch_syn,
        iterations=settings.iterations,
        stages=settings.stages,
        middle=settings.shape > 0,
        whole_range=settings.new_experts,
    )
    return ExpertSegments(trajectories, drawn, augmentation, recipe.seed, device)


def trajectory_matching(
    recipe: Recipe,
    student: Student,
    trajectories: Trajectories,
    augmentation: AugmentationRecipe,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> TrajectoryMatching:
    """Return the objective that follows experts; arguments as for `expert_segments`.

    Args:
        student: the network as a function.
        ranks: processes that share the segments of a step.
    """
    settings = whole_matching(recipe.method)
    weights, mask = settings.importance, settings.mask
    importance = ImportanceSettings(
        granularity=weights.granularity,
        start=weights.start,
        scale=weights.scale,
        constraint=weights.constraint,
        direction=weights.direction,
        lr=weights.lr,
        momentum=weights.momentum,
    )
    return TrajectoryMatching(
        student=student,
        source=expert_segments(recipe, trajectories, augmentation, device),
        segments=settings.segments,
        alpha=AlphaSettings(settings.student_lr, settings.student_lr_lr, settings.momentum),
        importance=importance,
        groups=ParameterGroups.of(importance, trajectories, device),
        mask=MaskSettings(mask.rule, mask.share, mask.until, mask.likeness),
        scope=_scope(settings),
        ranks=ranks,
    )


def _scope(settings: WholeMatching) -> MatchScope:
    """Return what of a student's walk is matched."""
    kept = settings.kept
    return MatchScope(
        depth=settings.depth,
        kept=GrowingMask(kept.threshold, kept.growth, kept.every) if kept.threshold else None,
        shape=settings.shape,
        closest=settings.closest,
    )


def moving_pixels(settings: WholeMatching, start: Tensor) -> Pixels:
    """Return images from ``start`` (N, C, H, W) on; where the loss on originals counts, they move by its rule."""
    real = settings.real
    if real.counts:
        return Pixels(start, moves(real, real.image_lr, settings.iterations), "real.image_lr")
    return pixels(settings.image_lr, settings.momentum, start)


def image_labels(settings: WholeMatching, classes: Tensor, logits: Tensor | None) -> Labels:
    """Return labels that are learned from ``logits`` on, or those of the ``classes``, both (N, classes)."""
    if logits is None:
        return HardLabels(classes)
    real = settings.real
    if real.counts:
        return SoftLabels(classes, logits, moves(real, real.label_lr, settings.iterations), "real.label_lr")
    return SoftLabels(classes, logits, MomentumSGD(settings.label_lr, settings.momentum))
