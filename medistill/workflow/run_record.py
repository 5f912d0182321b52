"""``run.json``: what a run was made of, and what its stages took."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from medistill.artifacts.corpus import Corpus
from medistill.artifacts.kept import keep_json, read_result
from medistill.errors import UsageError
from medistill.ranks.ranks import Ranks
from medistill.recipe import Recipe
from medistill.workflow.corpus_record import corpus_record
from medistill.workflow.environment import hardware, versions
from medistill.workflow.studied_source import StudiedSource

RUN_SCHEMA = 1
Result = TypeVar("Result")


class RunRecord:
    """``run.json``: what the run was made of, written anew after every stage."""

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        device: str,
        ranks: Ranks,
        *,
        data: str | Path | None,
        labels: str | Path | None,
        benchmark: StudiedSource | None,
    ) -> None:
        earlier = read_result(path, "run record") if path.is_file() else {}
        installed = versions()
        self.path, self.leads = path, ranks.leads
        self.values: dict[str, Any] = {
            "schema": RUN_SCHEMA,
            "medistill": installed["medistill"],
            "versions": installed,
            "device": device,
            "hardware": hardware(device),
            "seed": recipe.seed,
            "recipe": recipe.name,
            "recipe_digest": recipe.digest,
            "command": _command(path.parent, data, labels, benchmark),
            "stages": dict(earlier.get("stages", {})),
        }
        if ranks.size > 1:
            self.values["ranks"] = ranks.size
        if benchmark is not None:
            self.values["benchmark"] = _benchmark_record(benchmark)
        if "corpus" in earlier:
            self.values["corpus"] = earlier["corpus"]  # the run is held to it

    def timed(self, stage: str, work: Callable[[], Result]) -> Result:
        """Do a stage and add its seconds to those of earlier, interrupted tries."""
        started = time.perf_counter()
        try:
            return work()
        finally:
            before = self.values["stages"].get(stage, {}).get("seconds", 0.0)
            self.values["stages"][stage] = {"seconds": round(before + time.perf_counter() - started, 2)}
            self._keep()

    def describe(self, corpus: Corpus) -> None:
        """Add what the report says of the corpus: counts, never a patient's identifier."""
        self.values["corpus"] = corpus_record(corpus)
        self._keep()

    def _keep(self) -> None:
        if self.leads:
            keep_json(self.path, self.values)


def refuse_another_benchmark(record: Path, benchmark: StudiedSource | None) -> None:
    """Refuse to go on with a run that was started on another benchmark.

    Raises:
        UsageError: its record names another one, or none.
    """
    earlier = read_result(record, "run record").get("benchmark") if record.is_file() else None
    if earlier != _benchmark_record(benchmark) and record.is_file():
        raise UsageError(
            f"the run in {record.parent} was started on another benchmark, or with another --limit or --partial",
            expected=", ".join(f"{name} {value}" for name, value in (earlier or {"data of one's own": ""}).items()),
            do="repeat the first command with --resume, or choose another --out",
        )


def _benchmark_record(benchmark: StudiedSource | None) -> dict[str, Any] | None:
    return None if benchmark is None else benchmark.record


def _command(out: Path, data: str | Path | None, labels: str | Path | None, benchmark: StudiedSource | None) -> str:
    """The command that makes this run again; folders by their last name alone, since paths can name people."""
    verb, options = ["distill"], list[str]()
    if benchmark is not None:
        verb, options, data = benchmark.verb, benchmark.options, benchmark.data
    words = ["medistill", *verb, "--recipe", str(Path(out.name) / "recipe.toml")]
    if data is not None:
        words += ["--data", Path(data).name or "."]
    if labels is not None:
        words += ["--labels", Path(labels).name]
    return shlex.join([*words, *options, "--out", f"{out.name}-again"])
