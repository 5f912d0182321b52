"""Burnt-in text: names and numbers drawn into the pixels, looked for before an image is made small.

What is read is looked at once, in memory, to tell side markers from other text. It is never kept, logged or returned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from monai.transforms import MapTransform

from medistill.artifacts.corpus import TextCheck
from medistill.data.refusal import Refused
from medistill.errors import UsageError
from medistill.recipe import DataRecipe

SIDE_MARKERS = frozenset({
    "L", "R", "LT", "RT", "LEFT", "RIGHT", "PA", "AP", "LAT", "PORTABLE", "MOBILE", "ERECT", "UPRIGHT", "SUPINE",
    "SEMI", "SEMIERECT", "SITTING", "STANDING",
})  # fmt: skip
"""Words that say how the image was taken, and nothing of the patient."""
LONGEST = 1024
"""Longer images are looked at on this scale, in pixels; the reader finds more there than on the whole scale (decision
19). Text that is lost by it is 8 pixels high or less there, which is 2 pixels in an image of 256."""


class Box(NamedTuple):
    """Rows from `top` up to `bottom`, columns from `left` up to `right`, in pixels of the file."""

    top: int
    bottom: int
    left: int
    right: int


class BurntInText(MapTransform):
    """Masks text other than side markers, or refuses the image, as the recipe says. Grey values 0..255, (C, H, W)."""

    def __init__(self, keys: str, recipe: DataRecipe) -> None:
        super().__init__(keys)
        self.policy = recipe.burnt_in_text

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """The image without its text, and under ``masked`` in how many places there was any.

        Raises:
            Refused: there is some, and the policy is to quarantine the file.
        """
        done = dict(data)
        for key in self.key_iterator(done):
            boxes = find_text(np.asarray(done[key]))
            if boxes and self.policy == "quarantine":
                raise Refused(
                    "burnt-in text",
                    f"text other than side markers is burnt in, in {_places(boxes)} (data.burnt_in_text is quarantine)",
                )
            done[key] = masked(np.asarray(done[key]), boxes)
            done[f"{key}_meta_dict"] = {**done[f"{key}_meta_dict"], "masked": len(boxes)}
        return done


def text_check(recipe: DataRecipe) -> TextCheck | None:
    """What will look for text, and what is done about it; None where the recipe does not ask.

    Raises:
        UsageError: the recipe asks, and what should look is not installed.
    """
    if recipe.burnt_in_text == "unchecked":
        return None
    try:
        name = f"RapidOCR {version('rapidocr')}, ONNX Runtime {version('onnxruntime')}"
        _models()
    except (PackageNotFoundError, FileNotFoundError):
        raise UsageError(
            f"data.burnt_in_text is {recipe.burnt_in_text}, but the text reader is not installed or without its models",
            expected="RapidOCR with the models of its wheel, and ONNX Runtime",
            do="run `pip install 'medistill[ocr]'`, or leave the text unchecked with "
            "--set data.burnt_in_text=unchecked: the report then says so",
        ) from None
    return TextCheck(by=name, policy=recipe.burnt_in_text)


def find_text(pixels: np.ndarray) -> list[Box]:
    """Where there is text other than side markers, each box grown by half its shorter side.

    Args:
        pixels: (1 or 3, H, W), 0..255.
    """
    height, width = pixels.shape[1:]
    shown = np.rint(np.clip(pixels, 0, 255)).astype(np.uint8).transpose(1, 2, 0)
    found = _reader()(np.ascontiguousarray(np.broadcast_to(shown, (height, width, 3))))
    if found.txts is None:
        return []
    boxes = []
    for corners, text in zip(np.asarray(found.boxes), found.txts, strict=True):
        if is_side_marker(text):
            continue
        (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0)) + 1
        more = max(2, min(right - left, bottom - top) // 2)
        boxes.append(
            Box(
                max(int(top - more), 0),
                min(int(bottom + more), height),
                max(int(left - more), 0),
                min(int(right + more), width),
            )
        )
    return boxes


def is_side_marker(text: str) -> bool:
    """Whether text is made of side markers alone, or has no more than one letter or digit."""
    words = re.findall(r"[^\W_]+", text.upper())
    return sum(map(len, words)) <= 1 or all(word in SIDE_MARKERS for word in words)


def masked(pixels: np.ndarray, boxes: list[Box]) -> np.ndarray:
    """A copy (C, H, W) whose boxes have the median grey of what lies around each, as far again as half its height."""
    done = np.array(pixels, copy=True)
    for box in boxes:
        rim = max(2, min(box.bottom - box.top, box.right - box.left) // 2)
        rows = slice(max(box.top - rim, 0), box.bottom + rim)
        columns = slice(max(box.left - rim, 0), box.right + rim)
        around = np.ones(done.shape[1:], bool)
        around[box.top : box.bottom, box.left : box.right] = False
        ring = around[rows, columns]
        if not ring.any():  # the box is the whole image
            ring = ~ring
        done[:, box.top : box.bottom, box.left : box.right] = np.median(done[:, rows, columns][:, ring], axis=1)[
            :, None, None
        ]
    return done


def _places(boxes: list[Box]) -> str:
    return "1 place" if len(boxes) == 1 else f"{len(boxes)} places"


def _models() -> dict[str, Path]:
    """Part of the reader -> its model in RapidOCR's wheel; given by their paths, they are never downloaded.

    Raises:
        FileNotFoundError: one is not there.
    """
    package = find_spec("rapidocr")
    if package is None or package.origin is None:
        raise FileNotFoundError("rapidocr")
    folder = Path(package.origin).parent / "models"
    found = {part: sorted(folder.glob(f"*_{part.lower()}_*.onnx")) for part in ("Det", "Cls", "Rec")}
    if any(len(files) != 1 for files in found.values()):
        raise FileNotFoundError(folder)
    return {part: files[0] for part, files in found.items()}


@cache
def _reader() -> Any:
    """The reader of this process, on one thread: files are read side by side."""
    from rapidocr import RapidOCR

    one_thread = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    models = {f"{part}.model_path": str(file) for part, file in _models().items()}
    return RapidOCR(params={"Global.log_level": "critical", "Global.max_side_len": LONGEST, **one_thread, **models})
