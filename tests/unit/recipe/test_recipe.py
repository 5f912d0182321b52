"""Recipes: read, overridden, refused with a message that helps, and told apart."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medistill.errors import RecipeError
from medistill.method_names import method_names
from medistill.recipe import (
    Recipe,
    load_recipe,
    recipe_differences,
    recipe_names,
    recipe_toml,
    validate_recipe,
)
from medistill.recipe.section import Section
from medistill.visible import steers


def _check(written: dict[str, Any], section: Section, name: str) -> None:
    """Every setting of a section, and of those within it, is written and described."""
    fields = type(section).model_fields
    assert written.keys() == fields.keys(), name
    for key, field in fields.items():
        within = getattr(section, key)
        if isinstance(within, Section):
            _check(written[key], within, f"{name}.{key}")
        else:
            assert field.description, f"{name}.{key}"


def test_the_promised_recipes_are_shipped() -> None:
    promised = {"cifar10-ipc1", "covid-xray", "covid-xray-cpu", "demo"}
    assert promised | {"cifar10-ddoq", "covid-xray-ddoq", "covid-xray-d4m", "demo-ddoq"} <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_each_shipped_recipe_loads_and_survives_toml(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description.strip()
    (tmp_path / "copy.toml").write_text(recipe_toml(recipe), encoding="utf-8")
    again = load_recipe(tmp_path / "copy.toml")
    assert again == recipe
    assert again.digest == recipe.digest
    assert "flip" not in recipe.augmentation.operations or "xray" not in name, "a flip swaps a chest's sides"


@settings(max_examples=50, deadline=None)
@given(
    st.builds(
        dict,
        name=st.text(max_size=10).filter(lambda text: not steers(text)),
        description=st.text(max_size=30),
        seed=st.integers(0, 2**31 - 1),
        data=st.builds(
            dict,
            classes=st.lists(st.text(max_size=8).filter(lambda text: not steers(text)), max_size=3),
            label_column=st.text(max_size=5).filter(lambda text: not steers(text)),
            low_percentile=st.floats(0, 49.9),
        ),
        method=st.builds(
            dict,
            ipc=st.integers(1, 10**6),
            image_lr=st.floats(1e-300, 1e300),
            importance=st.builds(dict, direction=st.sampled_from(["descent", "ascent", "frozen"])),
        ),
    )
)
def test_any_recipe_survives_toml(values: dict[str, Any]) -> None:
    recipe = validate_recipe(values, "test")
    again = validate_recipe(tomllib.loads(recipe_toml(recipe)), "test")
    assert again == recipe
    assert again.digest == recipe.digest
    assert recipe_differences(recipe, again) == []


@pytest.mark.parametrize("text", ["one\ntwo\n", "one\r\ntwo", "\none\\\n two", 'a "quote"\n"""\n', "one\rtwo\n"])
def test_a_description_of_several_lines_is_kept_to_the_letter(text: str) -> None:
    recipe = validate_recipe({"description": text}, "test")
    assert tomllib.loads(recipe_toml(recipe))["description"] == text


def test_a_description_is_printed_in_lines_as_it_is_written() -> None:
    description = load_recipe("demo").description
    assert description.count("\n") > 1
    assert description in recipe_toml(load_recipe("demo"))


def test_every_setting_is_spelled_out_and_explained() -> None:
    for method in method_names():
        recipe = load_recipe("covid-xray", [f"method.name={method}"])
        _check(tomllib.loads(recipe_toml(recipe)), recipe, "")


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("method.icp=3", "method.ipc"),
        ("distil.ipc=3", "method.ipc"),
        ("distil.iterations=3", "method.iterations"),
        ("method.experts.epoch=3", "method.experts.epochs"),
        ("data.imagesize=3", "data.image_size"),
        ("sead=3", "seed"),
        ("ipc=3", "method.ipc"),
        ("method.experts.syn_steps=3", "method.syn_steps"),
    ],
)
def test_an_unknown_key_names_a_near_match(override: str, near: str) -> None:
    with pytest.raises(RecipeError, match="there is no setting") as caught:
        load_recipe("demo", [override])
    assert f": did you mean '{near}'" in caught.value.seen
    assert caught.value.exit_code == 2


def test_an_unknown_key_like_nothing_points_to_the_list() -> None:
    with pytest.raises(RecipeError, match=r"there is no setting 'data\.qqqqqq'.*medistill recipes show"):
        load_recipe("demo", ["data.qqqqqq=1"])


@pytest.mark.parametrize(
    "override",
    [
        "method.ipc=0",
        "method.ipc=-1",
        "method.ipc=1.5",
        "method.ipc=many",
        "method.ipc=nan",
        "method.image_lr=0",
        "method.image_lr=inf",
        "method.image_lr=nan",
        "method.momentum=1",
        "augmentation.brightness=inf",
        "augmentation.scale=inf",
        "augmentation.operations=color,warp",
        "data.channels=2",
        "data.image_size=7",
        "data.low_percentile=-1",
        "data.val_fraction=1",
        "data.label_column=3",
        "network.name=convent",
        "evaluate.confidence=1",
        "evaluate.bootstrap=99",
        "compute.precision=fp16",
        "method.importance.direction=sideways",
        "seed=-1",
        "seed=2147483648",
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(override: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("demo", [override])
    assert override.partition("=")[0] in caught.value.seen
    assert "recipe demo" in caught.value.seen
    assert "Value error" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["method.experts.epochs=3"], r"max_start_epoch - 1 \+ method\.expert_epochs is \d+"),
        (["network.depth=6"], r"network\.depth 6 halves"),
        (["data.val_fraction=0.5", "data.test_fraction=0.5"], "nothing to train on"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        load_recipe("demo", overrides)


def test_the_edges_that_fit_are_taken() -> None:
    assert load_recipe("demo", ["method.max_start_epoch=9", "method.experts.epochs=10"]).method.max_start_epoch == 9
    assert load_recipe("demo", ["network.depth=5", "data.image_size=32"]).network.depth == 5
    assert load_recipe("demo", ["network.depth=6", "network.name=resnet18"]).network.depth == 6


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("method.ipc=7", "method", "ipc", 7),
        ("method.image_lr=1e2", "method", "image_lr", 100.0),
        ("method.image_lr = 3", "method", "image_lr", 3.0),
        ("compute.precision=bf16", "compute", "precision", "bf16"),
        ("compute.precision='bf16'", "compute", "precision", "bf16"),
        ('data.classes=["A", "B C"]', "data", "classes", ("A", "B C")),
        ("data.classes=A, B C ,D", "data", "classes", ("A", "B C", "D")),
        ("data.classes=Normal", "data", "classes", ("Normal",)),
        ("data.classes=[]", "data", "classes", ()),
        ("augmentation.operations=color,crop", "augmentation", "operations", ("color", "crop")),
        ("data.label_column=a=b", "data", "label_column", "a=b"),
        ("data.label_column=Finding Label", "data", "label_column", "Finding Label"),
    ],
)
def test_overrides_take_their_settings_type(override: str, section: str, key: str, value: object) -> None:
    found = getattr(getattr(load_recipe("demo", [override]), section), key)
    assert found == value
    assert type(found) is type(value)


def test_top_level_and_later_overrides() -> None:
    recipe = load_recipe("demo", ["seed=5", "method.ipc=3", "method.ipc=4", "name=mine"])
    assert (recipe.seed, recipe.method.ipc, recipe.name) == (5, 4, "mine")
    assert recipe.method.experts == load_recipe("demo").method.experts


@pytest.mark.parametrize("override", ["method.ipc", "=3", ".ipc=3", "distill.=3", "a.b.c=1", ""])
def test_an_override_in_another_form_is_refused(override: str) -> None:
    with pytest.raises(RecipeError, match=r"section\.key=value"):
        load_recipe("demo", [override])


def test_a_setting_is_no_section(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("seed = 3\n")
    with pytest.raises(RecipeError, match="seed has no settings"):
        load_recipe(tmp_path / "r.toml", ["seed.x=3"])
    with pytest.raises(RecipeError, match=r"method\.experts = 3"):
        load_recipe(tmp_path / "r.toml", ["method.experts=3"])


def test_the_digest_is_of_the_settings_alone() -> None:
    recipe = load_recipe("demo")
    assert load_recipe("demo", ["name=other", "description=words"]).digest == recipe.digest
    assert load_recipe("demo", ["compute.graphs=50"]).digest == recipe.digest
    digests = {recipe.digest}
    for change in (
        "seed=9",
        "method.ipc=9",
        "method.image_lr=100.00000001",
        "data.classes=A",
        "compute.micro_batch=1",
    ):
        digests.add(load_recipe("demo", [change]).digest)
    assert len(digests) == 6


def test_stages_that_share_their_experts_keep_the_digest_from_before_they_could_have_their_own() -> None:
    plain, unasked, own, longer = (
        load_recipe("demo", ["method.name=pdd", *more]).digest
        for more in (
            [],
            ["method.former_epochs=7"],
            ["method.new_experts=true"],
            ["method.new_experts=true", "method.former_epochs=7"],
        )
    )
    assert plain == unasked == "586a4c8caa77fe5d290a9a85113675bda5c74c7d82011cd5f403c536d26b9e0e"
    assert len({plain, own, longer}) == 3


def test_differences_are_named_one_by_one() -> None:
    mine = load_recipe("demo", ["method.ipc=3", "seed=7", "name=other", "data.classes=A,B"])
    assert recipe_differences(mine, load_recipe("demo")) == [
        "seed: 7, not 0",
        "data.classes: ('A', 'B'), not ()",
        "method.ipc: 3, not 5",
    ]


def test_a_recipe_does_not_change() -> None:
    recipe = Recipe()
    with pytest.raises(ValueError, match="frozen"):
        recipe.method.ipc = 3


def test_a_recipe_that_is_not_there_names_a_near_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"there is no recipe 'covid-xray-gpu': did you mean 'covid-xray-cpu'"):
        load_recipe("covid-xray-gpu")
    with pytest.raises(RecipeError, match=r"there is no recipe .*medistill recipes list"):
        load_recipe("zzzzzz")
    with pytest.raises(RecipeError, match=r"there is no file .*zzzzzz\.toml.*check the path"):
        load_recipe(tmp_path / "zzzzzz.toml")
    with pytest.raises(RecipeError, match="there is no recipe"):
        load_recipe(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"seed = ", "is not TOML"),
        (b"[method]\nipc = 3\nipc = 4\n", "is not TOML"),
        (b"seed = " + b"9" * 5000, "is not TOML"),
        (b"x = " + b"[" * 5000, "is not TOML"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"distill = 3\n", "distill = 3"),
        (b"[method]\nipc = 0\n", r"method\.ipc = 0"),
        (b"[[method]]\nipc = 3\n", "method"),
        (b"seed = 1979-05-27\n", "seed"),
    ],
)
def test_a_damaged_recipe_says_where(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=said) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)


def test_an_empty_recipe_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("")
    assert load_recipe(tmp_path / "r.toml") == Recipe()
    assert Recipe().name == "custom"


def test_a_recipe_in_the_folder_does_not_hide_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").write_text("seed = 99\n")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("demo").seed == 0
    assert load_recipe("./demo").seed == 99


def test_a_way_of_differentiating_that_is_gone_names_the_one_to_write() -> None:
    with pytest.raises(RecipeError, match=r"compute\.step = 'forward'.*\"reverse\".*is gone"):
        load_recipe("demo", ["compute.step=forward"])
    assert load_recipe("demo", ["compute.step=compiled"]).compute.step == "compiled"
