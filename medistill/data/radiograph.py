"""Radiograph: the MONAI reader and pipeline that turn any file into a square uint8 picture.

MONAI's own readers neither invert MONOCHROME1 nor apply look-up tables, and they transpose; so the reader is ours, and
everything after it is MONAI transforms.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.transforms import (
    CenterSpatialCrop,
    Compose,
    EnsureTyped,
    LoadImaged,
    MapTransform,
    Resize,
    SpatialPad,
)

from medistill.data.decoded import TOO_MUCH
from medistill.data.dicom_image import read_dicom
from medistill.data.equalise import Equalised
from medistill.data.grey_scale import percentiles, stretched
from medistill.data.image import FORMATS, Image
from medistill.data.nifti_image import read_nifti
from medistill.data.plain_image import format_of, read_pillow
from medistill.data.refusal import RejectedFile
from medistill.data.text_masking import BurntInText
from medistill.data.text_policy import resolve_text_policy
from medistill.data.view import view_of
from medistill.recipe import DataRecipe

DICOM_ENDINGS = (".dcm", ".dicom", ".ima", "")
NIFTI_ENDINGS = (".nii", ".nii.gz")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Brightness of red, green and blue (ITU-R BT.601)."""
MOST_BYTES = 2**30
"""Size of the largest file that is opened; the largest image that is taken needs 600 MB unpacked."""


def read_image(path: Path, recipe: DataRecipe) -> Image:
    """Read a file by what it holds; the ending decides only where the content does not.

    Raises:
        RejectedFile: it is no image, or none that can be part of a corpus.
    """
    name = path.name.lower()
    try:
        with path.open("rb") as file:
            start, length = file.read(132), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise RejectedFile("unreadable", f"it cannot be opened ({error.strerror})") from None
    if not start:
        raise RejectedFile("empty", "it holds nothing")
    if length > MOST_BYTES:
        raise RejectedFile(
            "too large", f"it has {length // 2**20} MiB, more than the {MOST_BYTES // 2**20} MiB of any image"
        )
    if start[128:] == b"DICM":
        return read_dicom(path, recipe)
    kind = format_of(start)
    if kind:
        return read_pillow(path, kind)
    if name.endswith(NIFTI_ENDINGS):
        return read_nifti(path)
    if path.suffix.lower() in DICOM_ENDINGS or path.suffix[1:].isdigit():
        return read_dicom(path, recipe)
    raise RejectedFile("not an image", f"it is not {FORMATS}")


class RadiographReader(ImageReader):
    """Gives MONAI's ``LoadImaged`` upright pixels (C, H, W) with what the file says beside them."""

    def __init__(self, recipe: DataRecipe) -> None:
        super().__init__()
        self.recipe = recipe

    def verify_suffix(self, filename: Any) -> bool:
        """Every file is tried; what it is shows in its content."""
        return True

    def read(self, data: Any, **kwargs: Any) -> Image | RejectedFile:
        """Read one file. A refusal is returned, because ``LoadImaged`` would make an error without a cause of it."""
        path = data[0] if isinstance(data, Sequence) and not isinstance(data, str) else data
        try:
            return read_image(Path(path), self.recipe)
        except RejectedFile as refused:
            return refused
        except MemoryError:
            return RejectedFile("too much memory", TOO_MUCH)

    def get_data(self, img: Image | RejectedFile) -> tuple[np.ndarray, dict[str, Any]]:
        """Pixels (C, H, W) and what MONAI calls their metadata.

        Raises:
            RejectedFile: `read` met it.
        """
        if isinstance(img, RejectedFile):
            raise img
        return img.pixels, {
            "original_channel_dim": 0,
            "spatial_shape": np.asarray(img.pixels.shape[1:]),
            "fingerprint": hashlib.sha256(np.ascontiguousarray(img.pixels).data).hexdigest(),
            "deep": img.deep,
            "padding": img.padding,
            "view": img.view,
            "view_by": img.view_by,
            "unstated": img.states_view and view_of(img.view) == "unknown",
            "patient": img.patient,
            "study": img.study,
            "sex": img.sex,
            "age": img.age,
            "synthetic": img.synthetic,
            "flags": img.flags,
            "masked": 0,
            "remarks": img.remarks,
        }


class GreyScaled(MapTransform):
    """Map grey values to 0..255: by percentiles of what is not padding where the file is deep, as stored elsewhere."""

    def __init__(self, keys: str, recipe: DataRecipe) -> None:
        super().__init__(keys)
        self.recipe = recipe
        looked_at = recipe.burnt_in_text != "unchecked"  # the reader of letters rounds what it sees, once
        self.kind = np.float64 if looked_at else np.float32

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Raises RejectedFile where all pixels are alike."""
        done = dict(data)
        for key in self.key_iterator(done):
            pixels, meta = np.ascontiguousarray(np.asarray(done[key], np.float32)), done[f"{key}_meta_dict"]
            padding = meta["padding"]
            seen = pixels[:, ~padding].reshape(-1) if padding.any() else pixels.reshape(-1)
            if seen.size == 0 or np.ptp(seen) == 0:
                raise RejectedFile("blank", "all of its pixels are alike")
            if meta["deep"]:
                low, high = percentiles(seen, [self.recipe.low_percentile, self.recipe.high_percentile])
                if high <= low:
                    low, high = float(seen.min()), float(seen.max())
                pixels = stretched(pixels, low, high, self.kind)
            else:
                pixels = np.clip(pixels, 0, 255)
            if padding.any():
                pixels[:, padding] = 0
            done[key] = pixels
        return done


class Channels(MapTransform):
    """Make grey of colour, or three channels of grey."""

    def __init__(self, keys: str, recipe: DataRecipe) -> None:
        super().__init__(keys)
        self.channels = recipe.channels

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Pixels (C, H, W) with the recipe's number of channels."""
        done = dict(data)
        for key in self.key_iterator(done):
            pixels = np.asarray(done[key], np.float32)
            if len(pixels) == 3 and self.channels == 1:
                pixels = np.tensordot(LUMA, pixels, axes=1)[None]
            elif len(pixels) == 1 and self.channels == 3:
                pixels = np.repeat(pixels, 3, axis=0)
            done[key] = pixels
        return done


class Square(MapTransform):
    """Make oblong pictures square as the recipe says, and resize: areas when shrinking, bilinear when enlarging."""

    def __init__(self, keys: str, recipe: DataRecipe) -> None:
        super().__init__(keys)
        self.fit, self.size = recipe.fit, recipe.image_size

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Pixels (C, size, size)."""
        done = dict(data)
        for key in self.key_iterator(done):
            pixels = done[key]
            height, width = pixels.shape[1:]
            if self.fit == "pad":
                pixels = SpatialPad([max(height, width)] * 2)(pixels)
            elif self.fit == "crop":
                pixels = CenterSpatialCrop([min(height, width)] * 2)(pixels)
            mode = "area" if min(pixels.shape[1:]) >= self.size else "bilinear"
            done[key] = Resize([self.size] * 2, mode=mode)(pixels)
        return done


def as_seen(recipe: DataRecipe) -> list[Any]:
    """The steps from ``{"image": path}`` to float pixels (C, H, W) in 0..255 as the file has them, under ``image``."""
    return [
        LoadImaged("image", reader=RadiographReader(recipe), image_only=False, ensure_channel_first=False),
        GreyScaled("image", recipe),
    ]


def radiograph_pipeline(recipe: DataRecipe) -> Compose:
    """From ``{"image": path}`` to float pixels (C, size, size) in 0..255 under ``image``."""
    recipe = resolve_text_policy(recipe)
    return Compose(
        [
            *as_seen(recipe),
            *([] if recipe.burnt_in_text == "unchecked" else [BurntInText("image", recipe)]),
            Channels("image", recipe),
            EnsureTyped("image", track_meta=False),
            Square("image", recipe),
            *([Equalised("image")] if recipe.equalise else []),
        ]
    )
