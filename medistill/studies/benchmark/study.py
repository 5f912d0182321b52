"""Benchmark: a benchmark's official files as a corpus, and a run's figure beside published ones."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from medistill.artifacts.atomic import private_folder
from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import NOT_STATED, SPLITS, Corpus, ManifestRow, Split, save_corpus
from medistill.artifacts.corpus_columns import Columns, CorpusFacts
from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json
from medistill.data.benchmarks.catalogue import Benchmark, find_benchmark
from medistill.data.benchmarks.download import download
from medistill.data.benchmarks.images import BenchmarkImages, missing
from medistill.data.benchmarks.read import find_files, read_benchmark
from medistill.data.file_digests import file_digests
from medistill.data.listing import files_of
from medistill.data.splits import part
from medistill.errors import DataError, UsageError
from medistill.evaluate.evaluation import Evaluation
from medistill.evaluate.published import PUBLISHED_IPC, BenchmarkResult, published_figures
from medistill.method_names import DEFAULT_METHOD
from medistill.methods.registry import find_method, recipe_facts
from medistill.progress import Progress, Silent
from medistill.recipe import Recipe, load_recipe, recipe_names
from medistill.recipe.load import settings_of
from medistill.studies.benchmark.best_checkpoint import best_checkpoint
from medistill.training.context import Context
from medistill.workflow.prepare import cached_corpus, known_digests, remember_corpus, sole_reader

READER = 1
"""Version of the reading; raise it when the same files come to other pixels or splits."""
DOWNLOADS = "benchmarks"
"""Folder of the cache for what was downloaded. It comes from no user's patients, so a purge leaves it."""
FREE = (
    "data.val_fraction",
    "method.checkpoint_every",
    "method.keep_looks",
    "evaluate.bootstrap",
    "evaluate.confidence",
    "evaluate.margin",
    "evaluate.specificity",
    "evaluate.smallest_cell",
    "evaluate.arms",
    "evaluate.across",
    "method.experts.store",
)
"""Settings that a published setting says nothing of, or that change no figure of the distilled set."""


@dataclass(frozen=True)
class BenchmarkSource:
    """Which benchmark, and where its files are.

    Attributes:
        name: as the catalogue calls it.
        data: folder or archive; None looks where --download puts what it fetches without one.
        download: fetch the official file where none is there.
        limit: at most so many training images of each class are used, those held out for validation included; None
            takes all.
        partial: take a copy that has fewer images than were published, and say so.
    """

    name: str
    data: Path | None = None
    download: bool = False
    limit: int | None = None
    partial: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """What the record of a run says of it."""
        return {"name": self.name, "limit": self.limit} | ({"partial": True} if self.partial else {})

    @property
    def verb(self) -> list[str]:
        """The command that makes such a run."""
        return ["benchmark", self.name]

    @property
    def options(self) -> list[str]:
        """Its options beside recipe and folders."""
        limit = [] if self.limit is None else ["--limit", str(self.limit)]
        return [*limit, "--partial"] if self.partial else limit

    def corpus(self, recipe: Recipe, progress: Progress) -> Corpus:
        """Read the benchmark (see `benchmark_corpus`)."""
        return benchmark_corpus(self, recipe, progress)

    def conclude(self, distilled: DistilledSet, evaluation: Evaluation, context: Context) -> None:
        """Set a finished run beside published figures (see `beside_published`)."""
        beside_published(self, distilled, evaluation, context)


def benchmark_recipe(name: str, ipc: int, method: str = DEFAULT_METHOD) -> tuple[str, list[str]]:
    """The shipped recipe for a benchmark at ``ipc`` images per class, or the nearest with that number set.

    A method takes ``NAME-METHOD``, where that is shipped, for every number; one whose images are centroids else takes
    ``NAME-ddoq``.

    Returns:
        The recipe's name and the overrides that it needs.

    Raises:
        UsageError: there is no such benchmark, or the number is below 1.
    """
    find_benchmark(name)
    if ipc < 1:
        raise UsageError(f"--ipc {ipc}", expected="1 or more images per class", do="take --ipc 1, 10 or 50")
    own = [f"{name}-{method}", *([f"{name}-ddoq"] if find_method(method).facts().centroids else [])]
    for shipped in own:
        if shipped in recipe_names():
            return shipped, [f"method.ipc={ipc}"]
    nearest = min(PUBLISHED_IPC, key=lambda known: abs(math.log(known / ipc)))
    return f"{name}-ipc{nearest}", [] if nearest == ipc else [f"method.ipc={ipc}"]


def benchmark_corpus(source: BenchmarkSource, recipe: Recipe, progress: Progress = Silent()) -> Corpus:
    """Read a benchmark into a corpus in the private cache; a second call finds it there.

    The authors' splits are kept. Where they give no validation split, ``data.val_fraction`` of the training images is
    drawn for it, alike from each class.

    Raises:
        UsageError: the recipe is for other images, or the limit leaves too few.
        DataError: the files are missing, cut off or altered, or could not be fetched.
    """
    benchmark = replace(find_benchmark(source.name), partial=source.partial)
    _check_recipe(benchmark, recipe, source.limit)
    size = recipe.data.image_size
    path = _path(source, benchmark, size, progress)
    with sole_reader(_source(path, benchmark, recipe, source.limit, progress), progress) as known:
        corpus = cached_corpus(known, progress)
        if corpus is None:
            progress.say(f"Reading {benchmark.title} from {path}.")
            read = read_benchmark(path, benchmark, size, progress)
            corpus = _save(read, recipe, source.limit, _fewer(read, benchmark))
            remember_corpus(known, corpus)
        _refuse_missing_class(corpus)
        for note in corpus.notes:
            progress.say(note)
        return corpus


def beside_published(
    source: BenchmarkSource, distilled: DistilledSet, evaluation: Evaluation, context: Context
) -> BenchmarkResult:
    """Set a finished evaluation beside published figures, and write ``benchmark.json`` into the run.

    Where its validation steps were kept, their best test accuracy is told too, as papers report it.

    Args:
        source: the benchmark, and how much of it was used.
        distilled: the set of the run.
        evaluation: what it was found to be worth.
        context: corpus, recipe, network and device; its folder is the run's.
    """
    recipe, arm = context.recipe, evaluation.arm("distilled")
    accuracy = () if arm is None else arm.network_accuracy
    best = best_checkpoint(distilled, accuracy, context)
    spread = None if arm is None else arm.accuracy_spread
    result = BenchmarkResult(
        dataset=source.name,
        ipc=recipe.method.ipc,
        chosen_accuracy=100 * float(np.mean(accuracy)),
        chosen_spread=None if spread is None else 100 * spread,
        maximum_accuracy=None if best is None else 100 * best[1],
        maximum_step=None if best is None else best[0],
        cut_down=(*departures(source, recipe), *smaller_classes(distilled, recipe.method.ipc)),
        published=published_figures(source.name, recipe.method.ipc, recipe.data.image_size),
    )
    keep_json(context.out / "benchmark.json", asdict(result))
    return result


def smaller_classes(distilled: DistilledSet, ipc: int) -> list[str]:
    """Where a set is smaller than those that figures were published for, in a sentence; empty where it is not."""
    counts = np.bincount(distilled.labels, minlength=len(distilled.class_names))
    if counts.min() == ipc:
        return []
    return [
        f"{np.sum(counts < ipc)} of {len(counts)} classes have fewer than {ipc} images (in all {counts.sum()}, in "
        f"place of {ipc * len(counts)}), since centroids of too few images were given up "
        "(method.quantise.min_cluster_size)."
    ]


def departures(source: BenchmarkSource, recipe: Recipe) -> list[str]:
    """In what a run departs from the shipped setting of its benchmark and method, one sentence each."""
    name, overrides = benchmark_recipe(source.name, recipe.method.ipc, recipe.method.name)
    setting = load_recipe(name, [f"method.name={recipe.method.name}", *overrides])
    told = []
    if source.partial:
        told.append("The files may be a part of those published, test images left out too (--partial).")
    if source.limit is not None:
        told.append(f"At most {source.limit} training images of each class were used.")
    if overrides and recipe_facts(recipe).outer_steps:
        told.append(f"There is no setting for {recipe.method.ipc} images per class: that of {name} was taken.")
    mine, theirs = _settings(recipe), _settings(setting)
    both = [key for key in theirs if key in mine]
    told += [f"{key} is {mine[key]} in place of {theirs[key]}." for key in both if mine[key] != theirs[key]]
    return told


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Every setting that decides a figure, as section.key."""
    return {key: value for key, value in settings_of(recipe) if key not in FREE and _is_followed(key, recipe)}


def _is_followed(key: str, recipe: Recipe) -> bool:
    """Whether a setting decides a figure under the method."""
    if key in ("name", "description", "seed", "method.name") or key.startswith("compute."):
        return False
    if key.startswith("method.quantise."):
        return recipe.method.quantisation is not None or recipe.method.codes is not None
    if key.startswith("method.autoencoder."):
        return recipe.method.trained_autoencoder is not None
    return True


def _check_recipe(benchmark: Benchmark, recipe: Recipe, limit: int | None) -> None:
    settings = recipe.data
    if settings.channels != benchmark.channels or (
        len(benchmark.sizes) == 1 and settings.image_size not in benchmark.sizes
    ):
        raise UsageError(
            f"the recipe takes images of {settings.image_size} pixels and {settings.channels} channels",
            expected=f"{' or '.join(map(str, benchmark.sizes))} pixels and {benchmark.channels} channels, which "
            f"{benchmark.title} has",
            do="set data.image_size and data.channels so, or take the benchmark's own recipe",
        )
    if settings.classes or settings.sites:
        raise UsageError(
            "the recipe takes some classes or sites alone",
            expected=f"all of {benchmark.title}, or figures cannot be compared",
            do="leave data.classes and data.sites empty; --limit takes fewer images of each class",
        )
    if settings.burnt_in_text in ("mask", "quarantine"):
        raise UsageError(
            f"data.burnt_in_text = {settings.burnt_in_text}",
            expected="auto or unchecked: a benchmark's images are taken as published, and text is not looked for",
            do="leave data.burnt_in_text out",
        )
    if settings.equalise:
        raise UsageError(
            "data.equalise = true",
            expected="false: a benchmark's images are taken as published",
            do="leave data.equalise out",
        )
    held_out = 0 if benchmark.val else 1
    needed = max(recipe.fewest_images, recipe.fewest_patients)
    start = {"real": f"the images start from {needed} of them", "noise": "the method has to see every class"}
    start["patches"] = f"the images are made of patches of {needed} of them"
    why = start.get(recipe.method.starts_from, f"the images start from means of {needed} of them")
    if limit is not None and limit < needed + held_out:
        raise UsageError(
            f"--limit {limit}",
            expected=f"at least {needed + held_out} images of each class: {why}"
            + (", and one is held out" if held_out else ""),
            do="take a larger --limit, or fewer images per class",
        )


def _refuse_missing_class(corpus: Corpus) -> None:
    """Refuse a copy without any training image of a class: figures are of all classes."""
    counts = np.bincount(corpus.labels[corpus.rows("train")], minlength=len(corpus.class_names))
    lost = [name for name, count in zip(corpus.class_names, counts, strict=True) if not count]
    if lost:
        raise DataError(
            f"the copy has no training image of class {', nor of '.join(lost)}",
            expected="training images of every class, or figures cannot be compared",
            do="add images of it to the copy, or take the benchmark whole (--download in place of --data)",
        )


def _path(source: BenchmarkSource, benchmark: Benchmark, size: int, progress: Progress) -> Path:
    """The benchmark's files, fetched where that was asked for."""
    folder = cache_root() / DOWNLOADS if source.data is None else source.data
    if source.data is not None and not folder.exists() and not source.download:
        raise missing(benchmark, folder)
    path = find_files(folder, benchmark, size)
    wanted = benchmark.file_for(size)
    other_size = path is not None and len(benchmark.sizes) > 1 and path.name != wanted.name
    if source.download and (path is None or other_size) and not folder.is_file():
        return download(wanted, folder, progress)
    if path is None:
        raise missing(benchmark, source.data)
    return path


def _source(path: Path, benchmark: Benchmark, recipe: Recipe, limit: int | None, progress: Progress) -> str:
    """SHA-256 over what decides a corpus without unpacking the files: names, contents, settings, versions."""
    folder, files = (path.parent, [path.name]) if path.is_file() else (path, files_of(path))
    reading: list[object] = [benchmark.name, recipe.data.image_size, recipe.data.val_fraction, recipe.seed, limit]
    if benchmark.partial:
        reading.append("partial")
    digests = file_digests(folder, files, known_digests(path), progress)
    decisive = [READER, reading, {name: version(name) for name in ("numpy", "pillow")}, files, digests]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _fewer(read: BenchmarkImages, benchmark: Benchmark) -> list[str]:
    """Say how many images a copy lacks of those published; nothing where it is whole."""
    published: dict[Split, int] = {"train": benchmark.train, "val": benchmark.val, "test": benchmark.test}
    counts = [f"{len(read.of(split))} of {many} {split}" for split, many in published.items() if many]
    if len(read.labels) == sum(published.values()):
        return []
    return [f"The copy was cut down before it was read: it has {', '.join(counts)} images."]


def _save(read: BenchmarkImages, recipe: Recipe, limit: int | None, fewer: list[str]) -> Corpus:
    """Cut, part and keep what was read."""
    rng = np.random.default_rng([recipe.seed, READER])
    kept = _kept(read, limit, rng)
    labels, groups = read.labels[kept], np.arange(len(kept))
    given: list[Split | None] = [SPLITS[s] for s in read.splits[kept]]
    splits, _, _ = part(given, labels, groups, np.zeros(len(kept), np.int64), recipe.data, rng)
    notes = [*read.notes, *fewer]
    if "val" not in given:
        count = int(np.sum(splits == SPLITS.index("val")))
        notes.append(f"{count} training images, drawn alike from each class, are held out for validation.")
    if limit is not None:
        notes.append(f"At most {limit} training images of each class were used; the test split is whole.")
    number = {int(row): n for n, row in enumerate(kept)}
    cut = {"category": "beyond the limit", "reason": "more training images of its class than --limit"}
    manifest = [
        ManifestRow(file, number[row]) if row in number else ManifestRow(file, -1, **cut)
        for row, file in enumerate(read.files)
    ]
    return save_corpus(
        private_folder(cache_root() / "corpora"),
        read.images if limit is None else read.images[kept],
        Columns(
            labels=labels.tolist(),
            groups=groups.tolist(),
            sites=[0] * len(kept),
            splits=splits.tolist(),
            views=[""] * len(kept),
        ),
        CorpusFacts(
            class_names=tuple(read.class_names),
            site_names=(NOT_STATED,),
            split_unit="image",
            split_source="given",
            synthetic=False,
            notes=tuple(notes),
        ),
        manifest,
    )


def _kept(read: BenchmarkImages, limit: int | None, rng: np.random.Generator) -> np.ndarray:
    """Rows that take part, ascending: all, or at most ``limit`` training images of each class and all others."""
    if limit is None:
        return np.arange(len(read.labels))
    train = read.of("train")
    some = [rng.permutation(train[read.labels[train] == c])[:limit] for c in range(len(read.class_names))]
    return np.sort(np.concatenate([*some, read.of("val"), read.of("test")]))
