"""Networks that are trained as jobs: what is kept, what is made again, what one that diverges does to the others."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.kept import keep_tensors, read_checked
from medistill.artifacts.local_key import local_key
from medistill.errors import DivergedError
from medistill.networks.flat import FlatParameters
from medistill.networks.registry import build_network, network_spec
from medistill.progress import Silent, SilentTask
from medistill.ranks.joined import Joined
from medistill.recipe import load_recipe
from medistill.training import ensemble
from medistill.training.context import Context
from medistill.training.ensemble import JobRunner, Outputs, OutputsFile, TrainingJob, predicting
from medistill.training.fresh_network import TrainingSet
from medistill.training.images import LabelledImages
from medistill.training.loop import Schedule, train
from medistill.training.randomness import generator
from tests.factories.drawn_corpus import drawn_corpus, drawn_set
from tests.factories.several_ranks import several

EPOCHS = 3
CPU = torch.device("cpu")


class Heard(Silent):
    """What was told: lines, and the steps and words of the task."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.tasks: list[tuple[str, int, int]] = []
        self.steps: list[tuple[int, str]] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
        self.tasks.append((title, total, done))
        steps = self.steps

        class Task(SilentTask):
            def advance(self, count: int = 1, *, figures: str = "") -> None:
                steps.append((count, figures))

        return Task()


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return drawn_corpus(tmp_path / "corpus")


@pytest.fixture
def context(corpus: Corpus, tmp_path: Path) -> Context:
    recipe = load_recipe("demo", ["data.image_size=16", "network.depth=2", "network.width=4"])
    return Context(corpus, recipe, network_spec(corpus, recipe), CPU, tmp_path, Heard())


def jobs(context: Context, rates: dict[str, float], *, count: int = 2, key: str = "k", kept: bool = True) -> list:
    """``count`` jobs a group, whose networks learn the drawn set at the group's rate and predict the test split."""
    made = drawn_set(context.corpus)
    shown = {"test": LabelledImages.of_split(context.corpus, "test", made.normalisation, CPU)}

    def job(group: str, number: int) -> TrainingJob:
        schedule = Schedule(EPOCHS, 4, rates[group])
        return TrainingJob(
            group=group,
            number=number,
            display_name=f"{group}, network {number + 1}",
            epochs=EPOCHS,
            steps=len(made.labels),
            training=lambda: TrainingSet(LabelledImages.of_set(made, CPU), schedule),
            rng=lambda: generator(3, group, number),
            outputs=predicting(lambda: shown, context),
            store=OutputsFile(context.out / f"{group}_{number}.safetensors", key) if kept else None,
        )

    return [job(group, number) for group in rates for number in range(count)]


def run(context: Context, given: Sequence[TrainingJob], **more: object) -> JobRunner:
    runner = JobRunner(given, context.progress.say)
    runner.run(context, "Training", **more)  # type: ignore[arg-type]
    return runner


def arrays(runner: JobRunner, group: str) -> list[np.ndarray]:
    return [one.arrays["test"] for one in runner.of(group)]


def test_a_job_is_the_training_loop_with_its_own_numbers(context: Context) -> None:
    """Against the loop itself, called by hand."""
    (found, _) = arrays(run(context, jobs(context, {"a": 0.05})), "a")
    made, rng = drawn_set(context.corpus), generator(3, "a", 0)
    network = build_network(context.spec, rng, CPU)
    schedule = Schedule(EPOCHS, 4, 0.05)
    train(network, LabelledImages.of_set(made, CPU), schedule, context.recipe.augmentation, rng, micro_batch=256)
    shown = LabelledImages.of_split(context.corpus, "test", made.normalisation, CPU)
    with torch.no_grad():
        expected = network.eval()(shown.batch(slice(None))).softmax(dim=1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_is_kept_is_private_and_is_not_made_again(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(context, jobs(context, {"a": 0.05, "b": 0.02}))
    files = sorted(context.out.glob("*.safetensors"))
    assert [file.name for file in files] == [f"{group}_{number}.safetensors" for group in "ab" for number in (0, 1)]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    monkeypatch.setattr(ensemble, "train_network", None)
    again = run(context, jobs(context, {"a": 0.05, "b": 0.02}))
    for group in "ab":
        np.testing.assert_array_equal(arrays(again, group), arrays(first, group))
        assert [one.seconds for one in again.of(group)] == [one.seconds for one in first.of(group)]


def test_only_what_is_missing_damaged_or_of_another_key_is_made_again(context: Context) -> None:
    before = run(context, jobs(context, {"a": 0.05, "b": 0.02}))
    (context.out / "a_1.safetensors").unlink()
    damaged = context.out / "b_0.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    runner = JobRunner(jobs(context, {"a": 0.05, "b": 0.02}), context.progress.say)
    assert [(job.group, job.number) for job in runner.missing] == [("a", 1), ("b", 0)]
    assert runner.damaged == {"b"}
    assert "b_0.safetensors" in context.progress.said[-1]  # type: ignore[attr-defined]
    runner.run(context, "Training")
    for group in "ab":
        np.testing.assert_array_equal(arrays(runner, group), arrays(before, group))
    assert len(JobRunner(jobs(context, {"a": 0.05}, key="other"), context.progress.say).missing) == 2


def test_answers_that_this_installation_did_not_seal_are_made_again(context: Context, tmp_path: Path) -> None:
    """Each has a right checksum and the right key, which anybody can work out who can write to the folder."""
    store = OutputsFile(context.out / "raw_000.safetensors", "k", "answers")
    genuine, said = Outputs({"confidence": np.arange(4, dtype=np.float32)}, 2.5), list[str]()
    store.save(genuine)
    written, _ = read_checked(store.path, "answers")
    kept = store.load(said.append)
    assert not said
    assert kept is not None
    assert kept.seconds == 2.5
    np.testing.assert_array_equal(kept.arrays["confidence"], genuine.arrays["confidence"])

    unsealed = {name: array for name, array in written.items() if name != "seal"}
    forged = {
        "as earlier versions wrote it": (store.path, unsealed, "k"),
        "other numbers": (store.path, {**written, "confidence": -written["confidence"]}, "k"),
        "another time": (store.path, {**written, "seconds": np.array([1.0])}, "k"),
        "one more array": (store.path, {**written, "labels": written["confidence"]}, "k"),
        "no seal but zeros": (store.path, {**written, "seal": np.zeros(32, np.uint8)}, "k"),
        "of another network": (context.out / "raw_001.safetensors", written, "k"),
        "of another set": (store.path, written, "other"),
    }
    for path, arrays, key in forged.values():
        said.clear()
        keep_tensors(path, arrays, {"key": key})
        assert OutputsFile(path, key, "answers").load(said.append) is None
        assert said == [f"answers: {path} was not sealed by this installation: made again."]
        assert not path.exists()


def test_on_another_machine_what_was_kept_is_made_again(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key, and with another one; nothing is refused, and the networks say the same."""
    before = run(context, jobs(context, {"a": 0.05}))
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "other keys"))
    again = JobRunner(jobs(context, {"a": 0.05}), context.progress.say)
    assert len(again.missing) == 2
    assert again.damaged == {"a"}
    assert not (tmp_path / "other keys").exists(), "nothing was sealed yet"
    again.run(context, "Training")
    np.testing.assert_array_equal(arrays(again, "a"), arrays(before, "a"))
    assert not JobRunner(jobs(context, {"a": 0.05}), context.progress.say).missing
    monkeypatch.setenv("MEDISTILL_KEYS", str(tmp_path / "a third"))
    local_key()
    assert len(JobRunner(jobs(context, {"a": 0.05}), context.progress.say).missing) == 2


def test_neither_order_nor_company_changes_a_network(context: Context) -> None:
    together = run(context, jobs(context, {"a": 0.05, "b": 0.02}, kept=False))
    alone = run(context, jobs(context, {"b": 0.02}, kept=False)[::-1])
    np.testing.assert_array_equal(arrays(alone, "b"), arrays(together, "b")[::-1])


def test_progress_counts_what_is_done_and_names_each_network(context: Context) -> None:
    given = jobs(context, {"a": 0.05})
    images = given[0].steps
    run(context, given)
    (context.out / "a_1.safetensors").unlink()
    run(context, jobs(context, {"a": 0.05}))
    heard = context.progress
    assert isinstance(heard, Heard)
    assert heard.tasks == [("Training", 2 * EPOCHS * images, 0), ("Training", 2 * EPOCHS * images, EPOCHS * images)]
    assert sum(steps for steps, _ in heard.steps) == 3 * EPOCHS * images
    assert [words for steps, words in heard.steps if not steps] == [f"a, network {n}" for n in (1, 2, 2)]


def test_a_task_that_is_stopped_has_kept_what_was_finished(context: Context) -> None:
    class Stops(Heard):
        def task(self, title: str, total: int, *, done: int = 0) -> SilentTask:
            class Task(SilentTask):
                def advance(self, steps: int = 1, *, figures: str = "") -> None:
                    if figures == "a, network 2":
                        raise KeyboardInterrupt

            return Task()

    stopped = Context(context.corpus, context.recipe, context.spec, CPU, context.out, Stops())
    with pytest.raises(KeyboardInterrupt):
        run(stopped, jobs(stopped, {"a": 0.05}))
    assert [job.number for job in JobRunner(jobs(context, {"a": 0.05}), context.progress.say).missing] == [1]


def test_one_that_diverges_ends_the_work_with_its_name(context: Context) -> None:
    with pytest.raises(DivergedError, match=r"wild, network 1: .*1e\+30 diverged"):
        run(context, jobs(context, {"wild": 1e30, "b": 0.02}))
    assert not list(context.out.glob("*.safetensors"))


def test_or_its_group_is_left_out_and_the_others_go_on(context: Context) -> None:
    told: list[tuple[str, str]] = []
    runner = run(
        context,
        jobs(context, {"a": 0.05, "wild": 1e30, "b": 0.02}),
        leave_out=lambda job, error: told.append((job.display_name, error.seen)),
    )
    assert [(name, "diverged" in seen) for name, seen in told] == [("wild, network 1", True)]
    assert set(runner.diverged) == {"wild"}
    assert [len(runner.of(group)) for group in ("a", "wild", "b")] == [2, 0, 2]


def test_ranks_leave_the_same_groups_out_for_the_same_reasons_and_tell_of_groups_in_order(context: Context) -> None:
    rates = {"a": 0.05, "wild": 1e30, "b": 0.02}
    told: dict[int, list[str]] = {0: [], 1: []}

    def shared(ranks: Joined) -> JobRunner:
        inside, heard = replace(context, ranks=ranks), told[ranks.rank]
        return run(
            inside,
            jobs(inside, rates, count=3),
            leave_out=lambda job, error: heard.append(f"{job.display_name} {error.seen}"),
            after_group=lambda group, *_: heard.append(group),
        )

    found = several(2, shared)
    alone = run(replace(context, out=context.out / "alone"), jobs(context, rates, count=3), leave_out=lambda *_: None)
    for rank, runner in enumerate(found):
        assert {group: str(why) for group, why in runner.diverged.items()} == {"wild": str(alone.diverged["wild"])}
        for group in ("a", "b"):
            for mine, theirs in zip(arrays(runner, group), arrays(alone, group), strict=True):
                np.testing.assert_array_equal(mine, theirs)
        assert [words for words in told[rank] if "network" not in words] == ["a", "wild", "b"]
        assert [words for words in told[rank] if "network" in words] == [
            f"wild, network 1 {alone.diverged['wild'].seen}"
        ]


def test_outputs_that_are_not_finite_are_not_kept(context: Context) -> None:
    (job, _) = jobs(context, {"a": 0.05})
    broken = TrainingJob(
        **{name: getattr(job, name) for name in job.__dataclass_fields__ if name != "outputs"},
        outputs=lambda network: {"test": np.array([np.nan])},
    )
    with pytest.raises(DivergedError):
        run(context, [broken])
    assert not list(context.out.glob("*.safetensors"))


def test_a_job_says_itself_what_is_kept(context: Context) -> None:
    (job, _) = jobs(context, {"a": 0.05})
    weights = TrainingJob(
        **{name: getattr(job, name) for name in job.__dataclass_fields__ if name != "outputs"},
        outputs=lambda network: {"parameters": FlatParameters(network).values.numpy()},
    )
    (kept,) = run(context, [weights]).of("a")
    network = build_network(context.spec, torch.Generator(), CPU)
    FlatParameters(network).load(torch.from_numpy(kept.arrays["parameters"]))
    (again,) = JobRunner([weights], context.progress.say).of("a")
    np.testing.assert_array_equal(again.arrays["parameters"], FlatParameters(network).values.numpy())


def test_groups_are_told_of_when_they_are_done(context: Context) -> None:
    told: list[tuple[str, int]] = []
    run(context, jobs(context, {"a": 0.05}))
    run(
        context,
        jobs(context, {"a": 0.05, "b": 0.02}),
        after_group=lambda group, trained, seconds: told.append((group, trained)),
    )
    assert told == [("b", 2)]
