"""A site: whom it listens to, what it refuses to hear from a server, and the classifiers that it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medistill.artifacts.classifier import Classifier, ClassifierProvenance
from medistill.artifacts.normalisation import Normalisation
from medistill.errors import ArtifactError
from medistill.federation.job import write_job
from medistill.federation.messages import (
    HEAD,
    MAKE,
    PREPROCESSING,
    TEST,
    WEIGHTS,
    HomeRequest,
    MakeRequest,
    message,
    own_version,
)
from medistill.federation.site import answer_to
from medistill.federation.site_file import VARIABLE, read_site_file
from medistill.networks.registry import build_network, spec_of
from medistill.recipe.load import recipe_toml
from medistill.training.randomness import generator
from tests.factories.hospitals import CLASSES, site_values, small_recipe, write_images, write_site_file


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the site file is to lie."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "site.toml"))
    return tmp_path


def agreed(house: Path, **more: str) -> str:
    """Write the site file, which agrees to the small recipe; return the recipe's text."""
    job = write_job(small_recipe(), ["east", "west"], out=house / "job")
    write_site_file(house / "site.toml", [("east", site_values(house / "east", job.sha256, "east", **more))])
    return job.recipe.read_text()


def asked(text: str, **changes: Any) -> dict[str, bytes]:
    pieces = message(MakeRequest(protocol=1, medistill=own_version(), recipe=text))
    return {HEAD: json.dumps(json.loads(pieces[HEAD]) | changes).encode()} if changes else pieces


def code(answer: dict[str, bytes]) -> str:
    assert set(answer) == {HEAD}
    return str(json.loads(answer[HEAD])["code"])


@pytest.mark.parametrize("task", [MAKE, TEST])
def test_another_version_is_not_listened_to(task: str, house: Path) -> None:
    pieces = {**asked("", medistill="9.9.9"), WEIGHTS: b"", PREPROCESSING: b""}
    assert code(answer_to(task, pieces, "east")) == "other version"


def test_a_server_can_ask_for_the_recipe_alone_that_the_house_agreed_to(house: Path) -> None:
    text = agreed(house)
    other = recipe_toml(small_recipe("method.ipc=3"))
    assert code(answer_to(MAKE, asked(other), "east")) == "recipe"
    assert code(answer_to(MAKE, asked(f"{text}\n"), "east")) == "recipe"
    assert not (house / "east").joinpath("work").joinpath("run").exists()


@pytest.mark.parametrize(
    "changes", [{"data": "/etc"}, {"labels": "/etc/passwd"}, {"licence": "CC0-1.0"}, {"recipe": {"path": "/etc"}}]
)
def test_a_request_that_names_more_than_a_recipe_is_refused(changes: dict[str, Any], house: Path) -> None:
    text = agreed(house)
    assert code(answer_to(MAKE, asked(text, **changes), "east")) == "recipe"


def test_data_that_are_missing_end_in_a_code_and_words_that_stay(house: Path) -> None:
    text = agreed(house)
    answer = answer_to(MAKE, asked(text), "east")
    assert code(answer) == "data"
    assert str(house).encode() not in answer[HEAD]
    [log] = (house / "east" / "work").glob("*/site.jsonl")
    assert str(house / "east") in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.chmod(0o644), "mode 0644"),
        (lambda path: path.write_text("[east"), "no TOML"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "no TOML"),
        (lambda path: path.write_text("[west]\n"), r"no table \[east\]"),
        (lambda path: path.write_text("east = 1\n"), "east"),
        (lambda path: path.write_text(path.read_text() + "server = 'x'\n"), "server"),
        (lambda path: path.write_text("#" * 70_000), "longer than"),
    ],
)
def test_a_site_file_that_cannot_be_used_is_refused(spoil: Any, words: str, house: Path) -> None:
    text = agreed(house)
    assert read_site_file("east").key == "east"
    spoil(house / "site.toml")
    with pytest.raises(ArtifactError, match=words):
        read_site_file("east")
    assert code(answer_to(MAKE, asked(text), "east")) == "site file"


def small_classifier() -> Classifier:
    """One of the recipe's network, with random weights."""
    recipe = small_recipe()
    network = build_network(spec_of(recipe.network, 1, 8, 2), generator(0, "test"))
    return Classifier(
        weights={name: value.numpy().copy() for name, value in network.state_dict().items()},
        class_names=CLASSES,
        shape=(1, 8, 8),
        normalisation=Normalisation((0.5,), (0.25,)),
        recipe=recipe,
        images=4,
        bytes=100,
        epochs=1,
        seconds=1.0,
        provenance=ClassifierProvenance(),
    )


def offered(classifier: Classifier, folder: Path, sha256: str) -> dict[str, bytes]:
    classifier.save(folder)
    head = HomeRequest(protocol=1, medistill=own_version(), recipe_sha256=sha256)
    files = {WEIGHTS: "weights.safetensors", PREPROCESSING: "preprocessing.json"}
    return message(head, **{piece: (folder / name).read_bytes() for piece, name in files.items()})


def test_a_classifier_is_tested_only_where_it_is_what_the_recipe_asks_for(house: Path, tmp_path: Path) -> None:
    text = agreed(house)
    write_images(house / "east", seed=1)
    sha256 = read_site_file("east").recipe
    right = offered(small_classifier(), tmp_path / "right", sha256)
    assert code(answer_to(TEST, right, "east")) == "recipe", "the site has not been asked for a set yet"
    [place] = [read_site_file("east").folder()]
    (place / "recipe.toml").write_text(text)
    answer = answer_to(TEST, right, "east")
    assert code(answer) == "done"
    told = json.loads(answer[HEAD])["figures"]
    assert [row["learnt_from"] for row in told["rows"]] == ["exchange"]
    assert sum(told["class_patients"]) == 2 * 14
    whole = small_classifier()
    wide = small_recipe("network.width=64")
    hostile = {
        "network": replace(whole, recipe=wide),
        "classes": replace(whole, class_names=("Normal", "COVID")),
        "shape": replace(whole, shape=(1, 16, 16)),
        "weights": replace(whole, weights={"x": np.ones(4, np.float32)}),
    }
    tried = {path.name for path in (place / "classifiers").iterdir()}
    for name, classifier in hostile.items():
        answer = answer_to(TEST, offered(classifier, tmp_path / name, sha256), "east")
        assert code(answer) in ("classifier", "figures"), name
        kept = {path.name for path in (place / "classifiers").iterdir()}
        assert code(answer) == "figures" or kept == tried, "what is refused leaves nothing behind"
        tried = kept
    for spoilt in ({WEIGHTS: b"\x80\x04pickle"}, {PREPROCESSING: b"{}"}, {PREPROCESSING: "text"}):
        assert code(answer_to(TEST, {**right, **spoilt}, "east")) == "classifier"
    assert {path.name for path in (place / "classifiers").iterdir()} == tried
    assert code(answer_to(TEST, offered(whole, tmp_path / "other", "0" * 64), "east")) == "recipe"
