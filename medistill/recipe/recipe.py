"""A recipe: every setting of a run as frozen data. It names no code, so it may travel."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from medistill.recipe.data import DataRecipe
from medistill.recipe.exchange import ExchangeRecipe
from medistill.recipe.method import AnyMethod, default_method
from medistill.recipe.privacy import PrivacyRecipe, broken_conditions
from medistill.recipe.prune import PruneRecipe
from medistill.recipe.schedule import ScheduleRecipe
from medistill.recipe.section import Section, Text
from medistill.recipe.sections import AuditRecipe, AugmentationRecipe, ComputeRecipe, EvaluateRecipe, NetworkRecipe
from medistill.recipe.strictness import Deviation, deviations, strictness


class Recipe(Section):
    """Every setting of a run."""

    name: Text = "custom"
    """Name of the recipe."""
    description: Annotated[str, Field(max_length=10_000)] = ""
    """One paragraph on what it is for and where its figures come from."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed from which every random number of the run is derived."""
    data: DataRecipe = DataRecipe()
    network: NetworkRecipe = NetworkRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    prune: PruneRecipe = PruneRecipe()
    method: AnyMethod = Field(default_factory=default_method)
    evaluate: EvaluateRecipe = EvaluateRecipe()
    schedule: ScheduleRecipe = ScheduleRecipe()
    audit: AuditRecipe = AuditRecipe()
    compute: ComputeRecipe = ComputeRecipe()
    privacy: PrivacyRecipe = PrivacyRecipe()
    exchange: ExchangeRecipe = ExchangeRecipe()

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        for misfit in self.method.misfits(self.data.image_size):
            raise ValueError(misfit)
        if self.network.name == "convnet" and self.data.image_size < 2**self.network.depth:
            raise ValueError(
                f"network.depth {self.network.depth} halves the image that often, but data.image_size is only "
                f"{self.data.image_size} pixels"
            )
        if self.network.encoder and self.network.name != "probe":
            raise ValueError(
                f"network.encoder is of a probe, and network.name is {self.network.name}; --encoder NAME sets them both"
            )
        if self.network.projection and self.network.name != "probe":
            raise ValueError(
                f"network.projection is of a probe, and network.name is {self.network.name}; --public and --encoder "
                "set them both"
            )
        if self.network.name == "probe" and self.data.zca:
            raise ValueError(
                "the encoder of network.name = probe sees grey values, which data.zca = true mixes; set data.zca to "
                "false"
            )
        if self.network.name == "probe" and self.method.compares_features:
            raise ValueError(
                f"method.name = {self.method.name} compares the features of networks that begin with random numbers, "
                "and a probe takes those of its encoder, which stay; choose another method.name or network.name"
                f"{'' if self.method.taught_by is None else ' (method.teacher names its encoder, not --encoder)'}"
            )
        if self.data.zca and self.method.holds_grey:
            raise ValueError(
                f"method.name = {self.method.name} holds each pixel's grey value between black and white, and "
                "data.zca = true mixes these; set data.zca to false, or choose another method.name (dsa)"
            )
        if self.data.zca and self.method.tile_factor > 1:
            raise ValueError(
                "data.zca = true mixes all pixels of an image, which method.tiles cuts into parts; set method.tiles to "
                "1, or data.zca to false"
            )
        if self.data.several_findings == "priority" and not self.data.classes:
            raise ValueError(
                "data.several_findings = priority takes the first of data.classes, but these are not named; name them "
                "in the order in which they go before one another"
            )
        if self.data.val_fraction + self.data.test_fraction >= 1:
            raise ValueError("data.val_fraction + data.test_fraction leaves nothing to train on")
        if self.privacy.mode == "dp":
            broken = [
                *self.method.breaches(self.privacy),
                *self.prune.breaches(),
                *broken_conditions(self.data, self.privacy),
            ]
            if broken:
                raise ValueError(f"differential privacy (privacy.mode = dp) would not hold: {'; '.join(broken)}")
        return self

    @property
    def fewest_patients(self) -> int:
        """Training patients that a class needs: those of a cell where images are, or begin as, means of patients."""
        quantisation = self.method.quantisation
        return 1 if quantisation is None else quantisation.min_cluster_size

    @property
    def fewest_images(self) -> int:
        """Training images that a class needs: as many as distilled ones, or tiles of them, are asked for, but one where
        these are noise at first."""
        return 1 if self.method.starts_from == "noise" else self.method.begun

    @property
    def strictness(self) -> dict[str, float]:
        """The settings on which an audit depends, with their values."""
        return strictness({"audit": self.audit, "evaluate": self.evaluate})

    @property
    def digest(self) -> str:
        """SHA-256 over every setting but the name, the description, the audit's, the exchange's and `compute.graphs`,
        which changes no bit. Pruning and what the method says to be at rest count where they do something, so that a
        recipe from before them keeps its digest."""
        apart = {"name", "description", "audit", "exchange"} | (set() if self.prune.active else {"prune"})
        settings = self.model_dump(mode="json", exclude=apart)
        del settings["compute"]["graphs"]
        for name in self.method.at_rest:
            del settings["method"][name]
        for name in self.prune.at_rest if self.prune.active else ():
            del settings["prune"][name]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def audit_deviations(values: Mapping[str, float]) -> tuple[Deviation, ...]:
    """The settings by which an audit differs from one with the shipped thresholds and budget.

    Args:
        values: as `Recipe.strictness` gives them.
    """
    return deviations(values, {"audit": AuditRecipe, "evaluate": EvaluateRecipe})
