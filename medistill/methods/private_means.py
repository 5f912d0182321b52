"""Private means: images rendered to class means that were released once under differential privacy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from medistill.methods.base import Distilled, Facts
from medistill.methods.rendering.method import Rendering
from medistill.recipe.method import Start
from medistill.recipe.privacy import PrivacyRecipe
from medistill.recipe.rendering import RenderingRecipe
from medistill.recipe.section import AtMost, Count, Fraction, Positive

if TYPE_CHECKING:
    from medistill.artifacts.trajectories import Trajectories
    from medistill.training.context import Context


class Settings(RenderingRecipe):
    """Private means: images rendered to class means that were released once under differential privacy."""

    OWN: ClassVar[tuple[str, ...]] = ("ipc", "iterations", "image_lr", "smoothness", "jitter", "validate_every")
    MAY_PROMISE: ClassVar[bool] = True

    name: Literal["private-means"] = "private-means"
    ipc: Annotated[Count, AtMost(10_000)] = 1
    """Synthetic images per class. All of a class are rendered to the same mean, from different starts."""
    iterations: Annotated[Count, AtMost(100_000)] = 300
    """Outer steps. After 100 the features were up to .05 of a squared unit from their means, and what such images are
    worth hung on the noise that they began as; after 300 it was .001, in less than a minute."""
    image_lr: Positive = 0.05
    smoothness: Annotated[float, Field(ge=0)] = 0.01
    space: Literal["probe", "encoder", "raw"] = "probe"
    """Where means are taken, without a look at patients: in the space of the probe, which --public whitens on images
    that you declare public, and the command line else on drawn radiographs of nobody; in the encoder's features with
    its own centre and scale; or in these as they are."""
    count_share: Fraction = 0.05
    """Share of the budget for the noisy number of units of each class; 0 where `class_units` are given."""
    second_share: Fraction = 0.0
    """Share of the budget for second moments, by which `medistill train --from statistics` knows how the patients of a
    class differ. They pay from a few thousand patients on."""
    class_units: Annotated[tuple[Count, ...], Field(max_length=1000)] = ()
    """Public, rounded numbers of units of each class, in the order of data.classes; empty counts them with noise."""

    @property
    def starts_from(self) -> Start:
        return "noise"

    @property
    def one_release(self) -> bool:
        return True

    @property
    def wants_space(self) -> bool:
        return self.space == "probe"

    def misfits(self, image_size: int) -> Iterator[str]:
        yield from super().misfits(image_size)
        if self.count_share + self.second_share >= 1:
            yield "method.count_share and method.second_share leave nothing of the budget for the means"
        if bool(self.class_units) == bool(self.count_share):
            yield (
                "the numbers of units of the classes are public (method.class_units, with method.count_share = 0) or "
                "counted with noise (method.count_share above 0): one of the two"
            )

    def breaches(self, privacy: PrivacyRecipe) -> Iterator[str]:
        if privacy.choose != "off":
            yield "nothing is chosen by the validation split, which would have to be public (set privacy.choose = off)"


class PrivateMeans(Rendering[Settings]):
    """One Gaussian release of class statistics, then post-processing (Balle and Wang 2018; DP-MERF, Harder 2021)."""

    settings_type = Settings
    display_name = "private-means"
    family = "one private release of class means"
    phrase = "rendering of class means that were released once under differential privacy (Balle and Wang 2018)"
    citation = (
        "Balle and Wang 2018",
        "Balle B, Wang Y-X. Improving the Gaussian mechanism for differential privacy: analytical calibration and "
        "optimal denoising. ICML 2018. arXiv:1805.06530.",
    )

    loss = "How far what the frozen encoder sees in the images is from the noisy means of their classes."
    compared = "the encoder saw the noisy means of their classes in them"

    def facts(self, settings: Settings | None = None) -> Facts:
        rendered = super().facts(settings)
        return replace(
            rendered,
            steps="The means of the classes, in what a frozen encoder sees in the originals, were released once with "
            f"Gaussian noise. From then on no original was looked at. {rendered.steps}",
        )

    def begin(self, context: Context, class_ids: Sequence[int]) -> None:
        from medistill.methods.releasing.private_statistics import refuse_unready

        refuse_unready(context, self.settings_of(context.recipe), class_ids)

    def distil(
        self,
        context: Context,
        class_ids: Sequence[int],
        trajectories: Trajectories | None,
        origin: Mapping[str, Any],
    ) -> Distilled:
        import torch

        from medistill.methods.releasing.private_statistics import private_statistics, targets_of
        from medistill.methods.rendering.render import render
        from medistill.training.fitted_normalisation import fitted_normalisation

        settings = self.settings_of(context.recipe)
        statistics = private_statistics(context, settings, class_ids)
        targets = torch.from_numpy(targets_of(statistics, context)).float()
        made = render(
            context,
            settings,
            targets.repeat_interleave(settings.ipc, dim=0),
            None,
            torch.tensor(class_ids).repeat_interleave(settings.ipc),
            origin,
            normalisation=fitted_normalisation(context.corpus, context.recipe, context.progress),
            look=False,
        )
        return replace(made, statistics=statistics)


METHOD = PrivateMeans()
