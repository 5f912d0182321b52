"""Text policy: what the default comes to by size of image, by what is installed, and by whose images they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from medistill.artifacts.cache import BUILT_IN, cache_root
from medistill.data import text_policy
from medistill.data.burnt_in_text import LEGIBLE_SIDE, can_carry_letters, looking_side
from medistill.data.phantom import write_phantom
from medistill.data.text_policy import resolve_text_policy, why_unchecked
from medistill.recipe import DataRecipe
from medistill.workflow.prepare import origin_of


def installed(monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    monkeypatch.setattr(text_policy, "reader_name", lambda: name)


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(64, 64, True), (63, 500, False), (224, 128, True), (32, 32, False)]
)
def test_the_line_is_drawn_at_the_shorter_side(height: int, width: int, expected: bool) -> None:
    assert can_carry_letters(height, width) is expected


@pytest.mark.parametrize(("size", "expected"), [(32, "unchecked"), (63, "unchecked"), (64, "mask"), (224, "mask")])
def test_by_default_images_that_can_carry_letters_are_masked(
    monkeypatch: pytest.MonkeyPatch, size: int, expected: str
) -> None:
    installed(monkeypatch, "a reader 1.0")
    assert resolve_text_policy(DataRecipe(image_size=size)).burnt_in_text == expected
    installed(monkeypatch, None)
    assert resolve_text_policy(DataRecipe(image_size=size)).burnt_in_text == "unchecked"


@pytest.mark.parametrize("asked", ["unchecked", "mask", "quarantine"])
@pytest.mark.parametrize("size", [32, 128])
def test_what_is_asked_for_is_done(monkeypatch: pytest.MonkeyPatch, asked: str, size: int) -> None:
    installed(monkeypatch, None)
    recipe = DataRecipe(image_size=size, burnt_in_text=asked)
    assert resolve_text_policy(recipe) == recipe


def test_images_that_were_drawn_here_need_no_reader_and_files_that_say_so_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, "a reader 1.0")
    claiming = tmp_path / "xray"
    write_phantom(claiming, patients=12, size=32)  # every header says SyntheticData YES
    (tmp_path / "link").symlink_to(cache_root() / BUILT_IN, target_is_directory=True)
    assert [origin_of(folder) for folder in (claiming, cache_root(), tmp_path)] == ["files"] * 3
    assert origin_of(cache_root() / BUILT_IN / "v1") == "drawn"
    recipe = DataRecipe(image_size=128)
    assert resolve_text_policy(recipe, "drawn").burnt_in_text == "unchecked"
    assert resolve_text_policy(recipe, "files").burnt_in_text == "mask"
    assert "UNCHECKED" not in why_unchecked(recipe, "drawn")


def test_what_is_unchecked_says_what_it_means() -> None:
    small, default, chosen = (
        why_unchecked(DataRecipe(image_size=size, burnt_in_text=asked), "files")
        for size, asked in ((32, "auto"), (LEGIBLE_SIDE, "auto"), (128, "unchecked"))
    )
    assert "UNCHECKED" not in small
    assert "a twelfth" in small
    assert "pip install 'medistill[ocr]'" in default
    assert "pip" not in chosen
    for said in (default, chosen):
        assert said.startswith("TEXT IS UNCHECKED")
        assert "cannot pass its audit" in said


@pytest.mark.parametrize(("size", "side"), [(8, 256), (64, 256), (128, 512), (224, 896), (256, 1024), (1024, 1024)])
def test_an_original_is_looked_at_on_four_times_the_scale_of_the_set(size: int, side: int) -> None:
    assert looking_side(size) == side
