"""Whether something can be written is tried before the work for it begins, and nothing is left of the try."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from medistill.artifacts.new_folder import new_folder, refuse_taken, refuse_taken_file, refuse_unwritable
from medistill.errors import ArtifactError, MedistillError, UsageError

CHECKS = (refuse_taken, refuse_taken_file, refuse_unwritable)


@pytest.mark.parametrize("check", CHECKS)
def test_a_path_that_is_free_is_fine_and_nothing_is_made(tmp_path: Path, check: Callable[[Path], None]) -> None:
    check(tmp_path / "new")
    check(tmp_path / "deep" / "er" / "new")
    check(Path(os.path.relpath(tmp_path / "new")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * 300, "name is too long"),
        ("x" * 240, "name is too long"),  # it would fit, and what is written beside it would not
        ("x" * 300 + "/model", "name is too long"),
        ("a file/model", "a file stands"),
        ("null\0byte", "null"),
    ],
)
def test_a_path_that_cannot_be_is_refused(tmp_path: Path, check: Callable[[Path], None], name: str, said: str) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(MedistillError, match=said):
        check(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]


def test_what_is_taken_is_refused_as_each_kind_wants_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "full" / "x").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for check, free in ((refuse_taken, ["empty"]), (refuse_taken_file, []), (refuse_unwritable, ["empty", "full"])):
        for name in ("file", "empty", "full", "link"):
            if name in free:
                check(tmp_path / name)
            else:
                with pytest.raises(UsageError, match=name):
                    check(tmp_path / name)


def test_a_file_of_the_folder_is_named_where_it_was_to_be(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught, new_folder(tmp_path / "model") as folder:
        raise ArtifactError(f"{folder / 'weights'} could not be written", expected="", do="")
    assert caught.value.seen == f"{tmp_path / 'model' / 'weights'} could not be written"
    assert list(tmp_path.iterdir()) == []
