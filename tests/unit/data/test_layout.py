"""Layout: folders of classes above and below those of sites, what tells them apart, and links among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from medistill.data.listing import FileEntry, files_of, list_by_folders
from medistill.errors import DataError
from medistill.recipe import DataRecipe


def read(root: Path, *folders: str, recipe: DataRecipe | None = None) -> tuple[list[FileEntry], list[str]]:
    for n, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / f"{n}.png").write_bytes(b"x")
    return list_by_folders(root, files_of(root), recipe or DataRecipe())


def pairs(listed: list[FileEntry]) -> set[tuple[str, str]]:
    return {(one.label, one.site) for one in listed if not one.category}


def crossed(above: tuple[str, ...], below: tuple[str, ...]) -> list[str]:
    return [f"{upper}/{lower}" for upper in above for lower in below]


@pytest.mark.parametrize(
    ("classes", "sites"),
    [
        (("COVID", "Normal"), ("north", "south")),
        (("COVID-19", "Lung_Opacity", "Viral Pneumonia"), ("Hospital A", "Hospital B")),
        (("gesund", "krank"), ("Klinik 1", "Klinik 2")),
        (("Malade", "Témoin"), ("CHU Lyon", "Hôpital B")),
        (("0", "1"), ("Krankenhaus A", "Krankenhaus B")),
        (("COVID", "Normal"), ("aachen", "bonn")),
    ],
)
def test_either_level_may_name_the_class(tmp_path: Path, classes: tuple[str, ...], sites: tuple[str, ...]) -> None:
    wanted = {(label, site) for label in classes for site in sites}
    listed, notes = read(tmp_path / "upper", *crossed(classes, sites))
    assert pairs(listed) == wanted
    assert "CLASS/SITE" in notes[0]
    listed, notes = read(tmp_path / "lower", *crossed(sites, classes))
    assert pairs(listed) == wanted
    assert "SITE/CLASS" in notes[0]


def test_one_folder_on_a_level_cannot_be_the_classes(tmp_path: Path) -> None:
    assert pairs(read(tmp_path / "a", "x/A", "x/B")[0]) == {("A", "x"), ("B", "x")}
    assert pairs(read(tmp_path / "b", "A/x", "B/x")[0]) == {("A", "x"), ("B", "x")}


def test_what_cannot_be_told_is_asked(tmp_path: Path) -> None:
    folders = crossed(("aa", "bb"), ("x", "y"))
    for more in ((), ("cc/x",)):
        with pytest.raises(DataError, match="do not tell which are classes") as asked:
            read(tmp_path / str(len(more)), *folders, *more)
        assert "data.folders=class/site" in str(asked.value)
        assert "aa" not in asked.value.seen.replace(str(tmp_path), "")
    with pytest.raises(DataError, match="do not tell which are classes"):
        read(tmp_path / "against", "Normal/COVID", "COVID/Normal")
    for recipe in (DataRecipe(folders="class/site"), DataRecipe(classes=("bb", "aa")), DataRecipe(sites=("x",))):
        assert ("aa", "y") in pairs(read(tmp_path / "set", *folders, recipe=recipe)[0])
    lower = DataRecipe(folders="site/class")
    assert ("y", "aa") in pairs(read(tmp_path / "set", recipe=lower)[0])


def test_patients_below_a_class_are_no_sites(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="look like patients"):
        read(tmp_path, "COVID/p1", "COVID/p2", "Normal/p3")
    read(tmp_path / "sites", "COVID/hospital1", "COVID/hospital2", "Normal/hospital3")


def test_folders_of_sorts_of_files_and_of_masks(tmp_path: Path) -> None:
    listed, _ = read(tmp_path, "COVID/images", "COVID/masks", "Normal/images", "Normal/masks")
    assert pairs(listed) == {("COVID", ""), ("Normal", "")}
    assert sorted(one.category for one in listed) == ["", "", "mask", "mask"]


def test_folders_that_say_nothing_and_classes_that_count_as_one(tmp_path: Path) -> None:
    recipe = DataRecipe(class_map={"Abnormal": ("COVID", "Viral_Pneumonia")})
    listed, notes = read(tmp_path, "COVID", "Viral_Pneumonia", "Normal", "unknown", recipe=recipe)
    assert [one.label or one.category for one in listed] == ["Abnormal", "Normal", "Abnormal", "no label"]
    assert "Abnormal unites COVID and Viral_Pneumonia" in notes[0]
    listed, _ = read(tmp_path / "sites", "north/COVID", "unknown/COVID", "north/Normal")
    assert pairs(listed) == {("COVID", "north"), ("COVID", ""), ("Normal", "north")}


def test_linked_folders_are_told_as_they_are(tmp_path: Path) -> None:
    read(tmp_path / "away", "COVID", "Normal")
    here = tmp_path / "here"
    here.mkdir()
    for name in ("COVID", "Normal"):
        (here / name).symlink_to(tmp_path / "away" / name)
    with pytest.raises(DataError, match=r"nothing that lies in .* can be opened: 2 link to a folder"):
        list_by_folders(here, files_of(here), DataRecipe())
    (here / "README.txt").write_bytes(b"x")
    with pytest.raises(DataError, match=r"lie directly in it, beside links to folders, which are not followed \(2\)"):
        list_by_folders(here, files_of(here), DataRecipe())
    listed, _ = read(here, "A", "B")
    reasons = {one.file: (one.category, one.reason) for one in listed if one.category}
    assert reasons["COVID"][0] == "link to a folder"
    assert "outside this one" in reasons["COVID"][1]


def test_each_link_has_its_own_reason(tmp_path: Path) -> None:
    root = tmp_path / "data"
    read(root, "A", "B")
    (tmp_path / "secret.png").write_bytes(b"x")
    (root / "A/out.png").symlink_to(tmp_path / "secret.png")
    (root / "A/dead.png").symlink_to(root / "A/none.png")
    (root / "A/loop.png").symlink_to(root / "A/loop.png")
    (root / "A/in").symlink_to(root / "B")
    reasons = {one.file: one.reason for one in list_by_folders(root, files_of(root), DataRecipe())[0]}
    assert "outside the folder" in reasons["A/out.png"]
    assert "link to nothing" in reasons["A/dead.png"]
    assert "in a circle" in reasons["A/loop.png"]
    assert "a folder in this one" in reasons["A/in"]
