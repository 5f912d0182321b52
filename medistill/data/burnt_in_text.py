"""Burnt-in text: names and numbers drawn into the pixels, looked for before an image is made small.

What is read is looked at once, in memory, to tell side markers from other text. It is never kept, logged or returned.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from medistill.artifacts.text_check import TextCheck
from medistill.data.side_markers import is_side_marker, words_of
from medistill.errors import UsageError
from medistill.recipe import DataRecipe

RULES = 3
"""Version of what is looked for and masked; raise it when the same image comes to another mask by the same reader."""
LEGIBLE_SIDE = 64
"""Shorter side of an image of a set, in pixels, from which burnt-in letters are taken to be legible in it: those that
are a sixteenth of its height or more are. Below, only letters of a twelfth and more were (decision 26)."""
SCALE = 4
"""So many times as large as in the set an image is looked at: letters that are 3 pixels high there are 12 then."""
COARSEST, FINEST = 256, 1024
"""Bounds of that, in pixels of the shorter side."""
USUAL = 736
"""Shorter side on which the reader looks at an image by itself, whatever becomes of it."""
LONGEST = 2 * FINEST
"""The longer side is never brought to more pixels than this."""
LEGIBLE = 0.5
"""Score (0..1) from which a reading is believed, as RapidOCR does."""
OBLONG = 3
"""Long by short side from which a box holds several letters, even where they cannot be read."""
LARGE = 0.25
"""Share of the image's shorter side; what is higher is no line of text (ribs are taken for one), unless it is read as
surely as `PLAIN`, of three letters and more."""
PLAIN = 0.9
"""Score (0..1) at which even what is as large as ribs is letters."""
Kind = Literal["words", "numbers", "unread"]
"""What a box holds: letters that could be read, digits alone, or what looks like a line and cannot be read."""


class Box(NamedTuple):
    """Rows from `top` up to `bottom`, columns from `left` up to `right`, in pixels of the file."""

    top: int
    bottom: int
    left: int
    right: int


class Reading(NamedTuple):
    """Text other than side markers: where it is, how surely it is read (0..1), of how many letters and digits, and of
    which kind it is. Never what it says."""

    box: Box
    score: float
    letters: int
    kind: Kind = "words"


def can_carry_letters(height: int, width: int) -> bool:
    """Whether letters that were burnt into an original may still be read in an image of this size."""
    return min(height, width) >= LEGIBLE_SIDE


def too_small_for_letters(size: str) -> str:
    """Why letters are not looked for in smaller images: not that none could be there. ``size`` as in "32 x 32"."""
    return f"images of {size} pixels are too small for letters below a twelfth of their height"


def looking_side(image_size: int) -> int:
    """Shorter side, in pixels, on which an original is looked at that becomes so large an image of a set."""
    return min(max(SCALE * image_size, COARSEST), FINEST)


def text_check(recipe: DataRecipe) -> TextCheck | None:
    """What will look for text, and what is done about it; None where nothing will.

    Args:
        recipe: from `resolve_text_policy`.

    Raises:
        UsageError: the recipe asks, and what should look is not installed.
    """
    if recipe.burnt_in_text == "unchecked":
        return None
    name = reader_name()
    if name is None:
        raise UsageError(
            f"data.burnt_in_text is {recipe.burnt_in_text}, but the text reader is not installed or without its models",
            expected="RapidOCR with the models of its wheel, and ONNX Runtime",
            do="run `pip install 'medistill[ocr]'`, or leave the text unchecked with "
            "--set data.burnt_in_text=unchecked: the report then says so",
        )
    return TextCheck(by=name, policy="mask" if recipe.burnt_in_text == "mask" else "quarantine")


def reader_name() -> str | None:
    """What looks for text here, with its versions; None where it or a model of it is not installed."""
    try:
        name = f"RapidOCR {version('rapidocr')}, ONNX Runtime {version('onnxruntime')}"
        _models()
    except (PackageNotFoundError, FileNotFoundError):
        return None
    return name


def find_text(pixels: np.ndarray, *, side: int = USUAL) -> list[Box]:
    """Where there is text other than side markers, each box grown by half its shorter side.

    Args:
        pixels: (1 or 3, H, W), 0..255.
        side: pixels of the shorter side on which it is looked at.
    """
    return [reading.box for reading in find_readings(pixels, side=side)]


def find_readings(pixels: np.ndarray, *, side: int = USUAL) -> list[Reading]:
    """The same with how surely and how much is read in each, and its kind."""
    height, width = pixels.shape[1:]
    readings = []
    for corners, text, score in _read(pixels, side):
        plain, letters = score >= PLAIN, sum(map(len, words_of(text)))
        ribs = _sides(corners).min() > LARGE * min(height, width) and not (plain and letters > 2)
        if ribs or not is_telling(text, score, corners):
            continue
        (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0)) + 1
        more = max(2, min(right - left, bottom - top) // 2)
        box = Box(
            max(int(top - more), 0),
            min(int(bottom + more), height),
            max(int(left - more), 0),
            min(int(right + more), width),
        )
        readings.append(Reading(box, float(score), letters, _kind(text, score)))
    return readings


def is_telling(text: str, score: float, corners: np.ndarray) -> bool:
    """Whether a box holds text other than side markers.

    What cannot be read may be a name in another script, so an oblong box counts then; others are ribs or one letter.

    Args:
        text: what was read in it.
        score: how sure the reading is, 0..1.
        corners: (4, 2), in the order along its edge.
    """
    if _is_read(text, score):
        return not is_side_marker(text)
    sides = _sides(corners)
    return bool(sides.max() >= OBLONG * sides.min())


def _is_read(text: str, score: float) -> bool:
    """Whether a reading is believed, and of more than one letter."""
    return score >= LEGIBLE and sum(map(len, words_of(text))) > 1


def _kind(text: str, score: float) -> Kind:
    if not _is_read(text, score):
        return "unread"
    return "words" if any(letter.isalpha() for letter in text) else "numbers"


def _sides(corners: np.ndarray) -> np.ndarray:
    """Lengths of two neighbouring sides of a box."""
    return np.linalg.norm(corners[1:3] - corners[:2], axis=1)


def masked(pixels: np.ndarray, boxes: list[Box]) -> np.ndarray:
    """A copy (C, H, W) whose boxes have the median grey of what lies around each, as far again as half its height."""
    done = np.array(pixels, copy=True)
    for box in boxes:
        rim = max(2, min(box.bottom - box.top, box.right - box.left) // 2)
        top, left = max(box.top - rim, 0), max(box.left - rim, 0)
        near = done[:, top : box.bottom + rim, left : box.right + rim]
        ring = np.ones(near.shape[1:], bool)
        ring[box.top - top : box.bottom - top, box.left - left : box.right - left] = False
        if not ring.any():  # the box is the whole image
            ring = ~ring
        done[:, box.top : box.bottom, box.left : box.right] = np.median(near[:, ring], axis=1)[:, None, None]
    return done


def _models() -> dict[str, Path]:
    """Part of the reader -> its model in RapidOCR's wheel; given by their paths, they are never downloaded.

    Others that were fetched into the same folder are left alone.

    Raises:
        PackageNotFoundError: RapidOCR is not installed.
        FileNotFoundError: a model is not there.
    """
    wheel = files("rapidocr") or []
    found = {part: [f for f in wheel if f.match(f"models/*_{part.lower()}_*.onnx")] for part in ("Det", "Cls", "Rec")}
    models = {part: Path(str(listed[0].locate())) for part, listed in found.items() if len(listed) == 1}
    if len(models) < len(found) or not all(model.is_file() for model in models.values()):
        raise FileNotFoundError("rapidocr/models")
    return models


@cache
def load_reader() -> Any:
    """The reader of this process, on one thread: files are read side by side.

    Raises:
        UsageError: it is installed, and cannot be loaded.
    """
    one_thread = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    try:
        import cv2
        from rapidocr import RapidOCR

        cv2.setNumThreads(1)
        models = {f"{part}.model_path": str(file) for part, file in _models().items()}
        as_given = {"Global.log_level": "critical", "Det.limit_side_len": 32}  # `_scaled` has chosen the size
        reader = RapidOCR(params={**as_given, **one_thread, **models})
        for use_det in (False, True):  # it loads a model when it first needs it
            reader(np.zeros((32, 32, 3), np.uint8), use_det=use_det)
    except Exception as error:  # noqa: BLE001  # a missing system library, a damaged model: each has its own kind
        raise UsageError(
            f"the text reader that data.burnt_in_text asks for cannot be loaded ({type(error).__name__})",
            expected="RapidOCR with the models of its wheel, and ONNX Runtime, that work on this machine",
            do="run `pip install --force-reinstall rapidocr onnxruntime`, or leave the text unchecked with "
            "--set data.burnt_in_text=unchecked: the report then says so",
        ) from None
    return reader


def _read(pixels: np.ndarray, side: int) -> list[tuple[np.ndarray, str, float]]:
    """Corners (4, 2), column and row, of each box that looks like text, what is read in it, and how surely (0..1).

    In steps, since RapidOCR as a whole leaves out the boxes that it cannot read. Finding them takes the time, so it is
    done on as few pixels as will do; letters are read on more.
    """
    from rapidocr.utils.process_img import get_rotate_crop_image

    height, width = pixels.shape[1:]
    shown = np.rint(np.clip(pixels, 0, 255)).astype(np.uint8).transpose(1, 2, 0)
    image = np.ascontiguousarray(np.broadcast_to(shown, (height, width, 3)))
    coarse = _scaled(image, side)
    boxes = load_reader().text_det(coarse).boxes
    if boxes is None:
        return []
    shares = np.asarray(boxes, np.float32) / _width_height(coarse)
    fine = _scaled(image, min(max(*image.shape[:2], side), FINEST))
    crops = [get_rotate_crop_image(fine, corners) for corners in shares * _width_height(fine)]
    upright, _ = load_reader().cls_and_rotate(crops)
    read = load_reader().recognize_txt(upright)
    corners = np.clip(shares, 0, 1) * _width_height(image)
    return list(zip(corners, read.txts, read.scores, strict=True))


def _scaled(image: np.ndarray, side: int) -> np.ndarray:
    """An image (H, W, 3) whose shorter side has so many pixels, or whose longer one has `LONGEST`, if that is less."""
    import cv2

    height, width = image.shape[:2]
    factor = min(side / min(height, width), LONGEST / max(height, width))
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR))


def _width_height(image: np.ndarray) -> np.ndarray:
    return np.array(image.shape[1::-1], np.float32)
