"""Letters: whether text can be read in a distilled set, how well the reader sees it there, what the originals share.

A name that was burnt into originals is no copy of an image, and no attack on membership finds it: a person reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medistill.data.burnt_in_text import Reading

SURE = 0.6
"""Score (0..1) from which letters in a distilled image count (decision 27)."""
LEAST_LETTERS = 3
"""Letters and digits in one place that count; fewer are read into ribs and noise (decision 27)."""
WORD = "QX 4711 ZW"
"""What is planted: nobody's name."""
HEIGHT = 1 / 12
"""Of the planted capitals, as a share of the shorter side."""
CONTRASTS = (15, 30, 60)
"""Grey levels (of 255) by which the planted word is brighter than what lies behind it."""
PLANTED = 6
"""Images in which it is planted, at most."""
COVERED = 0.5
"""Share of the planted strokes that must lie in what is found."""
Reader = Callable[[np.ndarray], list[Reading]]
"""From grey values (C, H, W), 0..255, to the text other than side markers."""
Seen = Literal["image", "mean of a class", "mean of the set"]


@dataclass(frozen=True)
class Letters:
    """Where letters were read; never what they say, which may be a name.

    Attributes:
        seen: in one image, in the mean of a class, or in the mean of all images.
        number: of the image in the set, or of the class, from 0; 0 for the mean of the set.
        places: how many.
        letters: letters and digits in all of them.
        sure: how surely those of the surest place were read, 0 to 1.
    """

    seen: Seen
    number: int
    places: int
    letters: int
    sure: float


@dataclass(frozen=True)
class PlantedWord:
    """Whether the reader finds a word that was planted in the set's own images: how well it sees there.

    Attributes:
        contrast: grey levels of 255 by which the word is brighter than what lies behind it.
        images: in how many it was planted.
        found: in how many of them it was found.
        in_mean: whether it was found in their mean.
    """

    contrast: int
    images: int
    found: int
    in_mean: bool


@dataclass(frozen=True)
class Overlay:
    """What nearly all training images of a site share at one place, such as a banner, and whether the set has it.

    Attributes:
        site: its name.
        images: training images that were averaged; None where the site has too few patients to be shown.
        share: of the pixels that belong to it; None likewise.
        letters: letters and digits that are read in it; None likewise, or where no reader is installed.
        likeness: largest correlation of it with the mean of a class of the set, at that place; None where there is no
            overlay.
        chance: largest share of the places elsewhere in the image at which it fits that mean as well; None likewise.
    """

    site: str
    images: int | None
    share: float | None
    letters: int | None
    likeness: float | None
    chance: float | None


@dataclass(frozen=True)
class TextFigures:
    """What of burnt-in text was looked for, and found.

    Attributes:
        side: shorter side of the set's images, in pixels.
        legible: whether images of that size can carry letters.
        originals: what looked through the originals before the set was made; empty where nothing did.
        policy: what was done there about text: "mask" or "quarantine"; empty likewise.
        drawn_here: the originals are the phantoms that medistill draws, which carry no text.
        reader: what read the set; empty where none is installed, or the images cannot carry letters.
        images: distilled images that were read.
        found: where letters other than side markers were read.
        planted: how well the reader sees on these images.
        overlays: what the training images of each site share.
    """

    side: int
    legible: bool
    originals: str
    policy: str
    drawn_here: bool
    reader: str
    images: int
    found: tuple[Letters, ...]
    planted: tuple[PlantedWord, ...]
    overlays: tuple[Overlay, ...]

    @property
    def originals_cleared(self) -> bool:
        """Whether nothing legible can come from the originals by what was done before the set was made."""
        return bool(self.originals) or self.drawn_here or not self.legible

    @property
    def clean(self) -> bool:
        """Whether text was looked for in originals and set and none is left, or the images cannot carry any."""
        if not self.legible:
            return True
        read = bool(self.reader) and sees(self.planted)
        return self.originals_cleared and read and not self.found and not any(map(legible_in_set, self.overlays))


def read_set(viewable: np.ndarray, labels: np.ndarray, read: Reader) -> tuple[Letters, ...]:
    """Letters in each image, in the mean of each class and in that of all, where what all share stands out.

    Args:
        viewable: uint8 (N, C, H, W).
        labels: (N,).
    """
    looked: list[tuple[Seen, int, np.ndarray]] = [("image", k, image) for k, image in enumerate(viewable)]
    looked += [("mean of a class", int(c), mean_of(viewable[labels == c])) for c in np.unique(labels)]
    looked.append(("mean of the set", 0, mean_of(viewable)))
    told = []
    for seen, number, picture in looked:
        found = counted(read(picture))
        if found:
            sure = max(one.score for one in found)
            told.append(Letters(seen, number, len(found), sum(one.letters for one in found), round(sure, 2)))
    return tuple(told)


def counted(readings: Sequence[Reading]) -> list[Reading]:
    """Those that count: sure enough, and of letters enough."""
    return [one for one in readings if one.score >= SURE and one.letters >= LEAST_LETTERS]


def mean_of(images: np.ndarray) -> np.ndarray:
    """Mean image, its grey values stretched to 0..255: what all share is faint beside the range of one."""
    mean = images.mean(axis=0, dtype=np.float64)
    low, high = np.percentile(mean, (0.5, 99.5))
    return np.asarray(np.clip((mean - low) * 255 / max(high - low, 1), 0, 255), np.float32)


def planted_words(viewable: np.ndarray, read: Reader) -> tuple[PlantedWord, ...]:
    """How often the reader finds a word in images of this very set, by contrast."""
    chosen = viewable[np.unique(np.linspace(0, len(viewable) - 1, min(PLANTED, len(viewable))).astype(int))]
    strokes = planted_strokes(*viewable.shape[2:])
    told = []
    for contrast in CONTRASTS:
        written = np.clip(chosen + contrast * strokes, 0, 255).astype(np.float32)
        found = sum(_covers(counted(read(image)), strokes) for image in written)
        in_mean = _covers(counted(read(mean_of(written))), strokes)
        told.append(PlantedWord(contrast, len(chosen), found, in_mean))
    return tuple(told)


def sees(planted: Sequence[PlantedWord]) -> bool:
    """Whether the reader finds the strongest of the planted words, in half of the images or in their mean."""
    strongest = max(planted, key=lambda one: one.contrast, default=None)
    return strongest is not None and (2 * strongest.found >= strongest.images or strongest.in_mean)


def legible_in_set(overlay: Overlay) -> bool:
    """Whether an overlay of the originals that holds letters is in the set, fitting nowhere else as well."""
    there = overlay.chance is not None and overlay.chance <= 0.01 and (overlay.likeness or 0) >= 0.5
    return bool(overlay.letters) and there


def planted_strokes(height: int, width: int) -> np.ndarray:
    """Float32 (H, W), 1 where the letters of `WORD` are, 0 elsewhere, in Pillow's own font."""
    capital = max(5, round(HEIGHT * min(height, width)))
    font = ImageFont.load_default(round(capital / 0.7))
    picture = Image.new("L", (width, height))
    ImageDraw.Draw(picture).text((width // 16, 3 * height // 4), WORD, fill=255, font=font)
    return np.asarray(picture, np.float32) / 255


def _covers(readings: Sequence[Reading], strokes: np.ndarray) -> bool:
    inside = np.zeros(strokes.shape, bool)
    for reading in readings:
        inside[reading.box.top : reading.box.bottom, reading.box.left : reading.box.right] = True
    drawn = strokes > 0.5
    return bool((inside & drawn).sum() >= COVERED * drawn.sum())
