"""From the settings of trajectory matching to the engine: the one place that knows both."""

from __future__ import annotations

import torch
from torch import Tensor

from medistill.artifacts.trajectories import Trajectories
from medistill.engine.coordinates import MomentumSGD
from medistill.engine.importance import ImportanceSettings, ParameterGroups
from medistill.engine.labels import HardLabels, Labels, SoftLabels
from medistill.engine.mask import MaskSettings
from medistill.engine.objectives.trajectory import AlphaSettings, TrajectoryMatching
from medistill.engine.sources.experts import ExpertSegments, SegmentSettings
from medistill.engine.student import Student
from medistill.recipe import Recipe, whole_matching


def expert_segments(recipe: Recipe, trajectories: Trajectories, device: torch.device) -> ExpertSegments:
    """Return the source of segments."""
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
    )
    return ExpertSegments(trajectories, drawn, recipe.augmentation, recipe.seed, device)


def trajectory_matching(
    recipe: Recipe, student: Student, trajectories: Trajectories, device: torch.device
) -> TrajectoryMatching:
    """Return the objective that follows experts."""
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
        source=expert_segments(recipe, trajectories, device),
        segments=settings.segments,
        alpha=AlphaSettings(settings.student_lr, settings.student_lr_lr, settings.momentum),
        importance=importance,
        groups=ParameterGroups.of(importance, trajectories, device),
        mask=MaskSettings(mask.rule, mask.share, mask.until, mask.likeness),
    )


def image_labels(recipe: Recipe, classes: Tensor, logits: Tensor | None) -> Labels:
    """Return labels that are learned from ``logits`` on, or those of the ``classes``, both (N, classes)."""
    if logits is None:
        return HardLabels(classes)
    settings = whole_matching(recipe.method)
    return SoftLabels(classes, logits, MomentumSGD(settings.label_lr, settings.momentum))
