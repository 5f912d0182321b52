"""How long a large radiograph is read, beside its codec alone, in the same run.

    python -m tests.bench.reading [--side 3000] [--size 224] [--rounds 5]

The pixels are a phantom's, enlarged, with the noise of a detector: 12 bits, or 8 where the coding holds no more. Codec
alone means: opening the file and making an array of what it stores, by the same library that the reading uses. Reading
means the whole of it, to (1, size, size) uint8, without looking for text. Turns change after every round, so that a
machine that others use slows both alike; the ratio is the median of the rounds' ratios. The last column is SHA-256 of
what was read, by which two states of the code are compared. Markdown.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

import gdcm
import numpy as np
import torch
from PIL import Image as Pillow
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from medistill.data.phantom_dicom import BITS, SITES, PhantomImage, PhantomPatient, phantom_dataset
from medistill.data.phantom_drawing import FINDINGS, Exposure, Habitus, draw_phantom
from medistill.data.radiograph import radiograph_pipeline
from medistill.recipe import DataRecipe

GOAL = 1.3
"""The whole reading is to take no more than so many times its codec."""
DRAWN = 500
"""Pixels a side that are drawn; the rest is enlargement and noise."""
NOISE = 0.01
"""Standard deviation of the noise of a pixel, of the whole range."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=3000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = radiograph_pipeline(DataRecipe(image_size=asked.size, burnt_in_text="unchecked"))

    def read(path: Path) -> np.ndarray:
        return np.rint(np.clip(np.asarray(pipeline({"image": str(path)})["image"]), 0, 255)).astype(np.uint8)

    sys.stdout.write(f"{asked.side} x {asked.side} pixels to {asked.size} x {asked.size}, one thread\n\n")
    sys.stdout.write(
        "| coding | MB | codec, ms | reading, ms | more, ms | ratio | read |\n|---|---|---|---|---|---|---|\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, (path, codec) in written(Path(folder), phantom(asked.side)).items():
            alone, whole = in_turns([partial(codec, path), partial(read, path)], asked.rounds)
            ratio = statistics.median(b / a for a, b in zip(alone, whole, strict=True))
            more = statistics.median(b - a for a, b in zip(alone, whole, strict=True))
            digest = hashlib.sha256(read(path).tobytes()).hexdigest()[:12]
            sys.stdout.write(
                f"| {name} | {path.stat().st_size / 1e6:.1f} | {1e3 * statistics.median(alone):.0f} "
                f"| {1e3 * statistics.median(whole):.0f} | {1e3 * more:.0f} "
                f"| {ratio:.2f}{'' if ratio <= GOAL else ' (above the goal)'} | {digest} |\n"
            )
            sys.stdout.flush()


def in_turns(passes: list[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of every pass in every round; the first round, which loads what is loaded late, is not counted."""
    seconds: list[list[float]] = [[] for _ in passes]
    for n in range(rounds + 1):
        order = list(enumerate(passes))
        for index, run in order if n % 2 else reversed(order):
            start = time.perf_counter()
            run()
            if n:
                seconds[index].append(time.perf_counter() - start)
    return seconds


def phantom(side: int) -> np.ndarray:
    """A drawn radiograph (side, side) from 0 to 1."""
    rng = np.random.default_rng(0)
    drawn = draw_phantom(
        Habitus.draw(rng, sex="F"), Exposure.draw(rng, supine=False), FINDINGS[-1], 0.5, DRAWN, rng, rng
    )
    large = np.asarray(Pillow.fromarray(drawn.astype(np.float32)).resize((side, side), Pillow.Resampling.BICUBIC))
    return np.clip(large + rng.normal(0, NOISE, large.shape), 0, 1)


def written(folder: Path, grey: np.ndarray) -> dict[str, tuple[Path, Callable[[Path], np.ndarray]]]:
    """A file of each coding, with what reads its stored values and no more."""
    rng = np.random.default_rng(1)
    of = PhantomImage(PhantomPatient.draw(rng), SITES[0], "PA", False, "20200101", "1", "1", "1")
    plain = folder / "plain.dcm"
    data = phantom_dataset(grey, of)
    data.save_as(plain, enforce_file_format=True)
    files: dict[str, tuple[Path, Callable[[Path], np.ndarray]]] = {"DICOM, uncompressed": (plain, dicom_codec)}
    reader, change = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax()
    reader.SetFileName(str(plain))
    reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(folder / "lossless.dcm"))
    writer.Write()
    files["DICOM, JPEG lossless"] = (folder / "lossless.dcm", dicom_codec)
    data.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg")
    data.save_as(folder / "2000.dcm", enforce_file_format=True)
    files["DICOM, JPEG 2000 lossless"] = (folder / "2000.dcm", dicom_codec)
    stored = dcmread(plain).pixel_array
    files["DICOM, JPEG baseline, 8 bits"] = (baseline(folder, dcmread(plain), stored), dicom_codec)
    Pillow.fromarray((stored << (16 - BITS)).astype(np.uint16)).save(folder / "deep.png")
    files["PNG, 16 bits"] = (folder / "deep.png", pillow_codec)
    Pillow.fromarray((stored >> (BITS - 8)).astype(np.uint8)).save(folder / "plain.jpg", quality=95)
    files["JPEG, 8 bits"] = (folder / "plain.jpg", pillow_codec)
    return files


def baseline(folder: Path, data: Dataset, stored: np.ndarray) -> Path:
    """The same picture in 8 bits of JPEG baseline."""
    coded = BytesIO()
    Pillow.fromarray((stored >> (BITS - 8)).astype(np.uint8)).save(coded, "JPEG", quality=95)
    data.PixelData = encapsulate([coded.getvalue()])
    data["PixelData"].is_undefined_length = True
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit = 7
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.save_as(folder / "baseline.dcm", enforce_file_format=True)
    return folder / "baseline.dcm"


def dicom_codec(path: Path) -> np.ndarray:
    """What a DICOM file stores, by pydicom and the decoders it finds."""
    data = dcmread(path)
    return get_decoder(data.file_meta.TransferSyntaxUID).as_array(data, raw=True)[0]


def pillow_codec(path: Path) -> np.ndarray:
    """What a picture's file stores, by Pillow."""
    with Pillow.open(path) as opened:
        return np.asarray(opened)


if __name__ == "__main__":
    main()
