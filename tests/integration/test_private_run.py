"""Differential privacy through the chain: experts by DP-SGD, a set that states it, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus, load_corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.trajectories import Trajectories
from medistill.errors import ArtifactError, RecipeError, UsageError
from medistill.methods.optimising import outer_run
from medistill.privacy.accounting import Guarantee, solve_sigma, steps_an_epoch
from medistill.progress import Silent, SilentTask
from medistill.recipe import Recipe, load_recipe, override_recipe
from medistill.studies.sites.leave_site_out import leave_site_out
from medistill.workflow import expert_training
from medistill.workflow.distill import distill
from medistill.workflow.experts import train_experts
from medistill.workflow.prepare import prepare
from medistill.workflow.run import run
from medistill_cli.main import app
from tests.factories.drawn_corpus import CLASSES, drawn_corpus

pytest.importorskip("opacus")
PRIVATE = [
    "privacy.mode=dp",
    "privacy.epsilon=4",
    "privacy.delta=0.001",
    "privacy.units=40",
    "method.experts.batch_size=20",
    "method.init=noise",
    "network.depth=2",
]


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Recipe) -> Recipe:
    classes = f"data.classes={json.dumps(CLASSES)}"
    return override_recipe(tiny_recipe, [*PRIVATE, classes, "data.image_size=16"], "test")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpora")


def snapshot(store: Trajectories, epoch: int) -> np.ndarray:
    return np.stack([store.snapshot(expert, epoch) for expert in range(store.count)])


def test_a_private_set_states_what_it_has(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted(*_: object) -> None:
        raise AssertionError("the validation split was looked at")

    monkeypatch.setattr(outer_run, "_validator", unwanted)
    trajectories = train_experts(corpus, recipe)
    assert (trajectories.normalisation.mean, trajectories.normalisation.std) == ((0.5,), (0.25,))
    made = distill(corpus, trajectories, recipe, out=tmp_path / "run")
    stated = DistilledSet.load(tmp_path / "run").provenance
    found = Guarantee.of_set(stated)
    assert found == Guarantee.of(recipe)
    assert 0 < found.epsilon <= 4
    assert (found.unit, found.experts, found.steps) == ("patient", 2, 3 * steps_an_epoch(recipe))
    assert "epsilon" in stated.privacy
    assert not {"training_images", "training_groups"} & set(stated.as_json())
    assert made.provenance.chosen_step == recipe.method.iterations
    assert json.loads((tmp_path / "run" / "history.json").read_text())["looks"] == []


def test_public_validation_data_may_choose(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    public = override_recipe(recipe, ["privacy.choose=public"], "test")
    trajectories = train_experts(corpus, recipe)
    made = distill(corpus, trajectories, public, out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "history.json").read_text())["looks"] == [2, 4]
    assert made.provenance.differential_privacy["choice"] == "validation split, declared public"


def test_noise_is_not_foretold_by_the_seed(
    corpus: Corpus, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = []
    for name in "ab":
        monkeypatch.setenv("MEDISTILL_CACHE", str(tmp_path / name))
        stores.append(train_experts(corpus, recipe))
    one, other = stores
    assert one.key == other.key
    assert np.array_equal(snapshot(one, 0), snapshot(other, 0))
    apart = snapshot(one, 1) - snapshot(other, 1)
    guarantee = Guarantee.of(recipe)
    assert guarantee is not None
    expected = recipe.method.experts.lr * guarantee.sigma * guarantee.clip / recipe.method.experts.batch_size
    assert apart.std() > expected  # of two steps of independent noise, times sqrt(2)
    assert len({walk.tobytes() for store in stores for walk in snapshot(store, 1)}) == 4
    before = snapshot(other, 3)
    assert np.array_equal(snapshot(train_experts(corpus, recipe), 3), before)  # kept, not drawn again


@pytest.mark.parametrize(
    "changed",
    ["privacy.mode=none", "method.experts.count=3", "privacy.clip=2", "privacy.unit=image", "privacy.epsilon=3"],
)
def test_experts_of_another_guarantee_are_not_taken(corpus: Corpus, recipe: Recipe, changed: str) -> None:
    other = override_recipe(recipe, [changed], "test")
    keys = {train_experts(corpus, one, shard="2/2").key for one in (recipe, other)}
    assert len(keys) == 2


def test_the_schedule_is_the_one_that_was_accounted(
    corpus: Corpus, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, Any]] = []

    def spy(network: nn.Module, data: object, units: torch.Tensor, schedule: Any, *rest: Any, **named: Any) -> Any:
        seen.append((units, schedule))
        return whole(network, data, units, schedule, *rest, **named)

    whole = expert_training.train_privately
    monkeypatch.setattr(expert_training, "train_privately", spy)
    train_experts(corpus, recipe)
    guarantee = Guarantee.of(recipe)
    assert guarantee is not None
    assert len(seen) == guarantee.experts
    for units, schedule in seen:
        assert schedule.epochs * schedule.steps == guarantee.steps
        assert (schedule.noise_multiplier, schedule.clip) == (guarantee.sigma, guarantee.clip)
        assert schedule.sample_rate == 0.5
        assert schedule.expected_batch == guarantee.sample_rate * guarantee.units_public
        groups = corpus.groups[corpus.rows("train")]
        assert np.array_equal(units[:, None] == units, groups[:, None] == groups)


@pytest.mark.parametrize(
    ("changed", "consequence"),
    [
        ("method.init=real", "would show them without any noise"),
        ("data.zca=true", "fitted to the patients without noise"),
        ("data.classes=[]", "would tell that some patient has a class"),
        ('data.prefer_sites=["east"]', "would hang on what the corpus holds"),
        ("method.name=ftd", "use each patient twice an update"),
        ("privacy.delta=0.025", "not below 1 / privacy.units"),
        ("method.experts.batch_size=41", "cannot expect 41 of 40"),
        ("privacy.epsilon=0", "greater than or equal to 0.1"),
        ("privacy.epsilon=-1", "greater than or equal to 0.1"),
        ("privacy.epsilon=1e6", "less than or equal to 100"),
        ("privacy.delta=1e-15", "greater than or equal to 0.0000000001"),
        ("privacy.epsilon=inf", "finite"),
    ],
)
def test_a_recipe_that_breaks_a_condition_is_refused(recipe: Recipe, changed: str, consequence: str) -> None:
    with pytest.raises(RecipeError, match=consequence):
        override_recipe(recipe, [changed], "test")


def test_images_whose_patients_are_unknown_have_to_be_called_images(corpus: Corpus, recipe: Recipe) -> None:
    unknown = replace(corpus, split_unit="image")
    with pytest.raises(UsageError, match="patient of 36 of 36 training images is not known"):
        train_experts(unknown, recipe)
    openly = override_recipe(recipe, ["privacy.unit=image"], "test")
    assert train_experts(unknown, openly).made_with["privacy"]["unit"] == "image"


def test_one_image_without_a_patient_is_enough_to_refuse(recipe: Recipe, tmp_path: Path) -> None:
    folder, rows = tmp_path / "xray", []
    for label in ("COVID", "Normal"):
        for number in range(8):
            file = folder / label / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([number, len(label)]).integers(0, 256, (32, 32), np.uint8)
            Image.fromarray(pixels).save(file)
            rows.append(f"{label}/{number}.png,{label},{'' if number == 3 else f'p{label}{number}'}")
    named = override_recipe(recipe, ["data.classes=COVID,Normal"], "test")
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,patient", *rows]))
    partly = prepare(folder, named, labels=tmp_path / "labels.csv")
    assert partly.split_unit == "image"
    assert load_corpus(partly.path).group_units == partly.group_units
    training = len(partly.rows("train"))
    unknown = sum(partly.group_units[row] == "image" for row in partly.rows("train"))
    assert unknown
    with pytest.raises(UsageError, match=f"patient of {unknown} of {training} training images is not known"):
        train_experts(partly, named)
    in_training_alone = replace(partly, splits=np.where(np.array(partly.group_units) == "image", 2, partly.splits))
    assert train_experts(in_training_alone, named).made_with["privacy"]["unit"] == "patient"


def test_studies_are_protected_where_no_patient_is_known(corpus: Corpus, recipe: Recipe) -> None:
    studies = replace(corpus, split_unit="study")
    with pytest.raises(UsageError, match=r"patient of 36 of 36 .* is not known"):
        train_experts(studies, recipe)
    by_study = override_recipe(recipe, ["privacy.unit=study"], "test")
    assert train_experts(studies, by_study).made_with["privacy"]["unit"] == "study"
    with pytest.raises(UsageError, match="every image's patient is known"):
        train_experts(corpus, by_study)


def test_a_study_is_a_unit_also_of_a_patient_who_is_known(corpus: Corpus, recipe: Recipe) -> None:
    """Clipped as a patient, a study could change an update by twice the clip: the patient's mean would change."""
    count = len(corpus.labels)
    both = replace(
        corpus,
        split_unit="study",
        group_units=tuple("patient" if n < 12 else "study" for n in range(count)),
        groups=np.array([0] * 12 + list(range(12, count))),
        studies=tuple(n // 2 if n < 12 else n for n in range(count)),
    )
    assert len(set(both.units("train", "study").tolist())) == 36 - 12 + 6
    assert (both.units("train", "patient") < 0).sum() == 36 - 12
    with pytest.raises(UsageError, match="24 of 36") as caught:
        train_experts(both, recipe)
    assert "privacy.unit=study" in caught.value.do


def test_images_do_not_follow_experts_that_were_trained_again(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    class Stops(Silent):
        def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
            class Task(SilentTask):
                def advance(self, steps: int = 1, *, figures: str = "") -> None:
                    raise KeyboardInterrupt

            return Task()

    out, others = tmp_path / "run", override_recipe(recipe, ["privacy.choose=public"], "test")
    first = train_experts(corpus, others)
    with pytest.raises(KeyboardInterrupt):
        distill(corpus, first, others, out=out, progress=Stops())
    assert (out / "state" / "checkpoint.safetensors").is_file()
    kept = (out / "state" / "checkpoint.safetensors").read_bytes()
    distill(corpus, train_experts(corpus, others), others, out=out, resume=True)  # the same ones: goes on
    shutil.rmtree(out)
    private_folder(out / "state")
    (out / "state" / "checkpoint.safetensors").write_bytes(kept)
    shutil.rmtree(first.path)
    again = train_experts(corpus, others)
    assert again.key == first.key
    with pytest.raises(ArtifactError, match="made with other experts"):
        distill(corpus, again, others, out=out, resume=True)


def test_the_expert_that_was_written_first_stays(
    corpus: Corpus, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[bytes] = []

    def slow(*rest: Any, after_epoch: Any, **named: Any) -> Any:
        def then(epoch: int, flat: Any) -> None:
            if epoch == recipe.method.experts.epochs and not first:
                monkeypatch.setattr(expert_training, "train_privately", whole)
                store = train_experts(corpus, recipe)  # another process is quicker
                first.extend(snapshot(store, epoch).tobytes() for epoch in range(recipe.method.experts.epochs + 1))
            after_epoch(epoch, flat)

        return whole(*rest, after_epoch=then, **named)

    whole = expert_training.train_privately
    monkeypatch.setattr(expert_training, "train_privately", slow)
    store = train_experts(corpus, recipe)
    assert [snapshot(store, epoch).tobytes() for epoch in range(recipe.method.experts.epochs + 1)] == first


def test_batch_statistics_are_refused(corpus: Corpus, recipe: Recipe) -> None:
    def normed(channels: int, size: int, classes: int, *, buffers: bool = False) -> nn.Module:
        norm = nn.BatchNorm2d(channels, track_running_stats=buffers)
        return nn.Sequential(norm, nn.Flatten(), nn.Linear(channels * size**2, classes))

    with pytest.raises(UsageError, match="one patient would also change what is learned from another"):
        train_experts(corpus, recipe, network=normed)
    with pytest.raises(UsageError, match="no noise would hide"):
        train_experts(corpus, recipe, network=lambda *sizes: normed(*sizes, buffers=True))


def test_the_whole_run_reports_it(phantom_folder: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    private = override_recipe(tiny_recipe, [*PRIVATE, "data.classes=COVID,Normal"], "test")
    report = run(private, out=tmp_path / "private", data=phantom_folder)
    titles = [caveat.title for caveat in report.not_promised]
    assert "What the privacy guarantee covers" in titles
    assert "No formal privacy guarantee" not in titles
    page = " ".join((tmp_path / "private" / "report.html").read_text().split())
    told = (
        "differentially private: epsilon =",
        "DP-SGD",
        "constants that the recipe declares",
        "none was chosen",
        "the validation split was not looked at",
    )
    for text in told:
        assert text in page
    with pytest.raises(UsageError, match="spend the budget as often"):
        leave_site_out(tmp_path / "private", data=phantom_folder)


def test_the_command_line_takes_a_budget(tmp_path: Path) -> None:
    def told(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "run")])
        return result.exit_code, " ".join(result.output.replace("│", " ").split())

    for budget in ("0", "-1", "nan", "inf", "1e9"):
        code, text = told("distill", "--recipe", "covid-xray-dp", "--dp-epsilon", budget)
        assert code == 2
        assert f"privacy.epsilon = {float(budget)}" in text
    for delta in ("0", "1", "nan", "1e-300"):
        code, text = told("distill", "--recipe", "covid-xray-dp", "--dp-delta", delta)
        assert code == 2
        assert f"privacy.delta = {float(delta)}" in text
    code, text = told("distill", "--recipe", "covid-xray-dp", "--dp-delta", "0.01")
    assert code == 2
    assert "not below 1 / privacy.units" in text
    code, text = told("distill", "--recipe", "demo", "--dp-epsilon", "8")
    assert code == 2
    assert "would show them without any noise" in text


def test_without_the_extra_a_run_is_refused_before_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    solve_sigma.cache_clear()
    result = CliRunner().invoke(app, ["distill", "--recipe", "covid-xray-dp", "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert "pip install 'medistill[dp]'" in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "run").exists()


def test_the_shipped_recipe_is_private() -> None:
    found = Guarantee.of(load_recipe("covid-xray-dp"))
    assert found is not None
    assert found.epsilon <= 8
    assert found.unit == "patient"
