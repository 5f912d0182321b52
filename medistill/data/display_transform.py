"""Display transform: from stored values to brightness, in the order of the standard (PS3.3, C.11; PS3.4, N.2).

Modality LUT or rescaling, then VOI LUT or window, then one inversion. What cannot be applied is left out, the next one
takes its place, and a note says so: a header that is wrong in it does not make an image unreadable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut
from pydicom.uid import ExplicitVRBigEndian

from medistill.data.dicom_view import items_of
from medistill.data.look_up_table import BadTableError, LookUpTable, table_of
from medistill.data.refusal import RejectedFile
from medistill.data.remark import LEFT_OUT, Remark
from medistill.data.stored_values import Stored
from medistill.recipe import DataRecipe

INSTEAD = "its values were taken without"
EMPTY_BITS = 2
"""A colour whose brightest sample leaves as many of its bits empty was stored with fewer than its header says."""
Made = TypeVar("Made")
Transform = tuple[str, Callable[[], np.ndarray]]
"""What a header calls it, and what applies it."""


class UnusableError(ValueError):
    """A transform that cannot be applied; its words tell of its form alone."""


def display_values(
    stored: Stored, header: Dataset, padding: np.ndarray, recipe: DataRecipe
) -> tuple[np.ndarray, bool, tuple[Remark, ...]]:
    """Brightness of what a file stores.

    Args:
        padding: bool (H, W), where nothing was seen.

    Returns:
        Float32 (C, H, W), C 1 or 3; whether the grey scale has still to be found; what was left out.

    Raises:
        RejectedFile: a palette is missing, without which nothing can be seen.
    """
    if stored.photometric == "PALETTE COLOR":
        return _palette(stored, header), False, ()
    if stored.values.ndim == 3:
        return _colour(stored), False, ()
    values, remarks, ready = _modality(stored, header)
    shown, more = _voi(values, header, padding, recipe, ready=ready)
    remarks += more
    same = shown is None and values.min() == stored.values.min() and values.max() == stored.values.max()
    deep = not (same and stored.place.stored == 8)
    values = values if shown is None else shown
    if not deep:
        values = values - stored.place.lowest
    inverse = str(header.get("PresentationLUTShape", "")).strip().upper() == "INVERSE"
    if stored.photometric == "MONOCHROME1" or inverse:
        values = values.max() + values.min() - values if deep else 255 - values
    return values.astype(np.float32)[None], deep, remarks


def _modality(stored: Stored, header: Dataset) -> tuple[np.ndarray, tuple[Remark, ...], bool]:
    """Values after the modality LUT or the rescaling.

    Returns:
        Float64 (H, W); what was left out; whether these values are those that a VOI LUT and a window are for.
    """
    values, left, done = stored.values.astype(np.float64), [], None
    rescaled = any(_all(header, name) for name in ("RescaleSlope", "RescaleIntercept"))
    tries: list[Transform] = []
    if header.get("ModalityLUTSequence"):
        tries.append(("modality LUT", lambda: _modality_table(header).applied(values, stored.place.highest)))
    if rescaled:
        tries.append(("rescaling", lambda: _rescaled(values, header)))
    for name, transform in tries:
        try:
            done = np.asarray(_attempt(transform), np.float64)
            break
        except UnusableError as error:
            left.append(f"its {name} was left out, for {error}")
    ready = done is not None or not tries
    return (
        values if done is None else done,
        _left_out(left, INSTEAD if done is None else "its rescaling was taken"),
        ready,
    )


def _rescaled(values: np.ndarray, header: Dataset) -> np.ndarray:
    """Values by RescaleSlope and RescaleIntercept (PS3.3, C.11.1.1.2); one that is missing changes nothing."""
    slope, intercept = _number(header, "RescaleSlope", default=1), _number(header, "RescaleIntercept", default=0)
    done = values * slope + intercept
    taken = done.astype(np.float32)
    if not np.isfinite(taken).all():
        raise UnusableError("what it gives is not finite")
    if taken.max() == taken.min() and values.max() > values.min():
        raise UnusableError("it leaves no values that differ")
    return done


def _voi(
    values: np.ndarray, header: Dataset, padding: np.ndarray, recipe: DataRecipe, *, ready: bool
) -> tuple[np.ndarray | None, tuple[Remark, ...]]:
    """The first of the display transforms that the recipe asks for that can be applied and shows something."""
    tries: list[Transform] = []
    highest = float(values.max())

    def table(item: Dataset) -> Transform:
        return "VOI LUT", lambda: table_of(item, big_endian=_big_endian(header)).applied(values, highest)

    def window(n: int) -> Transform:
        return "window", lambda: windowed(values, header, n)

    if recipe.voi in ("auto", "lut"):
        none_usable = [Dataset()] * bool(header.get("VOILUTSequence"))
        tries += [table(item) for item in items_of(header, "VOILUTSequence") or none_usable]
    if recipe.voi in ("auto", "window"):
        tries += [window(n) for n in range(max(len(_all(header, name)) for name in ("WindowCenter", "WindowWidth")))]
    if tries and not ready:
        return None, _left_out([f"its {tries[0][0]} was left out, for it is for what that would give"], INSTEAD)
    left: list[str] = []
    for name, transform in tries:
        try:
            shown = np.asarray(_attempt(transform), np.float64)
            if _spread(shown, padding) == 0 and _spread(values, padding) > 0:  # not what anybody meant
                raise UnusableError("it shows nothing")
        except UnusableError as error:
            left.append(f"its {name} was left out, for {error}")
        else:
            return shown, _left_out(
                left, f"another {name} was taken" if name in "; ".join(left) else f"its {name} was taken"
            )
    return None, _left_out(left, INSTEAD)


def _left_out(left: list[str], instead: str) -> tuple[Remark, ...]:
    """One note for whatever was left out in favour of something."""
    return (Remark(LEFT_OUT, "; ".join([*dict.fromkeys(left), instead])),) if left else ()


def windowed(values: np.ndarray, header: Dataset, n: int = 0) -> np.ndarray:
    """Values from 0 to 1 by the nth window of a header (PS3.3, C.11.2.1.2 and 3).

    Raises:
        UnusableError: it has no centre, no width that its function can have, or an unknown function.
    """
    centre, width = _number(header, "WindowCenter", n), _number(header, "WindowWidth", n)
    function = str(header.get("VOILUTFunction") or "LINEAR").strip().upper().replace(" ", "_")
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise UnusableError("it has an unknown VOILUTFunction")
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise UnusableError(f"it has a width of {width:g}, which a {function} window cannot have")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (values > centre).astype(np.float64)
    return np.clip((values - centre) / width + 0.5, 0, 1)


def padded(stored: Stored, header: Dataset) -> np.ndarray:
    """Bool (H, W): where the stored value is PixelPaddingValue, or lies between it and PixelPaddingRangeLimit.

    Their elements need not have the sign that the pixels have.
    """
    nowhere = np.zeros(stored.values.shape[:2], bool)
    said = [header.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    limits = [stored.place.value_of(number) for number in said if isinstance(number, int)]
    usable = [limit for limit in limits if limit is not None]
    if stored.values.ndim == 3 or not isinstance(said[0], int) or not usable or limits[0] is None:
        return nowhere
    return (stored.values >= min(usable)) & (stored.values <= max(usable))


def _colour(stored: Stored) -> np.ndarray:
    """Float32 (3, H, W) in 0..255."""
    values = stored.values.astype(np.float32) - stored.place.lowest
    full = (1 << stored.place.stored) - 1
    if stored.photometric in ("YBR_FULL", "YBR_FULL_422"):
        values = _rgb(values, full)
    return _full(values, stored.place.stored).transpose(2, 0, 1)


def _rgb(ybr: np.ndarray, full: int) -> np.ndarray:
    """YBR_FULL (H, W, 3) as RGB, in the same range 0..``full`` (PS3.3, C.7.6.3.1.2)."""
    luma, blue, red = (ybr[..., n] - (0 if n == 0 else (full + 1) // 2) for n in range(3))
    rgb = np.stack([luma + 1.402 * red, luma - 0.114 * 1.772 / 0.587 * blue - 0.299 * 1.402 / 0.587 * red,
                    luma + 1.772 * blue], axis=-1)  # fmt: skip
    return np.clip(np.floor(rgb + 0.5), 0, full)


def _full(values: np.ndarray, bits: int) -> np.ndarray:
    """Values of so many bits in 0..255, by the bits that are used where the uppermost ones of more than 8 are empty."""
    used = int(values.max()).bit_length()
    bits = max(used, 8) if used <= bits - EMPTY_BITS else bits
    return values if bits == 8 else values * np.float32(255 / ((1 << bits) - 1))


def _palette(stored: Stored, header: Dataset) -> np.ndarray:
    """Float32 (3, H, W) in 0..255."""
    names = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
    try:
        if f"{names[0]}Data" in header:
            tables = [_palette_table(header, name) for name in names]
            colour = np.stack([table.applied(stored.values, stored.place.highest) for table in tables], axis=-1)
            bits = max(table.bits for table in tables)
        else:
            colour = apply_color_lut(stored.values, header)
            bits = 8 * colour.dtype.itemsize
    except Exception as error:  # noqa: BLE001  # palettes out of shape fail in many ways
        raise RejectedFile("unreadable", f"its palette cannot be applied ({type(error).__name__})") from None
    return _full(colour[..., :3].astype(np.float32), bits).transpose(2, 0, 1)


def _palette_table(header: Dataset, name: str) -> LookUpTable:
    return table_of(header, big_endian=_big_endian(header), descriptor=f"{name}Descriptor", data=f"{name}Data")


def _modality_table(header: Dataset) -> LookUpTable:
    return table_of(header.ModalityLUTSequence[0], big_endian=_big_endian(header))


def _attempt(make: Callable[[], Made]) -> Made:
    """What ``make`` gives; whatever stops it is an `UnusableError`, whose words quote nothing of the header."""
    try:
        return make()
    except (UnusableError, MemoryError):
        raise
    except BadTableError as error:
        raise UnusableError(str(error)) from None
    except Exception as error:  # noqa: BLE001  # elements out of shape fail in many ways
        raise UnusableError(f"it is out of shape ({type(error).__name__})") from None


def _all(header: Dataset, name: str) -> list[Any]:
    """The values of an element, none where it is empty."""
    said = header.get(name)
    return [] if said in (None, "") else list(said) if isinstance(said, MultiValue) else [said]


def _number(header: Dataset, name: str, n: int = 0, *, default: float | None = None) -> float:
    """The nth value of an element, or ``default`` where there is none.

    Raises:
        UnusableError: it is no finite number, or is not there.
    """
    said = _all(header, name)
    if n >= len(said) and default is not None:
        return default
    try:
        number = float(said[n])
    except (IndexError, TypeError, ValueError):
        raise UnusableError(f"it has no {name} that is a number") from None
    if not np.isfinite(number):
        raise UnusableError(f"its {name} is not finite")
    return number


def _spread(values: np.ndarray, padding: np.ndarray) -> float:
    """Difference of the largest and the smallest value of what was seen."""
    seen = values[~padding]
    return float(np.ptp(seen)) if seen.size else 0.0


def _big_endian(header: Dataset) -> bool:
    return header.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
