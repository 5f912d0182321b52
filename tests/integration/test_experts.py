"""Experts at scale: shards of one store, foreign experts refused, damaged ones replaced, a network brought along."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import medistill as md
from medistill.artifacts.atomic import read_tensors
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.normalisation import Normalisation
from medistill.artifacts.trajectories import Trajectories, load_trajectories
from medistill.errors import ArtifactError, UsageError
from medistill.progress import SilentTask
from medistill.recipe import Recipe, override_recipe, recipe_toml
from medistill.workflow import expert_training
from medistill.workflow.expert_store import refuse_other_experts
from medistill.workflow.experts import train_experts
from medistill.workflow.shard import Shard
from medistill_cli.main import app


class Heard:
    """A progress that remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        return SilentTask()

    def say(self, message: str) -> None:
        self.said.append(message)


def changed(recipe: Recipe, section: str, **settings: Any) -> Recipe:
    return override_recipe(recipe, [f"{section}.{name}={value}" for name, value in settings.items()], "test")


def snapshots(store: Trajectories) -> np.ndarray:
    return np.stack([[store.snapshot(e, i) for i in range(store.epochs + 1)] for e in range(store.count)])


@pytest.fixture(scope="module")
def corpus_cache(phantom_read: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(phantom_read, tmp_path_factory.mktemp("corpus") / "cache")


@pytest.fixture(scope="module")
def corpus(phantom_folder: Path, tiny_recipe: Recipe, corpus_cache: Path) -> Corpus:
    """The phantom corpus, read once; each test trains in a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDISTILL_CACHE", str(corpus_cache))
        return md.prepare(phantom_folder, tiny_recipe)


def own_network(channels: int, image_size: int, classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 3, 3, stride=2), nn.GELU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, classes)
    )


def other_network(channels: int, image_size: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * channels, classes))


def test_shards_fill_one_store_with_the_experts_of_one_process(
    corpus: Corpus, tiny_recipe: Recipe, private_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = changed(tiny_recipe, "method.experts", count=5, epochs=3)
    heard = Heard()
    first = train_experts(corpus, recipe, shard="2/3", progress=heard)
    assert first.missing() == [0, 2, 3]
    assert heard.said == ["2 of 5 experts are in the store; missing, counted from 0: 0, 2-3."]
    written = [first.expert_path(e).stat().st_mtime_ns for e in (1, 4)]
    train_experts(corpus, recipe, shard="2/3")
    assert [first.expert_path(e).stat().st_mtime_ns for e in (1, 4)] == written
    with pytest.raises(ArtifactError, match=r"experts are missing.*missing, counted from 0: 0, 2-3"):
        md.distill(corpus, first, recipe, out=tmp_path / "early")
    train_experts(corpus, recipe, shard="1/3")
    last = train_experts(corpus, recipe, shard="3/3", progress=heard)
    assert heard.said[-1] == "5 of 5 experts are in the store."
    filled = snapshots(last)
    monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / "elsewhere"))
    alone = train_experts(corpus, recipe)
    assert alone.key == last.key
    np.testing.assert_array_equal(snapshots(alone), filled)


@pytest.mark.parametrize("text", ["0/4", "5/4", "x", "", "1", "1/0", "-1/4", "1/4/2", "1.0/4", " 1/4", "1/-4", "²/4"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"as in 2/8"):
        Shard.parse(text)


def test_every_expert_has_one_shard() -> None:
    shards = [Shard.parse(f"{k}/4") for k in range(1, 5)]
    assert [[expert for expert in range(10) if shard.has(expert)] for shard in shards] == [
        [0, 4, 8],
        [1, 5, 9],
        [2, 6],
        [3, 7],
    ]


def test_an_expert_that_appears_meanwhile_is_not_trained(
    corpus: Corpus, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process writes expert 1 while this one trains expert 0."""
    recipe = changed(tiny_recipe, "method.experts", count=3)
    whole = train_experts(corpus, recipe)
    one = whole.expert_path(1).read_bytes()
    for expert in range(3):
        whole.expert_path(expert).unlink()
    trained: list[list[int]] = []
    honest = expert_training.ExpertTraining.train

    def train(work: Any, group: list[int], task: Any) -> None:
        trained.append(group)
        honest(work, group, task)
        whole.expert_path(1).write_bytes(one)

    monkeypatch.setattr(expert_training.ExpertTraining, "train", train)
    again = train_experts(corpus, recipe)
    assert trained == [[0], [2]]
    assert again.missing() == []


def test_a_damaged_or_foreign_expert_is_trained_again_and_this_is_said(corpus: Corpus, tiny_recipe: Recipe) -> None:
    store = train_experts(corpus, tiny_recipe)
    before = snapshots(store)
    foreign = store.expert_path(0).read_bytes()
    store.expert_path(1).write_bytes(foreign)
    heard = Heard()
    train_experts(corpus, tiny_recipe, progress=heard)
    assert any("expert_0001.safetensors cannot be used and is trained again" in line for line in heard.said)
    np.testing.assert_array_equal(snapshots(store), before)
    store.expert_path(0).write_bytes(foreign[:-100])
    train_experts(corpus, tiny_recipe)
    np.testing.assert_array_equal(snapshots(store), before)


def test_the_key_is_that_of_the_settings_and_not_of_the_machine(corpus: Corpus, tiny_recipe: Recipe) -> None:
    small = train_experts(corpus, changed(tiny_recipe, "compute", micro_batch=3))
    assert train_experts(corpus, changed(tiny_recipe, "compute", micro_batch=5)) == small
    _, metadata = read_tensors(small.expert_path(0), "test")
    assert json.loads(metadata["made_on"]) == {
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "micro_batch": 3,
        "together": 1,
    }
    alike = changed(tiny_recipe, "compute", micro_batch=3)  # or rounding that training amplifies is measured too
    half = train_experts(corpus, changed(alike, "method.experts", store="bfloat16"))
    assert half.key != small.key
    np.testing.assert_allclose(snapshots(half), snapshots(small), rtol=2**-8 + 1e-3, atol=1e-6)
    assert half.bytes < 0.6 * small.bytes


def test_experts_made_side_by_side_are_those_made_one_by_one(
    corpus: Corpus, tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU does, done here: groups of 2, then halved where the memory is not enough."""
    recipe = changed(tiny_recipe, "method.experts", count=3)
    store = train_experts(corpus, recipe)
    alone = snapshots(store)
    groups: list[int] = []
    honest, make, batched = (
        expert_training.ExpertTraining.of,
        expert_training.ExpertTraining.train,
        expert_training.train_batched,
    )

    def wide(*arguments: Any) -> Any:
        return dataclasses.replace(honest(*arguments), at_once=3)

    def full(work: Any, group: list[int], task: Any) -> None:
        make(work, group, task)
        groups.append(len(group))

    def small_memory(networks: Any, *arguments: Any, **settings: Any) -> Any:
        if len(networks) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batched(networks, *arguments, **settings)

    monkeypatch.setattr(expert_training.ExpertTraining, "of", wide)
    monkeypatch.setattr(expert_training.ExpertTraining, "train", full)
    monkeypatch.setattr(expert_training, "train_batched", small_memory)
    for most, expected in ((3, [3]), (1, [1, 1, 1])):
        groups.clear()
        for expert in range(3):
            store.expert_path(expert).unlink()
        heard = Heard()
        together = snapshots(train_experts(corpus, recipe, progress=heard))
        assert groups == expected
        assert any("do not fit" in line for line in heard.said) == (most == 1)
        error = np.linalg.norm(together - alone, axis=2) / np.linalg.norm(alone, axis=2)
        assert np.median(error) <= 1e-5
        assert error.max() <= 0.01  # a ReLU whose argument rounds to the other side of zero; another expert is 1 away


def test_experts_of_another_making_are_refused_and_the_field_is_named(
    corpus: Corpus, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    store = load_trajectories(train_experts(corpus, tiny_recipe).path)
    refuse_other_experts(store, corpus, tiny_recipe)
    refuse_other_experts(store, corpus, tiny_recipe.model_copy(update={"seed": 7}))
    refuse_other_experts(store, corpus, changed(tiny_recipe, "method", image_lr=3.0))
    wider, faster = changed(tiny_recipe, "network", width=6), changed(tiny_recipe, "method.experts", lr=0.5)
    images = np.array(corpus.images)
    images[corpus.rows("train")[0]] ^= 1
    other_corpus = dataclasses.replace(corpus, images=images, content="0" * 64)
    shown = dataclasses.replace(store, normalisation=Normalisation((0.0,), (1.0,)))
    for images_of, trajectories, recipe, network, named in [
        (corpus, store, wider, None, r"network\.width: seen 4, expected 6"),
        (corpus, store, faster, None, r"experts\.lr: seen 0\.03, expected 0\.5"),
        (other_corpus, store, tiny_recipe, None, rf"corpus: seen {corpus.content}, expected 0{{64}}"),
        (corpus, shown, tiny_recipe, None, r"normalisation\.mean: seen \[0\.0\]"),
        (corpus, store, tiny_recipe, own_network, r"network\.factory: seen nothing, expected .*own_network"),
        (
            corpus,
            store,
            changed(tiny_recipe, "method.experts", count=9),
            None,
            r"method\.experts\.count: seen 2, expected 9",
        ),
    ]:
        with pytest.raises(ArtifactError, match=named):
            md.distill(images_of, trajectories, recipe, network=network, out=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_a_users_own_network_goes_through_the_whole_chain(corpus: Corpus, tiny_recipe: Recipe, tmp_path: Path) -> None:
    """Public names alone; a finished run can be resumed only with the network that it was made with."""
    trajectories = md.train_experts(corpus, tiny_recipe, network=own_network)
    classes = len(corpus.class_names)
    channels, size = corpus.images.shape[1:3]
    assert trajectories.parameters == sum(p.numel() for p in own_network(channels, size, classes).parameters())
    assert trajectories.key != md.train_experts(corpus, tiny_recipe).key
    made = md.distill(corpus, trajectories, tiny_recipe, network=own_network, out=tmp_path)
    assert made.provenance.network.endswith("own_network")
    assert np.isfinite(made.images).all()
    evaluation = md.evaluate(made, corpus, tiny_recipe, network=own_network, out=tmp_path)
    assert [arm.arm for arm in evaluation.arms] == ["raw", "random", "kmeans", "distilled"]
    again = md.distill(corpus, trajectories, tiny_recipe, network=own_network, out=tmp_path, resume=True)
    np.testing.assert_array_equal(again.images, made.images)
    others = md.train_experts(corpus, tiny_recipe, network=other_network)
    with pytest.raises(UsageError, match=r"made with the network .*own_network"):
        md.distill(corpus, others, tiny_recipe, network=other_network, out=tmp_path, resume=True)
    with pytest.raises(UsageError, match="another set, corpus, network"):
        md.evaluate(made, corpus, tiny_recipe, network=other_network, out=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    assert md.evaluate(made, corpus, tiny_recipe, network=other_network, out=elsewhere).network != evaluation.network
    mine, others_networks = (folder / "evaluation" / "networks" for folder in (tmp_path, elsewhere))
    for path in mine.iterdir():
        assert path.read_bytes() != (others_networks / path.name).read_bytes()


def test_a_run_takes_a_network_too(
    corpus: Corpus,
    corpus_cache: Path,
    phantom_folder: Path,
    tiny_recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDISTILL_CACHE", str(corpus_cache))
    md.run(tiny_recipe, out=tmp_path / "run", data=phantom_folder, network=own_network)
    assert md.DistilledSet.load(tmp_path / "run" / "set").provenance.network.endswith("own_network")


def test_the_command_trains_a_shard_and_says_what_is_missing(
    corpus: Corpus,
    corpus_cache: Path,
    phantom_folder: Path,
    tiny_recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDISTILL_CACHE", str(corpus_cache))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_toml(changed(tiny_recipe, "method.experts", store="bfloat16")))
    words = ["experts", "--data", str(phantom_folder), "--recipe", str(recipe)]
    first = CliRunner().invoke(app, [*words, "--shard", "2/2"])
    assert first.exit_code == 0, first.output
    assert "1 of 2 experts are in the store; missing, counted from 0: 0." in " ".join(first.output.split())
    assert "0.39 % at most" in first.output
    second = CliRunner().invoke(app, [*words, "--shard", "1/2", "--json"])
    told = json.loads(second.stdout)
    assert told["missing"] == []
    assert (told["store"], told["largest_relative_error"]) == ("bfloat16", 2**-8)
    assert told["bytes"] == sum(file.stat().st_size for file in Path(told["trajectories"]).glob("expert_*"))


def test_a_bad_shard_is_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["medistill", "experts", "--data", "no such folder", "--shard", "5/4"])
    from medistill_cli.main import main

    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
