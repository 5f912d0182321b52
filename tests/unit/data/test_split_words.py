"""Words that tables use for splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from medistill.data.listing import split_named
from medistill.data.table import list_by_table
from medistill.errors import DataError
from medistill.recipe import DataRecipe


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("Training", "train"),
        ("train set", "train"),
        ("DEV", "val"),
        ("valid", "val"),
        ("validation_set", "val"),
        ("development", "val"),
        ("testing", "test"),
        ("Holdout", "test"),
        ("hold-out", "test"),
        ("held out", "test"),
        ("external", "test"),
        ("External validation", "test"),
        ("east", None),
        ("", None),
        ("set", None),
    ],
)
def test_a_word_stands_for_a_split(word: str, split: str | None) -> None:
    assert split_named(word) == split


def _listed(tmp_path: Path, words: tuple[str, ...], purpose: str) -> list[str | None]:
    names = [f"{n}.png" for n in range(len(words))]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    rows = "\n".join(f"{name},a,{word}" for name, word in zip(names, words, strict=True))
    (tmp_path / "t.csv").write_text(f"file,label,split\n{rows}\n")
    listed, _ = list_by_table(tmp_path, names, tmp_path / "t.csv", DataRecipe(), purpose)  # type: ignore[arg-type]
    return [None if one.category else one.split for one in listed]


def test_words_that_are_not_understood_cost_no_image_where_all_are_tested(tmp_path: Path) -> None:
    assert _listed(tmp_path, ("train", "holdout"), "test") == ["train", "test"]
    table = (tmp_path / "t.csv", DataRecipe(), "test")
    (tmp_path / "t.csv").write_text("file,label,split\n0.png,a,batch one\n1.png,a,train\n")
    listed, notes = list_by_table(tmp_path, ["0.png", "1.png"], *table)
    assert [(one.category, one.split) for one in listed] == [("", None), ("", None)]
    assert notes == ["The given splits are left out of account: 1 of 2 rows have none that is known."]
    with pytest.raises(DataError, match="names no split that is known"):
        _listed(tmp_path, ("batch one", "batch two"), "learn")
