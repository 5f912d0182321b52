"""Former recipes: read as they would be written now, with a note, or refused where they contradict their method."""

from __future__ import annotations

import pkgutil
import tarfile
import tomllib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import medistill.method_names
from medistill.errors import FormerFile, RecipeError
from medistill.method_names import method_names
from medistill.recipe import Recipe, load_recipe, override_recipe, recipe_toml, validate_recipe
from medistill.recipe.former import OFF, as_written_now, is_former, renamed, upgrade
from medistill.recipe.limits import refuse_large
from medistill.recipe.upgrade import upgraded_file

FORMER = Path(__file__).resolve().parents[2] / "former" / "former.tar.xz"


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The recipes of three runs that a former version wrote, by method, every setting of all methods spelled out."""
    folder = tmp_path_factory.mktemp("former")
    with tarfile.open(FORMER) as archive:
        for name in ("iadd", "datm", "ddoq"):
            archive.extract(f"{name}/recipe.toml", folder, filter="data")
    return {name: folder / name / "recipe.toml" for name in ("iadd", "datm", "ddoq")}


@pytest.mark.parametrize("name", ["iadd", "datm", "ddoq"])
def test_what_a_former_version_wrote_has_the_same_settings(name: str, recipes: dict[str, Path]) -> None:
    former = tomllib.loads(recipes[name].read_text(encoding="utf-8"))
    with pytest.warns(FormerFile, match="written for a former version"):
        recipe = load_recipe(recipes[name])
    assert recipe.method.name == former["method"] == name
    assert recipe.method.ipc == former["distill"]["ipc"]
    assert recipe.method.quantise.min_cluster_size == former["quantise"]["min_cluster_size"]  # type: ignore[attr-defined]
    if name == "ddoq":
        assert recipe.method.quantise.weights == former["quantise"]["weights"]  # type: ignore[attr-defined]
        assert not hasattr(recipe.method, "iterations")
    else:
        whole = recipe.method.whole  # type: ignore[attr-defined]
        for key, value in former["distill"].items():
            assert getattr(whole, key) == value, key
        for key, value in former["experts"].items():
            assert getattr(whole.experts, key) == value, key
        mask, importance = whole.mask, whole.importance
        for key, value in former["importance"].items():
            held = getattr(mask, {"mask": "rule"}.get(key, key.removeprefix("mask_"))) if "mask" in key else None
            assert (getattr(importance, key) if held is None else held) == value, key
    for section in ("data", "network", "augmentation", "evaluate", "schedule", "audit", "compute", "privacy"):
        now = recipe.model_dump(mode="json")[section]
        assert {key: now[key] for key in former[section]} == former[section], section


def test_a_present_recipe_is_read_without_a_note(recwarn: pytest.WarningsRecorder) -> None:
    for settings in ({}, {"method": {}}, {"seed": 3}, load_recipe("demo").model_dump(mode="json")):
        assert not is_former(settings)
        assert upgrade(settings, "test") == (settings, "")
        validate_recipe(settings, "test")
    assert not [one for one in recwarn if issubclass(one.category, FormerFile)]


def read(settings: dict[str, Any]) -> tuple[Recipe, str]:
    """A former recipe, and the note on it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        recipe = validate_recipe(settings, "ours.toml")
    (note,) = [str(one.message) for one in caught if issubclass(one.category, FormerFile)]
    return recipe, note


def test_what_changed_nothing_is_left_out_and_told_where_somebody_had_set_it() -> None:
    idle = {"distill": {"iterations": 7, "ipc": 3}, "importance": {"lr": 0.5, "momentum": 0.5}, "method": "ddoq"}
    recipe, note = read(idle)
    assert recipe == load_recipe("demo", ["method.name=ddoq", "method.ipc=3"]).model_copy(
        update={name: getattr(Recipe(), name) for name in ("name", "description", "network", "evaluate", "schedule")}
    )
    assert "ours.toml is written for a former version" in note
    assert "Left out, since ddoq has no such settings: distill.iterations, importance.lr." in note
    recipe, note = read({"method": "mtt", "experts": {"sharpness": 0, "count": 4}, "distill": {"labels": "hard"}})
    assert (recipe.method.followed.count, "Left out" in note) == (4, False)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("method", "section", "key", "value"),
    [
        ("mtt", "importance", "direction", "descent"),
        ("mtt", "importance", "mask", "easy"),
        ("iadd", "experts", "sharpness", 0.1),
        ("iadd", "distill", "stages", 2),
        ("ftd", "distill", "labels", "soft"),
        ("pdd", "distill", "start_growth", 0.5),
        ("ddoq", "distill", "init", "real"),
        ("d4m", "distill", "sharpness", 0.1),
    ],
)
def test_what_contradicts_its_method_is_refused_as_before(method: str, section: str, key: str, value: object) -> None:
    with pytest.raises(RecipeError, match=rf"method {method} leaves off what is set here: {section}\.{key} = ") as told:
        validate_recipe({"method": method, section: {key: value}}, "test")
    assert "a method that has this one" in told.value.expected


@pytest.mark.filterwarnings("ignore::medistill.errors.FormerFile")
def test_a_wrong_former_recipe_is_refused_by_the_name_that_a_setting_has_now() -> None:
    for settings, said in (
        ({"distill": {"ipc": 0}}, r"method\.ipc = 0"),
        ({"distill": {"ipcs": 3}}, r"there is no setting 'method\.ipcs'"),
        ({"experts": 3}, "experts = 3"),
        ({"method": "nothing", "distill": {"ipc": 3}}, r"method\.name = 'nothing'"),
        ({"method": "ftd", "distill": {"min_start_epoch": 12}}, r"method\.min_start_epoch 12 is not below"),
    ):
        with pytest.raises(RecipeError, match=said):
            validate_recipe(settings, "test")


@pytest.mark.filterwarnings("ignore::medistill.errors.FormerFile")
def test_many_settings_that_there_are_not_do_not_have_folders_read_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []

    def listed(path: Iterable[str]) -> Iterator[pkgutil.ModuleInfo]:
        looks.append(path)
        return pkgutil.iter_modules(path)

    monkeypatch.setattr(medistill.method_names, "iter_modules", listed)
    medistill.method_names._names_in.cache_clear()
    with pytest.raises(RecipeError, match=r"there is no setting 'method\.k0'"):
        validate_recipe({"method": "iadd", "distill": {f"k{number}": 1 for number in range(300)}}, "test")
    assert len(looks) == 1


@pytest.mark.filterwarnings("ignore::medistill.errors.FormerFile")
@pytest.mark.parametrize("key", ["name", "experts", "importance", "mask", "quantise", "autoencoder", "", "experts.lr"])
@pytest.mark.parametrize("value", [5, "ddoq", {"lr": 1}])
def test_no_key_of_a_former_section_reaches_what_was_beside_it(key: str, value: object) -> None:
    """Else `distill.name` would choose the method, and a number would stand where settings belong."""
    others = {"experts": {"lr": 0.5}, "importance": {"mask": "none"}, "quantise": {"encoder": "pca"}}
    settings = {"distill": {key: value}, **others}
    before = repr(settings)
    with pytest.raises(RecipeError, match=rf"there is no setting 'distill\.{key}'"):
        validate_recipe(settings, "test")
    refuse_large(settings, "test", "refuse")
    assert as_written_now(settings)["method"] == as_written_now(others)["method"]
    assert repr(settings) == before, "what somebody else holds was changed"
    with pytest.raises(RecipeError, match=r"there is no setting|section\.key=value"):
        load_recipe("demo", [f"distill.{key}=5"])


@pytest.mark.parametrize(
    ("former", "now"),
    [
        ("distill.ipc=7", "method.ipc=7"),
        ("experts.lr=0.5", "method.experts.lr=0.5"),
        ("importance.mask=easy", "method.mask.rule=easy"),
        ("importance.mask_share=0.25", "method.mask.share=0.25"),
        ("importance.mask_until=0.25", "method.mask.until=0.25"),
        ("importance.mask_likeness=0.25", "method.mask.likeness=0.25"),
        ("importance.lr=0.5", "method.importance.lr=0.5"),
        ("quantise.nested=1,10", "method.quantise.nested=1,10"),
        ("autoencoder.width=8", "method.autoencoder.width=8"),
        ("method=satm", "method.name=satm"),
    ],
)
def test_a_former_override_is_taken_with_its_present_name(former: str, now: str) -> None:
    with pytest.warns(FormerFile, match=f"is called {now.partition('=')[0]} now"):
        taken = load_recipe("demo", [former])
    assert taken == load_recipe("demo", [now]) == override_recipe(load_recipe("demo"), [now], "test")
    assert renamed(now.partition("=")[0]) == now.partition("=")[0]


def test_what_was_off_is_off_in_plain_trajectory_matching() -> None:
    whole = load_recipe("demo", ["method.name=mtt"]).method.whole  # type: ignore[attr-defined]
    for path, value in OFF.items():
        section, _, key = path.rpartition(".")
        if path != "init":
            assert getattr(getattr(whole, section) if section else whole, key) == value


def test_an_upgraded_file_is_the_same_recipe_without_a_note(tmp_path: Path, recipes: dict[str, Path]) -> None:
    for name, path in recipes.items():
        text, note = upgraded_file(path)
        assert note
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
        with pytest.warns(FormerFile):
            former = load_recipe(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load_recipe(tmp_path / f"{name}.toml") == former
            assert upgraded_file(tmp_path / f"{name}.toml")[0] == text


def test_every_present_recipe_is_none_of_a_former_form() -> None:
    for name in method_names():
        assert not is_former(tomllib.loads(recipe_toml(load_recipe("covid-xray", [f"method.name={name}"]))))


def test_the_way_of_differentiating_that_is_gone_is_read_as_the_one_that_gives_the_same() -> None:
    former = {"method": "mtt", "distill": {"ipc": 2}, "compute": {"step": "forward", "precision": "fp32"}}
    now, note = upgrade(former, "a recipe")
    assert now["compute"] == {"step": "reverse", "precision": "fp32"}
    assert 'compute.step = "forward" is gone' in note
    assert validate_recipe(now, "a recipe").compute.step == "reverse"
