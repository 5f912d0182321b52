"""Burnt-in text: words in Pillow's own font on grey grounds are masked or refused, and markers left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from medistill.data import burnt_in_text
from medistill.data.burnt_in_text import Box, find_readings, find_text, is_side_marker, is_telling, masked, text_check
from medistill.data.decoding import decode, decode_chunk
from medistill.errors import UsageError
from medistill.progress import Silent
from medistill.recipe import DataRecipe
from tests.factories.burnt_in import SOMEBODY, ground, needs_reader, strokes, written


@pytest.mark.parametrize(
    "text",
    [
        "R",
        "l",
        "LEFT",
        "PA",
        "AP portable",
        "Erect L",
        "(R)",
        "8",
        "",
        "--",
        "SEMI-ERECT",
        "DCHA.",
        "liegend",
        "LIGGEND",
        "legend",
        "PORTABLI",
        "Decubito supino",
    ],
)
def test_side_markers(text: str) -> None:
    assert is_side_marker(text)


@pytest.mark.parametrize(
    "text",
    [
        "MEIER",
        "R MEIER",
        "L 1943",
        "RL",
        "J D",
        "LEFTY",
        "12",
        "王明",
        "PA-2211",
        "LI",
        "RECHT",
        "MOBILI",
        "ERICT",
        "STANDINGS AB",
        "PORTMANN",
    ],
)
def test_what_is_no_side_marker(text: str) -> None:
    assert not is_side_marker(text)


@pytest.mark.parametrize(
    ("text", "score", "long", "short", "expected"),
    [
        ("MEIER", 0.9, 30, 20, True),
        ("PORTABLE", 0.9, 90, 20, False),
        ("R", 0.9, 40, 20, False),
        ("PORTABLE", 0.4, 90, 20, True),
        ("R", 0.9, 90, 20, True),
        ("", 0.0, 90, 20, True),
        ("\N{WHITE UP-POINTING TRIANGLE}", 0.49, 210, 26, True),
        ("AB", 0.4, 104, 60, False),
        ("", 0.0, 250, 250, False),
    ],
)
@pytest.mark.parametrize("upright", [False, True])
def test_what_cannot_be_read_counts_where_it_is_as_long_as_a_word(
    text: str, score: float, long: int, short: int, expected: bool, upright: bool
) -> None:
    corners = np.array([[0, 0], [long, 0], [long, short], [0, short]], float)
    assert is_telling(text, score, corners[:, ::-1] if upright else corners) is expected


@pytest.mark.parametrize(
    ("high", "text", "score", "expected"),
    [(50, "ACE", 0.62, 1), (70, "ACE", 0.62, 0), (70, "A", 0.99, 0), (70, "MEIER", 0.95, 1)],
)
def test_what_is_higher_than_a_quarter_of_the_picture_is_no_line_of_text_unless_it_is_surely_read(
    monkeypatch: pytest.MonkeyPatch, high: int, text: str, score: float, expected: int
) -> None:
    corners = np.array([[20, 40], [180, 40], [180, 40 + high], [20, 40 + high]], float)
    monkeypatch.setattr(burnt_in_text, "_read", lambda pixels, side: [(corners, text, score)])
    assert len(find_text(ground(256, 256))) == expected


def test_what_a_box_holds_is_told_by_its_kind_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    corners = np.array([[20, 40], [180, 40], [180, 60], [20, 60]], float)
    read = [
        (corners, SOMEBODY, 0.9),
        (corners, "12.03.1943", 0.9),
        (corners, SOMEBODY, 0.3),
        (corners, "PORTABLE", 0.9),
    ]
    monkeypatch.setattr(burnt_in_text, "_read", lambda pixels, side: read)
    finds = find_readings(ground(256, 256))
    assert [find.kind for find in finds] == ["words", "numbers", "unread"]
    assert "MEIER" not in str(finds)


@needs_reader
def test_a_long_thin_picture_is_not_enlarged_without_end() -> None:
    assert max(burnt_in_text._scaled(np.zeros((8, 4000, 3), np.uint8), 1024).shape) == burnt_in_text.LONGEST


def test_a_box_takes_the_grey_around_it_and_nothing_else_changes() -> None:
    pixels = np.full((1, 40, 60), 70, np.float32)
    pixels[:, 10:20, 15:45] = 250
    pixels[:, 30:] = 10
    before = pixels.copy()
    done = masked(pixels, [Box(8, 22, 13, 47)])
    assert (done[:, 8:22, 13:47] == 70).all()
    done[:, 8:22, 13:47] = before[:, 8:22, 13:47]
    np.testing.assert_array_equal(done, before)
    np.testing.assert_array_equal(pixels, before)


def test_colours_and_a_box_as_large_as_the_image() -> None:
    pixels = np.arange(3 * 8 * 8, dtype=np.float32).reshape(3, 8, 8)
    whole = masked(pixels, [Box(0, 8, 0, 8)])
    assert [np.unique(channel).tolist() for channel in whole] == [[np.median(channel)] for channel in pixels]


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise burnt_in_text.PackageNotFoundError(name)

    monkeypatch.setattr(burnt_in_text, "version", absent)
    assert text_check(DataRecipe(burnt_in_text="unchecked")) is None
    with pytest.raises(UsageError, match=r"pip install 'medistill\[ocr\]'"):
        text_check(DataRecipe(burnt_in_text="mask"))


def installed(folder: Path, shipped: list[str], there: list[str]) -> None:
    """A package that calls itself RapidOCR, whose wheel had some models, and in whose folder some lie."""
    (folder / "rapidocr" / "models").mkdir(parents=True)
    for name in there:
        (folder / "rapidocr" / "models" / name).touch()
    (folder / "rapidocr-3.10.0.dist-info").mkdir()
    (folder / "rapidocr-3.10.0.dist-info" / "METADATA").write_text("Name: rapidocr\nVersion: 3.10.0\n")
    (folder / "rapidocr-3.10.0.dist-info" / "RECORD").write_text("".join(f"rapidocr/models/{n},,\n" for n in shipped))


WHEEL = ["a_det_small.onnx", "a_rec_small.onnx", "b_cls_mobile.onnx"]


@pytest.mark.parametrize(("shipped", "there"), [([], []), (WHEEL, WHEEL[:2]), (WHEEL[:2], WHEEL)])
def test_models_that_are_not_in_the_wheel_are_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: list[str], there: list[str]
) -> None:
    installed(tmp_path, shipped, there)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(burnt_in_text, "version", lambda name: "3.10.0")
    with pytest.raises(UsageError, match="without its models"):
        text_check(DataRecipe(burnt_in_text="quarantine"))


def test_models_that_somebody_fetched_beside_those_of_the_wheel_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, WHEEL, [*WHEEL, "a_det_large.onnx"])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(burnt_in_text, "version", lambda name: "3.10.0")
    assert text_check(DataRecipe(burnt_in_text="mask")) is not None
    assert [file.name for file in burnt_in_text._models().values()] == [WHEEL[0], WHEEL[2], WHEEL[1]]


def test_a_reader_that_does_not_start_is_an_error_and_no_file_is_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(ground(64, 64)[0].astype(np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "cv2", None)  # as where a system library that it needs is missing
    burnt_in_text.load_reader.cache_clear()
    recipe = DataRecipe(image_size=32, burnt_in_text="mask")
    with pytest.raises(UsageError, match=r"cannot be loaded \(ModuleNotFoundError\).*pip install"):
        decode_chunk(tmp_path, ["a.png"], recipe)


FIRST_SEEN = """
import os, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Finder())
from medistill.data.burnt_in_text import load_reader
load_reader()
"""


@needs_reader
def test_onnx_runtime_finds_its_telemetry_off_and_leaves_no_mark_of_this_machine(tmp_path: Path) -> None:
    """What it wrote, an identifier of the machine, stood in the cache folder of the user as soon as it was imported."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    environment = {**others, "HOME": str(tmp_path), "ORT_DISABLE_TELEMETRY": "0"}
    told = subprocess.run(
        [sys.executable, "-c", FIRST_SEEN], env=environment, capture_output=True, text=True, check=True, timeout=250
    )
    assert told.stdout.split()[:1] == ["1"]
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and "matplotlib" not in file.parts]


@needs_reader
@pytest.mark.parametrize(("height", "width", "high"), [(256, 256, 16), (400, 300, 24), (1500, 1700, 60)])
def test_a_name_is_found_where_it_was_written(height: int, width: int, high: int) -> None:
    plain = ground(height, width)
    shown = written(plain, SOMEBODY, high, (width // 8, height // 2))
    boxes = find_text(shown)
    done = masked(shown, boxes)
    assert np.abs(done - plain).max() < 40  # the letters stood out by 90
    assert sum((box.bottom - box.top) * (box.right - box.left) for box in boxes) < 0.3 * height * width
    assert find_text(done) == []


@needs_reader
def test_a_name_as_high_as_a_third_of_the_picture_is_found() -> None:
    plain = ground(128, 128)
    shown = written(plain, "MEIER", 42, (4, 40))
    assert np.abs(masked(shown, find_text(shown)) - plain).max() < 40


@needs_reader
def test_names_that_cannot_be_read_are_found() -> None:
    plain = ground(256, 400)
    upside_down = np.clip(plain + 90 * np.flipud(strokes(256, 400, SOMEBODY, 24, (50, 100))), 0, 255)
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    picture = Image.new("L", (400, 256))
    ImageDraw.Draw(picture).text((40, 100), "ΠΑΠΑΔΟΠΟΥΛΟΣ", fill=90, font=ImageFont.truetype(font, 24))
    greek = np.clip(plain + np.asarray(picture, np.float32), 0, 255)
    for shown in (upside_down, greek):
        assert np.abs(masked(shown, find_text(shown)) - plain).max() < 40  # the letters stood out by 90


@needs_reader
def test_markers_and_plain_images_are_left_as_they_are() -> None:
    plain = ground(300, 300)
    assert find_text(plain) == []
    assert find_text(written(written(plain, "R", 40, (20, 20)), "PORTABLE", 24, (150, 250))) == []


@needs_reader
@pytest.mark.parametrize("policy", ["mask", "quarantine"])
def test_files_are_looked_through_while_they_are_read(tmp_path: Path, policy: str) -> None:
    plain = ground(256, 256)
    images = {
        "a.png": plain,
        "b.png": written(plain, SOMEBODY, 20, (40, 120)),
        "c.png": written(plain, "R", 30, (9, 9)),
    }
    for name, pixels in images.items():
        Image.fromarray(pixels[0].astype(np.uint8)).save(tmp_path / name)
    recipe = DataRecipe(image_size=64, burnt_in_text=policy)
    told = decode(tmp_path, [*images], recipe, staging=tmp_path / "staging", workers=1, progress=Silent())
    assert [one.masked for one in told] == [0, int(policy == "mask"), 0]
    assert [one.category for one in told] == ["", "" if policy == "mask" else "burnt-in text", ""]
    assert "MEIER" not in str(told)
    assert all(b"MEIER" not in file.read_bytes() for file in (tmp_path / "staging").iterdir())
