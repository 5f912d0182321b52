"""Diffusion-patches: parts of originals that show their class, by a denoiser; not for sets that leave the house."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from medistill.methods.base import Distilled, Method, Needs
from medistill.recipe.patches import PatchesRecipe

if TYPE_CHECKING:
    from medistill.artifacts.trajectories import Trajectories
    from medistill.training.context import Context


class Settings(PatchesRecipe):
    """Diffusion-patches: parts of originals that show their class, by a denoiser; not for sets that leave the house."""

    OWN: ClassVar[tuple[str, ...]] = ("patches", "labels")

    name: Literal["diffusion-patches"] = "diffusion-patches"


class DiffusionPatches(Method[Settings]):
    """Selection of patches by a diffusion model (Zhong et al. 2024)."""

    settings_type = Settings
    needs: ClassVar[Needs] = "nothing"
    display_name = "Diffusion-patches"
    family = "patch selection"
    phrase = "selection of patches by a diffusion model (as Zhong et al. 2024 do)"
    citation = (
        "Zhong et al. 2024",
        "Zhong X, Sun S, Gu X, Xu Z, Wang Y, Zhang M, Chen B. Efficient dataset distillation via diffusion-driven "
        "patch selection for improved generalization. 2024. arXiv:2412.09959.",
    )

    def distil(
        self,
        context: Context,
        class_ids: Sequence[int],
        trajectories: Trajectories | None,
        origin: Mapping[str, Any],
    ) -> Distilled:
        from medistill.methods.patching.patch_set import patch_set

        return patch_set(context, class_ids, self.settings_of(context.recipe), origin)


METHOD = DiffusionPatches()
