"""Shared places: what ranks leave in them when they are stopped, and what a later run says of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from medistill.errors import DataError, UsageError
from medistill.ranks.joined import Joined
from medistill.recipe import Recipe
from medistill.workflow import shared_places
from medistill.workflow.run import run
from medistill.workflow.shared_places import SEEN_BY_ALL, refuse_unshared
from tests.factories.several_ranks import several


def test_ranks_that_see_the_same_folders_leave_nothing_there(tmp_path: Path) -> None:
    several(3, lambda ranks: refuse_unshared(ranks, {"the folder": tmp_path}))
    assert list(tmp_path.iterdir()) == []


def test_a_rank_that_sees_another_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_places, "PATIENCE", 0.3)
    places = [tmp_path / "0", tmp_path / "1"]
    for place in places:
        place.mkdir()

    def refused(ranks: Joined) -> str:
        with pytest.raises(UsageError) as caught:
            refuse_unshared(ranks, {"the folder": places[ranks.rank]})
        return caught.value.seen

    told = f"rank 1 does not see the folder of rank 0, {places[0]}, or sees another folder under that name"
    assert several(2, refused) == [told] * 2  # one text, so that it is told once
    assert [list(place.iterdir()) for place in places] == [[], []]


def test_a_stop_while_ranks_look_for_it_leaves_no_file(tmp_path: Path) -> None:
    def work(ranks: Joined) -> int:
        def stopped(words: str) -> list[str]:
            assert len(list(tmp_path.iterdir())) == 1
            raise KeyboardInterrupt

        if ranks.leads:
            ranks.all_say = stopped  # type: ignore[method-assign]
            with pytest.raises(KeyboardInterrupt):
                refuse_unshared(ranks, {"the folder": tmp_path})
        else:
            ranks.told(lambda: "")
            ranks.lead(lambda: None)
        return len(list(tmp_path.iterdir())) if ranks.leads else 0

    assert several(2, work) == [0, 0]


def test_a_place_that_cannot_be_written_leaves_no_file_in_the_others(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "file").write_text("")
    places = {"the cache": tmp_path / "cache", "the folder": tmp_path / "file"}
    with pytest.raises(Exception, match="file"):
        several(2, lambda ranks: refuse_unshared(ranks, places))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_with_the_file_of_ranks_that_were_killed_may_be_taken(tiny_recipe: Recipe, tmp_path: Path) -> None:
    out, empty = tmp_path / "run", tmp_path / "empty"
    empty.mkdir()
    (out / "ranks").mkdir(parents=True)
    (out / f"{SEEN_BY_ALL}0123").write_text("")
    for _ in range(2):  # the second finds what the first left: recipe and records, and no result
        with pytest.raises(DataError, match="holds no files"):
            run(tiny_recipe, out=out, data=empty)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something already"):
        run(tiny_recipe, out=out, data=empty)
