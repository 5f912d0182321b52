"""What a run was started from: its checkpoints repeat it, and one of another run is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from medistill.engine.checkpoint import Origin, unusable_checkpoint
from medistill.recipe import Recipe, refuse_another_recipe, validate_recipe


def checkpoint_origin(recipe: Recipe, made_from: str) -> Origin:
    """Return what the checkpoints of a run repeat; ``made_from`` tells its experts from others."""
    return {"recipe": recipe.model_dump_json(), "made_from": made_from}


def refuse_another_run(path: Path, recipe: Recipe, made_from: str) -> Callable[[Origin], None]:
    """Return what refuses a checkpoint of a run under another recipe or with other experts.

    Args:
        path: of the checkpoint, inside the folder ``state`` of its run.
        recipe: of this run.
        made_from: as for `checkpoint_origin`.
    """

    def refuse(origin: Origin) -> None:
        """Raise UsageError where the recipe differs, with the settings by name, and ArtifactError where experts do."""
        try:
            stored = json.loads(origin["recipe"])
        except (KeyError, ValueError) as error:
            raise unusable_checkpoint(path, f"its recipe cannot be read ({error})") from None
        refuse_another_recipe(recipe, validate_recipe(stored, f"the recipe inside {path}"), path.parent.parent)
        if origin.get("made_from") != made_from:
            raise unusable_checkpoint(path, "it was made with other experts or another corpus")

    return refuse
