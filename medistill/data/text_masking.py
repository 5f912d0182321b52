"""Text masking: the step of the pipeline that paints over burnt-in text, or refuses the image that has it.

It stands apart from what finds the text, since MONAI takes seconds to load and only readers of files need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from monai.transforms import MapTransform

from medistill.data.burnt_in_text import Box, find_text, load_reader, looking_side, masked
from medistill.data.refusal import RejectedFile
from medistill.recipe import DataRecipe


class BurntInText(MapTransform):
    """Masks text other than side markers, or refuses the image, as the recipe says. Grey values 0..255, (C, H, W)."""

    def __init__(self, keys: str, recipe: DataRecipe) -> None:
        """Raises UsageError where the reader cannot be loaded; later it would look like a damaged file."""
        super().__init__(keys)
        self.policy, self.side = recipe.burnt_in_text, looking_side(recipe.image_size)
        load_reader()

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """The image without its text, and under ``masked`` in how many places there was any.

        Raises:
            RejectedFile: there is some, and the policy is to quarantine the file.
        """
        done = dict(data)
        for key in self.key_iterator(done):
            boxes = find_text(np.asarray(done[key]), side=self.side)
            if boxes and self.policy == "quarantine":
                raise RejectedFile(
                    "burnt-in text",
                    f"text other than side markers is burnt in, in {_places(boxes)} (data.burnt_in_text is quarantine)",
                )
            done[key] = masked(np.asarray(done[key]), boxes)
            done[f"{key}_meta_dict"] = {**done[f"{key}_meta_dict"], "masked": len(boxes)}
        return done


def _places(boxes: list[Box]) -> str:
    return "1 place" if len(boxes) == 1 else f"{len(boxes)} places"
