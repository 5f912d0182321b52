"""Methods side by side on one corpus: what networks trained on their sets reach, what they cost, what they give away.

    python -m tests.bench.methods --data FOLDER --labels CSV --sites raddb --classes COVID,Normal --out DIR \\
        --ipc 1,10,50 --seeds 0,1,2 --set-iadd method.iterations=100

A cell is a method, a number of images per class and a seed: the run DIR/METHOD-IPC-SEED, with what it cost in the file
of that name and the ending .cost, and what it said in .log. It is made by `medistill distill` in a process of its own,
then searched for copies by `medistill audit --quick` and asked by distance who is in it. A finished cell is
not made again, so that this can be stopped and gone on with, and cells of other calls take part. The table is Markdown.
One thread (OMP_NUM_THREADS=1) makes processor seconds comparable.

With --own each method comes in its own recipe covid-xray-METHOD (with --benchmark NAME-METHOD-ipcN), where there is
one, and with --seconds in as many outer steps as fit into so many processor seconds after all that comes before them,
by short runs (`tests.bench.budget`); a method without outer steps is made as it is. Looks at validation
patients, four a run, come on top.

All, random and k-means-chosen originals are arms of the cells that `CONTROLS` names; `ddoq-hard` is the arm `hard` of
ddoq: the same images and weights with their classes for labels.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from medistill.artifacts.cache import cache_root
from medistill.artifacts.corpus import load_corpus
from medistill.artifacts.distilled_set import DistilledSet
from medistill.method_names import method_names
from medistill.recipe import load_recipe
from medistill.workflow.environment import hardware, versions
from tests.bench.budget import pilot
from tests.bench.cell_corpus import CellCorpus
from tests.factories.attacked import distance_attacks

METHODS: dict[str, tuple[str, list[str]]] = {
    "ddoq": ("ddoq", ["--method", "ddoq"]),
    "ddoq-sqrt": ("ddoq", ["--method", "ddoq", "--set", "method.quantise.weights=sqrt"]),
    "d4m": ("ddoq", ["--method", "d4m"]),
    "iadd": ("iadd", ["--set", "method.init=real"]),
    "iadd-quantised": ("iadd", ["--set", "method.init=quantised"]),
    "unrolled": ("unrolled", ["--method", "unrolled"]),
    "encoded-ddoq": ("encoded", ["--method", "encoded-ddoq"]),
    "encoded-moments": ("encoded", ["--method", "encoded-moments"]),
    "lgm": ("lgm", ["--method", "lgm"]),
    "clp-dd": ("clp", ["--method", "clp-dd"]),
}
"""Method -> its family, for --set-FAMILY, and what makes it of the recipe."""
METHODS |= {name: (name, ["--method", name]) for name in method_names() if name not in METHODS}
ARMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "raw": ("raw", ("iadd-quantised", "iadd", "ddoq", "unrolled", "encoded-ddoq", "dm")),
    "random": ("random", ("iadd-quantised", "iadd", "ddoq", "unrolled", "encoded-ddoq", "dm")),
    "kmeans": ("kmeans", ("iadd-quantised", "iadd", "ddoq", "unrolled", "encoded-ddoq", "dm")),
    "ddoq-hard": ("hard", ("ddoq",)),
}
"""What is no run of its own -> the arm, and the methods of whose runs it can be one."""
CONTROLS = ("raw", "random", "kmeans")
ORDER: tuple[str, ...] = (
    "raw", "random", "kmeans", "d4m", "ddoq-hard", "ddoq-sqrt", "ddoq", "iadd", "iadd-quantised", "unrolled",
    "encoded-ddoq", "encoded-moments", "lgm", "clp-dd",
)  # fmt: skip
ORDER += tuple(name for name in METHODS if name not in ORDER)
SUBJECTS = {"raw": "", "random": "random", "kmeans": ""}
"""Whom the audit looked at under a name that is no set; "" for nobody."""
SPACES = ("pixels", "structure", "features")
GATE_FAILED = 4
"""How `medistill audit` ends where a set fails: the figures are there."""
HEADINGS = (
    "method", "images a class", "seeds", "macro AUC (range)", "making, processor s", "command, processor s", "peak MB",
    f"copies: {' / '.join(SPACES)}", "points to its start", "patients in its mean", "members told by distance, AUC",
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One run, and where it lies."""

    out: Path
    method: str
    ipc: int
    seed: int

    @property
    def run(self) -> Path:
        """Folder of the run."""
        return self.out / f"{self.method}-{self.ipc}-{self.seed}"

    def beside(self, ending: str) -> Path:
        """The file beside the run with this ending."""
        return self.run.with_name(f"{self.run.name}.{ending}")

    @property
    def cost(self) -> dict[str, Any]:
        """What it cost, where it is finished; else empty."""
        path = self.beside("cost")
        told = json.loads(path.read_text()) if path.is_file() else {}
        return told if told.get("rc") == 0 else {}

    def read(self, *names: str) -> dict[str, Any]:
        """A JSON file of the run; empty where there is none."""
        path = self.run.joinpath(*names)
        return json.loads(path.read_text()) if path.is_file() else {}

    def arm(self, name: str) -> dict[str, Any]:
        """An arm of its evaluation; empty where it has none."""
        arms = self.read("evaluation", "evaluation.json").get("arms", [])
        return next((arm for arm in arms if arm["arm"] == name), {})


def medistill(words: Sequence[str], log: Path, cost: Path | None = None) -> int:
    """Run a command of medistill in a process of its own; write what it cost, and give its exit code."""
    command, started = [str(Path(sys.executable).with_name("medistill")), *words], time.time()
    with log.open("a") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if cost is not None:
        told = {
            "rc": process.returncode,
            "wall": time.time() - started,
            "cpu": usage.ru_utime + usage.ru_stime,
            "rss_mb": usage.ru_maxrss / 1024,
            "args": command,
        }
        cost.write_text(json.dumps(told))
    return process.returncode


def make(cell: Cell, asked: argparse.Namespace) -> None:
    """Distil, evaluate and audit a cell, as far as that is not done."""
    family, words = METHODS[cell.method]
    source = CellCorpus.asked(asked)
    if not cell.cost:
        controls = [arm for arm in CONTROLS if arm in asked.methods and _source(arm, asked.methods) == cell.method]
        own = [word for setting in getattr(asked, f"set_{family.replace('-', '_')}") for word in ("--set", setting)]
        chosen = [
            word
            for name in ("sites", "classes", "encoder")
            if getattr(asked, name)
            for word in (f"--{name}", getattr(asked, name))
        ]
        numbers = ["--ipc", str(cell.ipc), "--seed", str(cell.seed), "--set", f"evaluate.arms=[{_quoted(controls)}]"]
        again = ["--resume"] if (cell.run / "recipe.toml").is_file() else []
        recipe = source.own_recipe(cell.method, cell.ipc) if asked.own else None
        recipe, words = (recipe, []) if recipe else (asked.recipe or source.shared_recipe(cell.ipc), words)
        if asked.seconds and not again:
            own += _within(cell, asked, recipe, words, own)
        if asked.pilots:
            return
        words = ["--recipe", recipe, *words, *chosen, *numbers, *own, "--out", str(cell.run), *again]
        code = medistill([*source.command, *source.options, *words], cell.beside("log"), cell.beside("cost"))
        if code:
            sys.stderr.write(f"{cell.run.name}: ended with {code}; see {cell.beside('log')}\n")
            return
    if source.benchmark is None and not cell.read("audit", "audit.json"):
        code = medistill(["audit", str(cell.run), *source.options, "--quick"], cell.beside("log"))
        if code not in (0, GATE_FAILED):
            sys.stderr.write(f"{cell.run.name}: its audit ended with {code}; see {cell.beside('log')}\n")

    if cell.cost and not cell.beside("distance").is_file():
        cell.beside("distance").write_text(json.dumps(distances(cell)))


def _within(cell: Cell, asked: argparse.Namespace, recipe: str, words: Sequence[str], own: Sequence[str]) -> list[str]:
    """The settings with which a cell is made in the seconds that are asked for; none where it has no outer steps."""
    named = {"--method": "method.name={}", "--set": "{}"}
    changes = [named[flag].format(word) for flag, word in pairwise([*words, *own]) if flag in named]
    changes += [f"data.{name}={getattr(asked, name)}" for name in ("sites", "classes") if getattr(asked, name)]
    changes += [f"method.ipc={cell.ipc}"]
    if not load_recipe(recipe, changes).method.outer_steps:
        return []
    file = asked.out / f"{cell.method}-{cell.ipc}.pilot"
    steps = pilot(CellCorpus.asked(asked), recipe, changes, file).steps(asked.seconds)
    return ["--set", f"method.iterations={steps}", "--set", f"method.validate_every={-(-steps // 4)}"]


def distances(cell: Cell) -> dict[str, float | None]:
    """Area under the curve of the attack on membership by distance, on the set and on as many random originals."""
    distilled, recipe = DistilledSet.load(cell.run), load_recipe(cell.run / "recipe.toml")
    corpus = load_corpus(cache_root() / "corpora" / str(distilled.provenance.corpus))
    attacks = distance_attacks(distilled, corpus, recipe)
    return {attack.source: attack.cells[0].auc.value for attack in attacks}


def _told_apart(cells: list[Cell], source: str) -> str:
    told = [json.loads(cell.beside("distance").read_text()) for cell in cells if cell.beside("distance").is_file()]
    values = [one[source] for one in told if one.get(source) is not None]
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})" if values else "–"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _source(name: str, methods: Sequence[str]) -> str:
    """The method in whose runs something is made: the first that is asked for."""
    return next((of for of in ARMS[name][1] if of in methods), ARMS[name][1][0]) if name in ARMS else name


def holder(out: Path, name: str, ipc: int, seed: int) -> Cell | None:
    """The finished cell in which the figures of a method are."""
    arm, methods = ARMS.get(name, ("distilled", (name,)))
    cells = (Cell(out, method, ipc, seed) for method in methods)
    return next((cell for cell in cells if cell.cost and cell.arm(arm)), None)


def row(name: str, done: list[Cell]) -> list[str]:
    """The figures of a method at a number of images, over its seeds."""
    arms = [cell.arm(ARMS[name][0] if name in ARMS else "distilled") for cell in done]
    areas = [arm["macro_auc"]["value"] for arm in arms]
    images = sorted({arm["images"] / len(arm["classes"]) for arm in arms})
    of_run = name not in ARMS
    return [
        name,
        " to ".join(f"{count:g}" for count in dict.fromkeys((images[0], images[-1]))),
        ", ".join(str(cell.seed) for cell in done),
        f"{statistics.mean(areas):.3f} ({min(areas):.3f} to {max(areas):.3f})",
        _over([_making(cell) for cell in done if _whole(cell)]) if of_run else "–",
        _over([cell.cost["cpu"] for cell in done if _whole(cell)]) if of_run else "–",
        f"{max(cell.cost['rss_mb'] for cell in done):.0f}" if of_run else "–",
        _copies(done, SUBJECTS.get(name, "distilled")),
        "each is an original" if name in CONTROLS else _residue(done),
        _averaged(done) if name not in CONTROLS else "1",
        _told_apart(done, SUBJECTS.get(name, "distilled")),
    ]


def _whole(cell: Cell) -> bool:
    """Whether one process made all of a cell; else its cost is that of the last one."""
    return "--resume" not in cell.cost["args"]


def _making(cell: Cell) -> float:
    """Processor seconds of the stages that make the set: the command's, by their share of its stages' seconds."""
    stages = {stage: told["seconds"] for stage, told in cell.read("run.json")["stages"].items()}
    share = sum(stages.get(stage, 0.0) for stage in ("experts", "distill")) / sum(stages.values())
    return float(cell.cost["cpu"] * share)


def _over(values: list[float]) -> str:
    return f"{statistics.mean(values):.0f}" if values else "–"


def _copies(cells: list[Cell], subject: str) -> str:
    """Copies of all images in each space; nobody looks for those of originals, which are all copies of themselves."""
    if not subject:
        return "each is an original"
    found = [figures for cell in cells for figures in cell.read("audit", "audit.json").get("copies", [])]
    told = []
    for space in SPACES:
        mine = [one for one in found if (one["subject"], one["space"]) == (subject, space)]
        told.append(f"{sum(one['copies'] for one in mine)} of {sum(one['images'] for one in mine)}" if mine else "–")
    return " / ".join(told)


def _residue(cells: list[Cell]) -> str:
    """Share of the images that, among all originals of the class, single out the one that they began as."""
    found = [one for cell in cells for one in cell.read("audit", "audit.json").get("residue", [])]
    mine = [one for one in found if one["subject"] == "distilled"]
    if not mine:
        return "–"
    return f"{sum(one['recovered']['value'] * one['images'] for one in mine) / sum(one['images'] for one in mine):.0%}"


def _averaged(cells: list[Cell]) -> str:
    """Fewest patients whose mean an image is, or began as."""
    found = [told for cell in cells if (told := cell.read("quantisation.json"))]
    return str(min(min(of["cell_patients"]) for told in found for of in told["classes"])) if found else "–"


def notes(cells: list[Cell]) -> list[str]:
    """What a reader has to know of single cells: own settings, experts that were there already, broken-off runs."""
    told = []
    for cell in cells:
        args = cell.cost["args"]
        own = [word for flag, word in pairwise(args) if flag == "--set"]
        own = [word for word in own if not word.startswith("evaluate.arms=") and word not in METHODS[cell.method][1]]
        if own:
            told.append(f"{cell.run.name}: {', '.join(own)}.")
        log = cell.run / "log.jsonl"
        if log.is_file() and "are in the cache already" in log.read_text():
            told.append(f"{cell.run.name}: its experts were in the cache, and their training is not in its seconds.")
        if not _whole(cell):
            told.append(f"{cell.run.name}: was broken off and resumed, and its seconds are left out.")
    return told


def table(asked: argparse.Namespace) -> str:
    """The Markdown table of all cells that are finished."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|" + "---|" * len(HEADINGS)]
    seen: dict[Path, Cell] = {}
    for ipc in asked.ipc:
        for name in (name for name in ORDER if name in asked.methods):
            cells = [cell for seed in asked.seeds if (cell := holder(asked.out, name, ipc, seed))]
            seen |= {cell.run: cell for cell in cells}
            lines += [f"| {' | '.join(row(name, cells))} |"] if cells else []
    said = [
        "Area: mean over the seeds of the mean over each run's networks. Making: the stages experts and distill, by "
        "their share of the run's seconds; the command also reads, evaluates and reports. Peak: of any of the "
        "commands. Copies: of all images of all seeds; random originals are copies of themselves, and the search is "
        "to find them. Points to its start: share of the images that single out the original that "
        "they began as, among all of the class; – where none began as one. Members told by distance: area under the "
        "curve of the attack that asks how near a patient's image lies to the set (0.5: it guesses).",
        f"{hardware('cpu')}; " + ", ".join(f"{name} {version}" for name, version in versions().items()) + ".",
        *notes(list(seen.values())),
    ]
    return "\n".join([*lines, "", *(f"- {one}" for one in said)]) + "\n"


def main() -> None:
    """Make what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    CellCorpus.add_arguments(parser)
    parser.add_argument("--sites")
    parser.add_argument("--classes")
    parser.add_argument("--encoder", help="what the networks are probes of; the recipe should be of its images' size")
    parser.add_argument("--recipe", help="what every method is applied to; covid-xray-cpu, or NAME-ipcN")
    parser.add_argument("--own", action="store_true", help="take a method's own recipe, where there is one")
    parser.add_argument("--seconds", type=float, help="processor seconds in which each set is made")
    parser.add_argument("--ipc", type=_numbers, default=[1, 10, 50], metavar="A,B")
    parser.add_argument("--seeds", type=_numbers, default=[0, 1, 2], metavar="A,B")
    parser.add_argument(
        "--methods", type=_names, default=list(ORDER), metavar="A,B", help="all methods, and " + ", ".join(ARMS)
    )
    for family in dict.fromkeys(family for family, _ in METHODS.values()):
        parser.add_argument(f"--set-{family}", action="append", default=[], metavar="KEY=VALUE", help="for that family")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cells")
    parser.add_argument("--pilots", action="store_true", help="make nothing but the short runs that tell the steps")
    parser.add_argument("--table", action="store_true", help="make nothing: the table of what is finished")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    runs = dict.fromkeys(_source(name, asked.methods) for name in ORDER if name in asked.methods)
    for ipc, seed, method in [(i, s, m) for s in asked.seeds for i in asked.ipc for m in runs if not asked.table]:
        make(Cell(asked.out, method, ipc, seed), asked)
    sys.stdout.write(table(asked))


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in ORDER]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: no such method; there are {', '.join(ORDER)}")
    return names


if __name__ == "__main__":
    main()
