"""Two releases from the same people: the ledger knows, says so in the second set, and keeps to a total."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.corpus import Corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.purge import purge
from medistill.errors import ArtifactError, UsageError
from medistill.networks.registry import network_spec
from medistill.privacy.accounting import Guarantee
from medistill.privacy.ledger import Entry, ledger_root, open_ledger, read_ledger
from medistill.privacy.spent import Spent
from medistill.progress import Silent
from medistill.recipe import Recipe, override_recipe
from medistill.training.context import Context
from medistill.workflow import expert_training
from medistill.workflow.distill import distill
from medistill.workflow.experts import train_experts
from medistill.workflow.prepare import prepare
from medistill.workflow.shadows import ask_shadows, plan_shadows
from medistill.workflow.spending import mark_training
from medistill_cli.main import app
from tests.factories.drawn_corpus import CLASSES, drawn_corpus
from tests.factories.heard import Heard
from tests.integration.test_private_run import PRIVATE

pytest.importorskip("opacus")


@pytest.fixture(scope="module")
def recipe(tiny_recipe: Recipe) -> Recipe:
    classes = f"data.classes={json.dumps(CLASSES)}"
    return override_recipe(tiny_recipe, [*PRIVATE, classes, "data.image_size=16", "method.experts.epochs=3"], "test")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpora")


def entries() -> tuple[Entry, ...]:
    ledger = read_ledger(ledger_root())
    return ledger.entries if ledger is not None else ()


def reseeded(recipe: Recipe, *more: str) -> Recipe:
    return override_recipe(recipe, ["seed=1", *more], "test")


def pictures(folder: Path, *, first: int = 0, count: int = 8) -> Path:
    """Grey pictures of two classes, each of another pattern."""
    for label in ("COVID", "Normal"):
        for number in range(first, first + count):
            file = folder / label / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([number, len(label)]).integers(0, 256, (32, 32), np.uint8)
            Image.fromarray(pixels).save(file)
    return folder


def of_pictures(recipe: Recipe, *more: str) -> Recipe:
    return override_recipe(recipe, ["data.classes=COVID,Normal", "privacy.unit=image", *more], "test")


def test_the_second_set_says_what_both_have_spent(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    guarantee = Guarantee.of(recipe)
    assert guarantee is not None
    heard, spent = Heard(), []
    for name, chosen in (("one", recipe), ("other", reseeded(recipe))):
        made = distill(corpus, train_experts(corpus, chosen, progress=heard), chosen, out=tmp_path / name)
        spent.append(Spent.of_set(made.provenance))
        assert spent[-1].sentence in made.provenance.privacy
    assert (spent[0].releases, spent[0].epsilon, spent[0].delta) == (1, guarantee.epsilon, guarantee.delta)
    assert (spent[1].releases, spent[1].others_epsilon) == (2, guarantee.epsilon)
    assert spent[1].delta == 2 * guarantee.delta
    assert guarantee.epsilon < (spent[1].epsilon or 0) <= 2 * guarantee.epsilon
    assert any("A new ledger of privacy begins" in said for said in heard.said)
    assert any("one of 2 releases" in said for said in heard.said)


def test_experts_that_are_there_are_not_counted_again(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    store = train_experts(corpus, recipe)
    train_experts(corpus, recipe)
    for name in "ab":
        distill(corpus, store, recipe, out=tmp_path / name)
    assert len(entries()) == 1
    shutil.rmtree(ledger_root())
    train_experts(corpus, recipe)  # a new ledger learns of them, though nothing is trained
    assert len(entries()) == 1


def test_the_shadows_of_an_audit_are_no_releases(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    """They are removed when they were asked; were they counted, no set with a total could ever be audited."""
    guarantee = Guarantee.of(recipe)
    assert guarantee is not None
    quick = ["audit.shadows=4", "audit.shadow_networks=1", "audit.shadow_iterations=2", "method.ipc=1"]
    chosen = override_recipe(recipe, [*quick, f"privacy.total_epsilon={guarantee.epsilon}"], "test")
    train_experts(corpus, chosen)
    before = entries()
    folder, spec = private_folder(tmp_path / "shadows"), network_spec(corpus, chosen)
    context = Context(corpus, chosen, spec, torch.device("cpu"), folder, Silent())
    asked = ask_shadows(plan_shadows(corpus, chosen), context, key="key", network=None)
    assert len(asked.confidence["distilled"]) == 4
    assert entries() == before


def test_experts_that_are_trained_again_are_counted_again(corpus: Corpus, recipe: Recipe) -> None:
    store = train_experts(corpus, recipe)
    store.expert_path(1).unlink()
    train_experts(corpus, recipe)
    steps = [entry.release.steps for entry in entries()]
    assert steps == [steps[0], steps[0] // 2]
    purge()
    train_experts(corpus, recipe)
    assert len(entries()) == 3


def test_it_is_entered_before_anything_is_trained(
    corpus: Corpus, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        assert len(entries()) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr("medistill.workflow.expert_training.train_privately", crash)
    with pytest.raises(KeyboardInterrupt):
        train_experts(corpus, recipe)
    assert len(entries()) == 1


def test_an_expert_whose_training_was_begun_and_is_not_there_is_counted_again(
    corpus: Corpus, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its noise is drawn anew when the run goes on, since nothing of it is kept before it is whole."""
    train = expert_training.train_privately

    def killed(network: torch.nn.Module, *rest: object, after_epoch: Callable, **more: object) -> None:
        def end(epoch: int, flat: object) -> None:
            raise KeyboardInterrupt

        train(network, *rest, after_epoch=end, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(expert_training, "train_privately", killed)
        with pytest.raises(KeyboardInterrupt):
            train_experts(corpus, recipe)
    train_experts(corpus, recipe)
    steps = [entry.release.steps for entry in entries()]
    assert steps == [steps[0], steps[0] // 2], "the one that was begun; the other never was"
    train_experts(corpus, recipe)
    assert len(entries()) == 2


def test_a_copy_of_the_store_does_not_train_by_the_same_entry(
    corpus: Corpus, recipe: Recipe, private_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache is copied after the entry is written and before anything is trained; both go on."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(expert_training, "mark_training", killed)
        with pytest.raises(KeyboardInterrupt):
            train_experts(corpus, recipe)
    assert len(entries()) == 1
    copy = Path(shutil.copytree(private_cache, tmp_path / "copy"))
    one = train_experts(corpus, recipe)
    assert len(entries()) == 1
    monkeypatch.setenv("MEDISTILL_CACHE", str(copy))
    other = train_experts(corpus, recipe)
    assert one.expert_path(0).read_bytes() != other.expert_path(0).read_bytes(), "two trainings"
    assert [entry.release.steps for entry in entries()] == [entries()[0].release.steps] * 2

    with pytest.raises(UsageError, match="trained meanwhile"):
        mark_training(other.path)


def test_a_new_ledger_and_one_of_an_earlier_version_cover_no_other_training(corpus: Corpus, recipe: Recipe) -> None:
    store = train_experts(corpus, recipe)
    shutil.rmtree(ledger_root())
    train_experts(corpus, recipe)
    store.expert_path(1).unlink()
    train_experts(corpus, recipe)
    assert len(entries()) == 2
    with open_ledger(ledger_root()) as ledger:
        replace(ledger, trainings={}).added([], {})  # as it was written before trainings were in it
    store.expert_path(1).unlink()
    train_experts(corpus, recipe)
    assert len(entries()) == 3


def test_a_run_beyond_the_total_is_refused_before_it_trains(corpus: Corpus, recipe: Recipe) -> None:
    guarantee = Guarantee.of(recipe)
    assert guarantee is not None
    limited = override_recipe(recipe, [f"privacy.total_epsilon={guarantee.epsilon + 0.01}"], "test")
    with pytest.raises(UsageError, match="nothing was spent before"):
        train_experts(corpus, override_recipe(recipe, ["privacy.total_epsilon=1"], "test"))
    train_experts(corpus, limited)
    with pytest.raises(UsageError, match=r"total_epsilon = .* would be exceeded: earlier releases .* \(1\) spent"):
        train_experts(corpus, reseeded(limited))
    with pytest.raises(UsageError, match=r"total_delta = 0.0015 would be exceeded"):
        train_experts(corpus, reseeded(recipe, "privacy.total_delta=0.0015"))
    assert len(entries()) == 1
    train_experts(corpus, limited)  # what is there already spends nothing
    train_experts(corpus, reseeded(limited, "privacy.total_epsilon=8"))


def test_a_limit_with_units_that_differ_is_refused(corpus: Corpus, recipe: Recipe) -> None:
    train_experts(corpus, recipe)
    with pytest.raises(UsageError, match="an epsilon that cannot be told"):
        train_experts(corpus, override_recipe(recipe, ["privacy.unit=image", "privacy.total_epsilon=50"], "test"))


@pytest.mark.parametrize("how", ["smaller", "fewer", "elsewhere", "another year"])
def test_the_same_people_are_known_again(recipe: Recipe, tmp_path: Path, how: str) -> None:
    """By the folder, by any original, or by a patient's number, whatever the cache holds."""
    chosen = of_pictures(recipe)
    folder = pictures(tmp_path / "xray")
    table = tmp_path / "labels.csv"
    rows = [f"{label}/{n}.png,{label},p{label}{n % 8}" for label in ("COVID", "Normal") for n in range(16)]
    table.write_text("\n".join(["file,label,patient", *rows[:8], *rows[16:24]]))
    train_experts(prepare(folder, chosen, labels=table), chosen)
    purge()
    if how == "smaller":
        chosen = of_pictures(recipe, "data.image_size=8", "network.depth=1")
    elif how == "fewer":
        for number in range(3):
            (folder / "COVID" / f"{number}.png").unlink()
        table.write_text("\n".join(["file,label,patient", *rows[3:8], *rows[16:24]]))
    elif how == "elsewhere":
        folder = pictures(tmp_path / "moved")
        table.write_text(table.read_text().replace(",p", ",q"))
    else:
        folder = pictures(tmp_path / "other", first=8)
        table.write_text("\n".join(["file,label,patient", *rows[8:16], *rows[24:]]))
    train_experts(prepare(folder, chosen, labels=table), chosen)
    ledger = read_ledger(ledger_root())
    assert ledger is not None
    assert len(ledger.of(ledger.entries[1].people)) == 2


def test_other_people_are_others(recipe: Recipe, tmp_path: Path) -> None:
    chosen = of_pictures(recipe)
    for name, first in (("here", 0), ("there", 8)):
        store = train_experts(prepare(pictures(tmp_path / name, first=first), chosen), chosen)
    ledger = read_ledger(ledger_root())
    assert ledger is not None
    assert [len(ledger.of(entry.people)) for entry in ledger.entries] == [1, 1]
    assert store.missing() == []


def test_a_corpus_that_was_read_without_a_budget_is_read_again_for_one(recipe: Recipe, tmp_path: Path) -> None:
    chosen = of_pictures(recipe)
    folder = pictures(tmp_path / "xray")
    corpus = prepare(folder, override_recipe(chosen, ["privacy.mode=none"], "test"))
    assert not ledger_root().exists()
    heard = Heard()
    assert prepare(folder, chosen, progress=heard).content == corpus.content
    assert any("the files are read again" in said for said in heard.said)
    heard = Heard()
    prepare(folder, chosen, progress=heard)
    assert heard.said[0].startswith("The corpus is in the cache already")


def test_without_a_ledger_that_can_be_read_and_written_nothing_is_trained(corpus: Corpus, recipe: Recipe) -> None:
    store = train_experts(corpus, recipe)
    (ledger_root() / "ledger.json").write_text("{}")
    with pytest.raises(ArtifactError, match="is damaged"):
        train_experts(corpus, reseeded(recipe))
    result = CliRunner().invoke(app, ["ledger"])
    assert result.exit_code != 0
    assert "is damaged" in " ".join(result.output.split())
    shutil.rmtree(ledger_root())
    ledger_root().write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        train_experts(corpus, reseeded(recipe))
    assert [path.name for path in store.path.parent.iterdir() if list(path.glob("expert_*"))] == [store.key]


def test_the_command_lists_what_was_spent(corpus: Corpus, recipe: Recipe, tmp_path: Path) -> None:
    def listed() -> dict[str, object]:
        result = CliRunner().invoke(app, ["ledger", "--json"])
        assert result.exit_code == 0
        return dict(json.loads(result.stdout))

    assert (listed()["releases"], listed()["began"]) == ([], None)
    assert "as far as this installation knows" in CliRunner().invoke(app, ["ledger"]).stdout
    made = distill(corpus, train_experts(corpus, recipe), recipe, out=tmp_path / "one")
    train_experts(corpus, reseeded(recipe))
    one, _ = listed()["releases"]  # type: ignore[misc]
    assert one["epsilon"] == made.provenance.differential_privacy["epsilon"]
    assert one["in_all"]["releases"] == 2
    assert "2 of 2 releases" in CliRunner().invoke(app, ["ledger"], env={"COLUMNS": "200"}).stdout
    assert DistilledSet.load(tmp_path / "one").provenance.privacy_spent.releases == 1
