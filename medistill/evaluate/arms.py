"""Arms of an evaluation: which images the networks of each are trained on, and how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.encoders.encoder import Encoder
from medistill.evaluate.originals_choice import CHOICES, Draw
from medistill.evaluate.protocol import raw_schedule, small_schedule, stored_bytes, trained_by
from medistill.evaluate.representatives import available
from medistill.evaluate.schedule_choice import Way
from medistill.recipe import Recipe
from medistill.recipe.arms import ARMS, Arm, ArmName
from medistill.training.encoded import features_at
from medistill.training.fresh_network import TrainingSet
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule
from medistill.training.penalty import Penalty
from medistill.training.probe import refuse_values


class Arms:
    """What the networks of each arm are trained on (see `medistill.recipe.arms`).

    Args:
        distilled: the set that is evaluated.
        corpus: the originals.
        recipe: which controls are asked for, and the fixed schedules.
        device: where the images go.
        schedules: how the networks of an arm are trained, where that was chosen. An arm without has the fixed schedule:
            all but that of all originals the same, the distilled images at their learned rate.
        encoder: whose features the networks, probes, learn from; None where they see pixels.

    Attributes:
        names: the arms that are trained: the controls of the recipe, the set, and the set with hard labels where its
            own are soft.

    Raises:
        UsageError: the set's labels are values or target vectors, and the networks are probes.
    """

    def __init__(
        self,
        distilled: DistilledSet,
        corpus: Corpus,
        recipe: Recipe,
        device: torch.device,
        schedules: Mapping[ArmName, Way] | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self.distilled, self.corpus, self.recipe, self.device = distilled, corpus, recipe, device
        self.encoder = encoder
        refuse_values(by_values=encoder is not None and (distilled.by_values or distilled.by_targets))
        self.schedules = schedules or {}
        self.names = tuple(name for name, arm in ARMS.items() if self._is_trained(arm))
        self._of_set = np.bincount(distilled.labels, minlength=len(corpus.class_names))
        self._per_class = available(corpus, self._of_set)
        self._draws: dict[ArmName, Draw] = {}
        self._whole: LabelledImages | None = None

    def images(self, arm: ArmName) -> int:
        """Return how many images an arm's training set has, as they are stored."""
        if ARMS[arm].of_the_set:
            return len(self.distilled.labels)
        return len(self.corpus.rows("train")) if _takes_all(arm) else int(self._per_class.sum())

    def tiles(self, arm: ArmName) -> int:
        """Return the tiles of a side of each of these, f."""
        return self.distilled.tiles if ARMS[arm].of_the_set else 1

    def shown(self, arm: ArmName) -> int:
        """Return how many images an arm's networks are trained on: those stored, or all their tiles."""
        return self.images(arm) * self.tiles(arm) ** 2

    def shortage(self) -> str:
        """Say which classes have fewer originals than the set has images, and what the controls do; "" where none."""
        controls = [arm for arm in self.names if ARMS[arm].images == "as many originals"]
        short = [
            f"{name} {there} in place of {wanted}"
            for name, there, wanted in zip(self.corpus.class_names, self._per_class, self._of_set, strict=True)
            if there < wanted
        ]
        if not controls or not short:
            return ""
        return (
            f"The set has more images of a class than there are training images of it, so the control arms "
            f"({', '.join(controls)}) take all that there are: {'; '.join(short)}."
        )

    def bytes(self, arm: ArmName) -> int:
        """Return what an arm's training set takes as it is stored: an original a byte a grey value, a set whole."""
        if ARMS[arm].of_the_set:
            return stored_bytes(self._set_of(arm))
        return self.images(arm) * self.corpus.images[0].nbytes

    def settled(self, arm: ArmName) -> bool:
        """Return whether no random number has a part in an arm's networks, so that all are the same: those of probes
        are, but for the choice of originals."""
        return self.encoder is not None and ARMS[arm].images != "as many originals"

    def networks(self, arm: ArmName) -> int:
        """Return how many networks of an arm are trained: one, where all would be the same."""
        return 1 if self.settled(arm) else self.recipe.evaluate.networks

    def epochs(self, arm: ArmName) -> int:
        """Return the epochs of each network of an arm."""
        return self.schedule(arm).epochs

    def identity(self, arm: ArmName) -> str:
        """Return what decides an arm's images beside corpus, seed and recipe: nothing of the set itself where the arm
        is of originals, so that the same originals are known again beside another set."""
        if ARMS[arm].of_the_set:
            return hashlib.sha256(self._set_of(arm).training_bytes()).hexdigest()
        counts = [] if _takes_all(arm) else self._per_class.tolist()
        return json.dumps([self.distilled.normalisation.as_json(), counts])

    def rates(self, arm: ArmName) -> tuple[float, ...]:
        """Return the learning rates to choose from; a distilled set's own is among them."""
        own = (self.distilled.student_lr,) if ARMS[arm].of_the_set else ()
        return tuple(sorted({*self.recipe.schedule.rates, *own}))

    def schedule(self, arm: ArmName) -> Schedule | Penalty:
        """Return how each network of an arm is trained."""
        settings = self.recipe.evaluate
        if arm in self.schedules:
            return trained_by(self.schedules[arm], self.shown(arm), settings)
        if self.encoder is not None:
            return Penalty(self.recipe.schedule.penalty)
        if _takes_all(arm):
            return raw_schedule(settings)
        lr = self.distilled.student_lr if ARMS[arm].of_the_set else settings.lr
        return small_schedule(settings, lr=lr, epochs=settings.epochs)

    def training_set(self, arm: ArmName, number: int) -> TrainingSet:
        """Return what network ``number`` of an arm is trained on, and how."""
        return TrainingSet(self.material(arm, number)[1], self.schedule(arm))

    def material(self, arm: ArmName, number: int) -> tuple[np.ndarray | None, LabelledImages]:
        """Return the rows of the corpus, None for a distilled set, and the images that network ``number`` learns
        from."""
        if ARMS[arm].of_the_set:
            return None, LabelledImages.of_set(self._set_of(arm), self.device)
        if arm not in self._draws:
            self._draws[arm] = CHOICES[ARMS[arm].chosen](self.distilled, self.corpus, self.recipe.seed)
        chosen = self._draws[arm](number)
        if not _takes_all(arm):
            data = self.of_rows(chosen.rows)
            if chosen.weights is not None:
                data = replace(data, weights=torch.from_numpy(chosen.weights).to(self.device))
            return chosen.rows, data
        if self._whole is None:  # the same for every network, and too large to be moved for each
            self._whole = self.of_rows(chosen.rows)
        return chosen.rows, self._whole

    def of_rows(self, rows: np.ndarray) -> LabelledImages:
        """Return rows of the corpus as the networks see them."""
        if self.encoder is not None:
            return features_at(self.corpus, rows, self.encoder, self.device)
        return LabelledImages.of_corpus(self.corpus, rows, self.distilled.normalisation, self.device)

    def _is_trained(self, arm: Arm) -> bool:
        if arm.images == "the set with hard labels":
            return self.distilled.soft_labels is not None
        return arm.of_the_set or arm.name in self.recipe.evaluate.arms

    def _set_of(self, arm: ArmName) -> DistilledSet:
        return replace(self.distilled, soft_labels=None) if ARMS[arm].images != "the set" else self.distilled


def _takes_all(arm: ArmName) -> bool:
    return ARMS[arm].images == "all originals"
