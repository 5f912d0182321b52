"""`medistill benchmark`: official files to a corpus, a run, and its figures beside published ones."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json, keep_tensors, read_checked_json
from medistill.data.benchmarks import catalogue
from medistill.data.benchmarks.catalogue import BENCHMARKS, OfficialFile
from medistill.data.benchmarks.read import find_files, read_benchmark
from medistill.errors import DataError, UsageError
from medistill.evaluate.evaluation import load_evaluation
from medistill.evaluate.published import load_benchmark
from medistill.networks.registry import network_spec
from medistill.progress import Silent
from medistill.recipe import load_recipe
from medistill.studies.benchmark import study as module
from medistill.studies.benchmark.best_checkpoint import best_checkpoint
from medistill.studies.benchmark.study import (
    BenchmarkSource,
    benchmark_corpus,
    benchmark_recipe,
    departures,
    smaller_classes,
)
from medistill.training.context import Context
from medistill.workflow.run import run
from medistill_cli.main import app
from tests.factories.drawn_corpus import drawn_corpus, drawn_set
from tests.factories.tiny import TINY, TINY_QUANTISED

WORDS = ("benchmark", "pneumoniamnist", "--ipc", "1", "--device", "cpu")
COUNTS = {"train": 60, "val": 12, "test": 20}


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file of PneumoniaMNIST's form."""
    numbers, arrays = np.random.default_rng(0), {}
    for split, count in COUNTS.items():
        labels = np.arange(count) % 2
        pixels = numbers.integers(0, 120, (count, 28, 28)) + 80 * labels[:, None, None]
        arrays |= {f"{split}_images": pixels.astype(np.uint8), f"{split}_labels": labels[:, None].astype(np.uint8)}
    folder = tmp_path_factory.mktemp("official") / "medmnist"
    folder.mkdir()
    np.savez_compressed(folder / "pneumoniamnist.npz", **arrays)
    return folder


@pytest.fixture
def pneumonia(small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that file, and a catalogue that expects its size."""
    monkeypatch.setitem(catalogue.BENCHMARKS, "pneumoniamnist", replace(BENCHMARKS["pneumoniamnist"], **COUNTS))
    return Path(shutil.copytree(small_file, tmp_path / "medmnist"))


@pytest.fixture(scope="module")
def finished(small_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A finished run, with what was said on stdout and stderr."""
    out = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.BENCHMARKS, "pneumoniamnist", replace(BENCHMARKS["pneumoniamnist"], **COUNTS))
        patch.setenv("MEDISTILL_CACHE", str(tmp_path_factory.mktemp("cache")))
        code, told, said = cli(*WORDS, "--data", str(small_file), "--out", str(out), "--json", *settings())
    assert code == 0, said
    return out, told, said


def cli(*words: str) -> tuple[int, str, str]:
    told = CliRunner().invoke(app, [*words])
    return told.exit_code, told.stdout, told.stderr


def settings(*more: str, tiny: tuple[str, ...] = TINY) -> list[str]:
    return [word for setting in (*tiny, *more) for word in ("--set", setting)]


def test_from_official_file_to_figures_beside_published_ones(finished: tuple[Path, str, str]) -> None:
    out, told, said = finished
    assert "Recipe pneumoniamnist-ipc1." in said
    result, evaluation = json.loads(told)["benchmark"], json.loads(told)["evaluation"]
    assert (result["dataset"], result["ipc"]) == ("pneumoniamnist", 1)
    distilled = next(arm for arm in evaluation["arms"] if arm["arm"] == "distilled")
    assert result["chosen_accuracy"] == pytest.approx(100 * np.mean(distilled["network_accuracy"]))
    assert result["chosen_spread"] == pytest.approx(100 * np.std(distilled["network_accuracy"], ddof=1))
    assert [figure["accuracy"] for figure in result["published"]] == [83.1]
    assert {sentence.split(" is ")[0] for sentence in result["cut_down"]} == {
        setting.partition("=")[0] for setting in TINY
    } - {"evaluate.bootstrap", "schedule.choose"}
    assert "method.experts.count is 2 in place of 20." in result["cut_down"]

    looks = json.loads((out / "looks" / "accuracy.json").read_text())["accuracy"]
    assert sorted(looks) == ["2", "4"]
    means = {int(step): 100 * np.mean(values) for step, values in looks.items()}
    assert result["maximum_accuracy"] == pytest.approx(max(means.values()))
    assert means[result["maximum_step"]] == pytest.approx(max(means.values()))
    chosen = json.loads((out / "history.json").read_text())["chosen_step"]
    assert means[chosen] == pytest.approx(result["chosen_accuracy"])
    kept = load_file(out / "looks" / f"{chosen:06d}.safetensors")
    np.testing.assert_array_equal(kept["images"], load_file(out / "set" / "images.safetensors")["images"])
    assert load_benchmark(out / "benchmark.json").maximum_step == result["maximum_step"]

    record = json.loads((out / "run.json").read_text())
    assert record["benchmark"] == {"name": "pneumoniamnist", "limit": None}
    assert record["command"] == (
        "medistill benchmark pneumoniamnist --recipe run/recipe.toml --data medmnist --out run-again"
    )
    assert record["corpus"]["patients"] == COUNTS
    assert json.loads((out / "report.json").read_text())["benchmark"]["dataset"] == "pneumoniamnist"


def test_finished_looks_are_not_tested_again(
    finished: tuple[Path, str, str], pneumonia: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(finished[0], tmp_path / "run"))
    words = [*WORDS, "--data", str(pneumonia), "--out", str(out)]
    first = (out / "benchmark.json").read_text()
    (out / "benchmark.json").unlink()
    known = read_checked_json(out / "looks" / "accuracy.json", "looks")
    chosen = str(json.loads((out / "history.json").read_text())["chosen_step"])
    other = next(step for step in known["accuracy"] if step != chosen)
    half = known["accuracy"] | {other: known["accuracy"][other][:1]}
    keep_json(out / "looks" / "accuracy.json", known | {"accuracy": half}, private=True)
    from medistill.training import ensemble

    trained = []
    real = ensemble.do

    def count(job, *others):
        if job.group == other:
            trained.append(job)
        return real(job, *others)

    monkeypatch.setattr(ensemble, "do", count)
    code, told, said = cli(*words, "--resume")
    assert code == 0, said
    assert len(trained) == 1, "one network of one look was missing"
    assert (out / "benchmark.json").read_text() == first
    assert "This run, best on the test set" in told
    assert "Whole data set (ResNet-18)" in told

    code, _, said = cli(*words, "--resume", "--limit", "10")
    assert code == 2
    assert "another --limit" in said


def test_the_chosen_look_is_worth_what_the_evaluation_says(
    finished: tuple[Path, str, str], pneumonia: Path, tmp_path: Path
) -> None:
    """The looks are tested as the set is: trained once more, the chosen one has the same accuracy to the last image."""
    out = Path(shutil.copytree(finished[0], tmp_path / "run"))
    (out / "looks" / "accuracy.json").unlink()
    recipe, cpu = load_recipe(out / "recipe.toml"), torch.device("cpu")
    corpus = benchmark_corpus(BenchmarkSource("pneumoniamnist", pneumonia), recipe)
    distilled = DistilledSet.load(out / "set")
    best_checkpoint(distilled, (), Context(corpus, recipe, network_spec(corpus, recipe), cpu, out, Silent()))
    told = json.loads((out / "looks" / "accuracy.json").read_text())["accuracy"]
    arm = load_evaluation(out / "evaluation" / "evaluation.json").arm("distilled")
    assert arm is not None
    assert told[str(distilled.provenance.chosen_step)] == pytest.approx(list(arm.network_accuracy))


def test_a_look_on_which_networks_diverge_takes_no_part(
    finished: tuple[Path, str, str], pneumonia: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(finished[0], tmp_path / "run"))
    distilled = DistilledSet.load(out / "set")
    chosen = distilled.provenance.chosen_step
    other = next(path for path in (out / "looks").glob("0*.safetensors") if int(path.stem) != chosen)
    keep_tensors(other, load_file(other) | {"student_lr": np.array([1e30])}, {})
    recipe, cpu = load_recipe(out / "recipe.toml"), torch.device("cpu")
    corpus = benchmark_corpus(BenchmarkSource("pneumoniamnist", pneumonia), recipe)
    context = Context(corpus, recipe, network_spec(corpus, recipe), cpu, out, Silent())
    best = best_checkpoint(distilled, (0.25, 0.35), context)
    assert best == (chosen, pytest.approx(0.3))


def test_a_run_that_was_stopped_in_between_ends_in_the_same_maximum(
    finished: tuple[Path, str, str], pneumonia: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*WORDS, "--data", str(pneumonia), "--out", str(tmp_path / "cut"), *settings()]
    from medistill.methods.optimising import outer_run

    real, seen = outer_run.keep_step, []

    def stop_at_the_second(*given: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(real(*given))

    monkeypatch.setattr(outer_run, "keep_step", stop_at_the_second)
    assert cli(*words)[0] == 130
    monkeypatch.setattr(outer_run, "keep_step", real)
    assert cli(*words, "--resume")[0] == 0
    assert load_benchmark(tmp_path / "cut" / "benchmark.json") == load_benchmark(finished[0] / "benchmark.json")


def test_without_looks_there_is_no_maximum(pneumonia: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["benchmark", "pneumoniamnist", "--ipc", "3", "--data", str(pneumonia), "--out", str(out), "--limit", "10"]
    code, told, said = cli(*words, *settings("method.keep_looks=false"))
    assert code == 0, said
    assert "Recipe pneumoniamnist-ipc1, with 3 images per class" in said
    result = load_benchmark(out / "benchmark.json")
    assert (result.ipc, result.maximum_accuracy, result.maximum_step) == (3, None, None)
    assert not (out / "looks").exists()
    assert result.cut_down[:2] == (
        "At most 10 training images of each class were used.",
        "There is no setting for 3 images per class: that of pneumoniamnist-ipc1 was taken.",
    )
    assert "At most 10 training images" in told
    assert "best on the test set" not in told
    record = json.loads((out / "run.json").read_text())["corpus"]
    assert record["counts"]["train"] == {"normal": 10, "pneumonia": 10}
    assert record["counts"]["val"] == {"normal": 6, "pneumonia": 6}, "the benchmark's own split is kept whole"
    assert (record["found"], record["refused"]) == (92, {"beyond the limit": 40})


def test_a_method_that_quantises_is_set_beside_the_same_figures(pneumonia: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [
        "benchmark",
        "pneumoniamnist",
        "--ipc",
        "3",
        "--method",
        "ddoq",
        "--data",
        str(pneumonia),
        "--out",
        str(out),
    ]
    code, told, said = cli(*words, *settings("method.quantise.components=4", tiny=TINY_QUANTISED))
    assert code == 0, said
    result = load_benchmark(out / "benchmark.json")
    assert (result.ipc, result.maximum_accuracy, result.maximum_step) == (3, None, None), (
        "there is no course to look at"
    )
    assert {sentence.split(" is ")[0] for sentence in result.cut_down} == {
        "network.width", "method.quantise.components", "evaluate.networks", "evaluate.epochs", "evaluate.raw_epochs"
    }  # fmt: skip
    assert "This run " in told
    assert "chosen on validation data" not in told
    assert not (out / "looks").exists()
    assert "experts" not in json.loads((out / "run.json").read_text())["stages"]
    assert DistilledSet.load(out / "set").provenance.starts_from == "quantised"


def test_the_recipe_for_a_number_of_images() -> None:
    assert benchmark_recipe("cifar10", 10) == ("cifar10-ipc10", [])
    assert benchmark_recipe("cifar100", 5) == ("cifar100-ipc10", ["method.ipc=5"])
    assert benchmark_recipe("tiny-imagenet", 100) == ("tiny-imagenet-ipc50", ["method.ipc=100"])
    assert benchmark_recipe("cifar10", 7, "ddoq") == ("cifar10-ddoq", ["method.ipc=7"])
    assert benchmark_recipe("cifar10", 10, "d4m") == ("cifar10-ddoq", ["method.ipc=10"])
    assert benchmark_recipe("pneumoniamnist", 10, "ddoq") == ("pneumoniamnist-ipc10", [])
    with pytest.raises(UsageError, match=r"there is no benchmark 'cifar'.*cifar10"):
        benchmark_recipe("cifar", 1)
    with pytest.raises(UsageError, match=r"1 or more"):
        benchmark_recipe("cifar10", 0)


PUBLISHED = {
    "cifar10": {1: (50, 2, 2, 1e2, 1e-7, 0.01, True, 0), 10: (30, 2, 20, 1e2, 1e-5, 0.001, True, 0)}
    | {50: (30, 2, 40, 1e3, 1e-5, 0.001, False, 0)},
    "cifar100": {1: (20, 3, 20, 1e3, 1e-5, 0.01, True, 0), 10: (20, 2, 20, 1e3, 1e-5, 0.01, False, 0)}
    | {50: (80, 2, 40, 1e3, 1e-5, 0.01, True, 125)},
    "tiny-imagenet": {1: (10, 2, 10, 1e4, 1e-4, 0.01, False, 0), 10: (20, 2, 40, 1e4, 1e-4, 0.01, False, 200)}
    | {50: (20, 2, 40, 1e4, 1e-4, 0.01, False, 300)},
}
"""As MTT's author lists them: J, K, max_start_epoch, lr_img, lr_lr, lr_teacher, ZCA, batch_syn."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_recipes_are_the_published_settings(name: str) -> None:
    for ipc, (steps, epochs, bound, image_lr, lr_lr, student_lr, zca, batch) in PUBLISHED[name].items():
        recipe = load_recipe(f"{name}-ipc{ipc}")
        made, benchmark = recipe.method, BENCHMARKS[name]
        assert (made.ipc, made.syn_steps, made.expert_epochs, made.max_start_epoch) == (ipc, steps, epochs, bound)
        assert (made.image_lr, made.student_lr_lr, made.student_lr) == (image_lr, lr_lr, student_lr)
        assert (recipe.data.zca, made.batch_syn, made.iterations, made.keep_looks) == (zca, batch, 5000, True)
        assert (recipe.data.image_size, recipe.data.channels) == (benchmark.sizes[0], benchmark.channels)
        assert (recipe.method.experts.count, recipe.method.experts.epochs, recipe.evaluate.networks) == (100, 50, 5)
        assert recipe.network.depth == (4 if name == "tiny-imagenet" else 3)
        assert departures(BenchmarkSource(name), recipe) == []


def test_a_method_is_no_departure_and_each_changed_setting_is_one() -> None:
    for method in ("mtt", "datm", "ftd"):
        assert departures(BenchmarkSource("cifar10"), load_recipe("cifar10-ipc1", [f"method.name={method}"])) == []
    free = ["seed=3", "evaluate.across=['vgg11']", "compute.micro_batch=4", "method.keep_looks=false"]
    assert departures(BenchmarkSource("cifar10"), load_recipe("cifar10-ipc1", free)) == []
    told = departures(BenchmarkSource("cifar10", limit=7), load_recipe("cifar10-ipc1", ["method.init=noise"]))
    assert told == ["At most 7 training images of each class were used.", "method.init is noise in place of real."]


def test_a_method_that_quantises_is_held_against_the_recipe_of_its_own_kind() -> None:
    def told(name: str, *changes: str) -> list[str]:
        return departures(BenchmarkSource(name), load_recipe(changes[0], changes[1:]))

    assert told("cifar10", "cifar10-ddoq") == told("cifar10", "cifar10-ddoq", "method.name=d4m", "method.ipc=3") == []
    assert told("pneumoniamnist", "pneumoniamnist-ipc10", "method.name=ddoq", "method.ipc=7") == []
    assert told("cifar10", "cifar10-ddoq", "method.autoencoder.width=64") == [], "none is trained here"
    told_of = ["method.quantise.components=20", "method.labels=hard", "evaluate.epochs=9", "data.zca=false"]
    assert told("cifar10", "cifar10-ddoq", *told_of) == [
        "data.zca is False in place of True.",
        "method.labels is hard in place of soft.",
        "method.quantise.components is 20 in place of 64.",
        "evaluate.epochs is 9 in place of 1000.",
    ]
    assert told("cifar10", "cifar10-ddoq", "method.quantise.encoder=autoencoder", "method.autoencoder.width=64") == [
        "method.quantise.encoder is autoencoder in place of pca."
    ]
    assert told("cifar10", "cifar10-ipc1", "method.quantise.components=3") == [], "nothing here is quantised"
    assert told("cifar10", "cifar10-ipc1", "method.init=quantised") == ["method.init is quantised in place of real."]


def test_a_second_call_reads_nothing_and_an_altered_file_is_read_again(
    pneumonia: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, source = load_recipe("pneumoniamnist-ipc1"), BenchmarkSource("pneumoniamnist", pneumonia)
    first = benchmark_corpus(source, recipe)
    reads = []
    monkeypatch.setattr(module, "read_benchmark", lambda *given: reads.append(given) or read_benchmark(*given))
    assert benchmark_corpus(source, recipe).content == first.content
    assert reads == []
    with np.load(pneumonia / "pneumoniamnist.npz") as held:
        arrays = {name: held[name] for name in held}
    arrays["test_images"] = 255 - arrays["test_images"]
    np.savez(pneumonia / "pneumoniamnist.npz", **arrays)
    again = benchmark_corpus(source, recipe)
    assert (len(reads), again.content == first.content) == (1, False)
    np.testing.assert_array_equal(again.images[again.rows("test")][:, 0], arrays["test_images"])


@pytest.mark.parametrize(
    ("changes", "limit", "why"),
    [
        (["data.channels=3"], None, r"28 pixels and 3 channels"),
        (["data.classes=['normal','pneumonia']"], None, r"takes some classes or sites alone"),
        (["method.ipc=10"], 5, r"--limit 5.*at least 10 images of each class: the images start from 10 of them"),
        (
            ["method.name=ddoq"],
            4,
            r"--limit 4.*at least 5 images of each class: the images start from means of 5 of them",
        ),
        (["method.name=ddoq", "method.ipc=10"], 9, r"--limit 9.*at least 10 images.*means of 10"),
        (["data.burnt_in_text=mask"], None, r"burnt_in_text = mask.*taken as published"),
    ],
)
def test_what_does_not_fit_the_benchmark_is_refused(
    changes: list[str], limit: int | None, why: str, pneumonia: Path
) -> None:
    recipe = load_recipe("pneumoniamnist-ipc1", changes)
    with pytest.raises(UsageError, match=why):
        benchmark_corpus(BenchmarkSource("pneumoniamnist", pneumonia, limit=limit), recipe)


def test_a_copy_that_was_cut_down_is_told_of_beside_every_figure(
    pneumonia: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {split: count + 5 for split, count in COUNTS.items()}
    monkeypatch.setitem(catalogue.BENCHMARKS, "pneumoniamnist", replace(BENCHMARKS["pneumoniamnist"], **more))
    recipe, meant = load_recipe("pneumoniamnist-ipc1"), BenchmarkSource("pneumoniamnist", pneumonia, partial=True)
    corpus = benchmark_corpus(meant, recipe)
    counted = ", ".join(f"{COUNTS[split]} of {more[split]} {split}" for split in ("train", "val", "test"))
    assert f"The copy was cut down before it was read: it has {counted} images." in corpus.notes
    assert (
        departures(meant, recipe)[0]
        == "The files may be a part of those published, test images left out too (--partial)."
    )
    assert meant.record == {"name": "pneumoniamnist", "limit": None, "partial": True}
    assert meant.options == ["--partial"]
    with pytest.raises(DataError, match=r"not as its authors publish it"):
        benchmark_corpus(BenchmarkSource("pneumoniamnist", pneumonia), recipe)


def test_a_copy_without_a_class_is_refused_with_what_a_benchmark_can_do(
    pneumonia: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*words: object) -> object:
        read = read_benchmark(*words)  # type: ignore[arg-type]
        kept = (read.labels != 1) | (read.splits != 0)
        files = tuple(name for name, one in zip(read.files, kept, strict=True) if one)
        return replace(read, images=read.images[kept], labels=read.labels[kept], splits=read.splits[kept], files=files)

    monkeypatch.setattr(module, "read_benchmark", without)
    source = BenchmarkSource("pneumoniamnist", pneumonia, partial=True)
    for _ in range(2):  # the second time it is in the cache
        with pytest.raises(DataError, match="no training image of class pneumonia") as refused:
            run(load_recipe("pneumoniamnist-ipc1"), out=pneumonia.parent / "run", benchmark=source, device="cpu")
        assert "--classes" not in str(refused.value)
        assert "--download" in refused.value.do


def test_cifar_is_refused_at_another_size(tmp_path: Path) -> None:
    recipe = load_recipe("cifar10-ipc1", ["data.image_size=64"])
    with pytest.raises(UsageError, match=r"64 pixels and 3 channels.*32 pixels and 3 channels"):
        benchmark_corpus(BenchmarkSource("cifar10", tmp_path), recipe)


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_missing_files_are_named_with_both_ways_to_have_them(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for data in (tmp_path / "empty", tmp_path / "nowhere", None):
        with pytest.raises(DataError, match=r"no file of") as caught:
            benchmark_corpus(BenchmarkSource(name, data), load_recipe(f"{name}-ipc1"))
        file = BENCHMARKS[name].files[0]
        assert file.name in caught.value.expected
        assert file.url in caught.value.do
        assert "--data" in caught.value.do
        assert "--download" in caught.value.do


@pytest.fixture
def server(pneumonia: Path) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *given: object, **named: object) -> None:
            super().__init__(*given, directory=str(pneumonia), **named)

        def log_message(self, format: str, *args: object) -> None:
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}", asked
        listening.shutdown()


def test_a_download_is_found_by_the_next_run(
    server: tuple[str, list[str]], pneumonia: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = server
    whole = (pneumonia / "pneumoniamnist.npz").read_bytes()
    digest = hashlib.sha256(whole).hexdigest()
    file = OfficialFile("pneumoniamnist.npz", f"{url}/pneumoniamnist.npz", f"sha256:{digest}", len(whole), "here")
    known = catalogue.BENCHMARKS["pneumoniamnist"]
    small = replace(known, files=(file, *known.files[1:]))
    monkeypatch.setitem(catalogue.BENCHMARKS, "pneumoniamnist", small)
    recipe = load_recipe("pneumoniamnist-ipc1")
    for data in (None, tmp_path / "new"):
        asked.clear()
        corpus = benchmark_corpus(BenchmarkSource("pneumoniamnist", data, download=True), recipe)
        assert len(corpus.labels) == 92
        assert asked == ["/pneumoniamnist.npz"]
        assert benchmark_corpus(BenchmarkSource("pneumoniamnist", data), recipe).content == corpus.content
        assert benchmark_corpus(BenchmarkSource("pneumoniamnist", data, download=True), recipe).content
        assert asked == ["/pneumoniamnist.npz"], "what is there is not fetched again"


def test_real_cifar10_has_the_published_means_in_both_versions(shared_data: Path, tmp_path: Path) -> None:
    """The whole of CIFAR-10 in its binary layout, and a python version that `pickle` wrote of it."""
    script = shared_data / "unpack_cifar10.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
    benchmark = BENCHMARKS["cifar10"]
    place = find_files(tmp_path, benchmark, 32)
    assert place == tmp_path / "cifar-10-batches-bin"
    binary = read_benchmark(place, benchmark, 32, Silent())
    assert binary.images.shape == (60_000, 3, 32, 32)
    means = [float(binary.images[:50_000, c].mean()) / 255 for c in range(3)]
    assert all(math.isclose(a, b, abs_tol=5e-5) for a, b in zip(means, (0.4914, 0.4822, 0.4465), strict=True))
    assert np.bincount(binary.labels[binary.of("train")]).tolist() == [5000] * 10
    assert np.bincount(binary.labels[binary.of("test")]).tolist() == [1000] * 10
    assert binary.class_names[0] == "airplane"

    folder = tmp_path / "py" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for n, name in enumerate((*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")):
        rows = slice(10_000 * n, 10_000 * (n + 1))
        batch = {b"data": binary.images[rows].reshape(10_000, -1), b"labels": binary.labels[rows].tolist()}
        (folder / name).write_bytes(pickle.dumps(batch | {b"filenames": [b"a_s_000001.png"] * 10_000}, 3))
    names = [name.encode() for name in binary.class_names]
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": names, b"num_vis": 3072}, 3))
    python = read_benchmark(folder, benchmark, 32, Silent())
    np.testing.assert_array_equal(python.images, binary.images)
    np.testing.assert_array_equal(python.labels, binary.labels)
    assert python.class_names == binary.class_names


def test_a_set_that_gave_up_centroids_says_so_beside_published_figures(tmp_path: Path) -> None:
    whole = drawn_set(drawn_corpus(tmp_path), ipc=3)
    assert smaller_classes(whole, 3) == []
    kept = np.array([0, 1, 2, 3, 6, 7, 8])
    arrays = {name: getattr(whole, name)[kept] for name in ("images", "labels", "weights", "stage")}
    (told,) = smaller_classes(replace(whole, **arrays), 3)
    assert told.startswith("1 of 3 classes have fewer than 3 images (in all 7, in place of 9)")
