"""What large corpora would cost, on paper: `python -m tests.bench.scaling [--ratio 100 1000]`, prints Markdown.

A model of the recipe `covid-xray`, whose constants were measured on processors, and a queue of jobs that is played
through (`tests.bench.job_queue`). Nothing is trained. What a GPU does more than one of those cores was never measured:
it is an argument.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tests.bench.job_queue import Faults, mean_makespan

WORK_TRAINED = 9.6e9
"""Multiply-adds of forward passes that one core trains on a second. Ledger, "What the search costs": 5 networks of
2,000 updates of 32 in 108 s, ConvNet of depth 3 and width 32 at 32 pixels (3.24e6 an image). The engine's section has
418 images/s on two threads at width 128 and 3 channels (50.7e6 an image): 10.6e9."""
WORK_MATCHED = 2.3e9
"""The same of an outer step: each student step's images, gradient included. Ledger, "What closed the gap": 400 steps of
20 student steps on 20 images in 222 s. The engine's section has .963 s a student step of 100 images on two threads at
width 128: 2.6e9; on a wider processor .60 s: 4.2e9."""
PIXELS_READ = 21 * 1024**2
"""Pixels that one worker decodes a second. Ledger, "DICOM decoding": 21 files/s of 1,024 pixels, its start included."""
PIXELS_QUANTISED = 100_000 * 112**2 / (2 * 54.9)
"""Pixels a core-second. Ledger, "Speed and memory of the parts": 100,000 images of 112 pixels, whole, 54.9 s on two."""
PIXELS_ENCODED = 252 * 128**2
"""Pixels a core-second. Ledger, "Encoding beside others' own forward": 252 images/s of 128 pixels on one thread."""
GROWTH = 133e6 / (100 * 32**2 * 128)
"""Bytes by which memory grows an image, pixel and width of a student step. Ledger, the engine: 133 MB, reverse."""
INDEX = 240.0
"""Bytes of memory an image while a corpus is opened. Ledger, "Memory of large corpora"."""
TRAINED_SHARE, CHOSEN_SHARE, TESTED_SHARE = 0.7, 0.1, 0.2
"""Shares of the images in the splits; the recipe's defaults."""
FORWARD_SHARE = 1 / 3
"""A forward pass as a share of a training step: one of three passes of about the same work."""
HOUR = 3600.0


@dataclass(frozen=True)
class Plan:
    """What is to be done: a corpus under the recipe `covid-xray`, at another size.

    Attributes:
        images: radiographs of the corpus.
        side: their height and width once they are read, in pixels.
        width: channels of every block of the ConvNet.
        segments: segments an outer step follows (`method.segments`).
        source_side: side of the files, in pixels.
        arms: arms of the evaluation, all originals and three small ones, each trained as long as it may be.
        searched: networks of each trial of a schedule.
        ways: rates that are tried.
    """

    images: int
    side: int
    width: int = 128
    classes: int = 2
    ipc: int = 10
    experts: int = 100
    epochs: int = 50
    steps: int = 10_000
    student_steps: int = 80
    batch_syn: int = 10
    segments: int = 1
    source_side: int = 3_000
    arms: int = 4
    networks: int = 5
    searched: int = 3
    ways: int = 2
    updates: int = 250
    most_updates: int = 8_000
    batch: int = 32
    shadows: int = 16
    shadow_experts: int = 2
    shadow_steps: int = 50

    @property
    def depth(self) -> int:
        """Blocks: as many as leave a map of 3 pixels, as the recipe has at 112."""
        return int(math.log2(self.side / 3))

    @property
    def work(self) -> float:
        """Multiply-adds of one image's forward pass through the convolutions of 3 x 3."""
        sides = [self.side // 2**block for block in range(self.depth)]
        return float(sum(9 * side**2 * self.width * (self.width if n else 1) for n, side in enumerate(sides)))

    @property
    def small(self) -> int:
        """Images of a distilled set and of the arms that have as many."""
        return self.classes * self.ipc

    def lengths(self, images: int) -> list[int]:
        """Updates of the trainings that the search tries on so many images: from one pass over all on, doubled."""
        lengths = [max(self.updates, math.ceil(images / self.batch))]
        while 2 * lengths[-1] <= self.most_updates:
            lengths.append(2 * lengths[-1])
        return lengths

    @property
    def parameters(self) -> int:
        """Numbers of the network: convolutions, their norms, the classifier."""
        convolutions = self.width * (9 + 1) + (self.depth - 1) * self.width * (9 * self.width + 1)
        features = self.width * (self.side // 2**self.depth) ** 2
        return convolutions + 2 * self.width * self.depth + (features + 1) * self.classes


@dataclass(frozen=True)
class Machines:
    """What it is done on.

    Attributes:
        gpus: how many, a rank each.
        ratio: what a GPU does more than a core. **Assumed, not measured.**
        cores: of each GPU's share of a machine.
        gpus_a_machine: how many share one.
    """

    gpus: int
    ratio: float
    cores: int = 8
    gpus_a_machine: int = 8


@dataclass(frozen=True)
class Stage:
    """A part of a run.

    Attributes:
        core_seconds: its work, on one core of the machine that was measured.
        jobs: pieces that ranks can take.
        on: where it runs; on cores it is all of the first machine's.
    """

    name: str
    core_seconds: float
    jobs: int = 1
    on: Literal["gpus", "cores"] = "gpus"

    def hours(self, machines: Machines) -> float:
        """By the clock, if every job takes equally long and nothing fails."""
        if self.on == "cores":
            return self.core_seconds / (machines.cores * min(machines.gpus, machines.gpus_a_machine)) / HOUR
        return self.core_seconds / machines.ratio * math.ceil(self.jobs / machines.gpus) / self.jobs / HOUR


def matched(plan: Plan, steps: int) -> float:
    """Core-seconds of so many outer steps of one segment."""
    return steps * plan.student_steps * plan.batch_syn * plan.work / WORK_MATCHED


def trained(plan: Plan, images: float) -> float:
    """Core-seconds to train on so many images, each as often as it is seen."""
    return images * plan.work / WORK_TRAINED


def searched_images(plan: Plan, arm: int) -> float:
    """Images that a search over an arm of so many trains on, scores on the validation split included, at most."""
    lengths = plan.lengths(arm)
    updates = (plan.ways - 1) * lengths[0] + lengths[-1]
    scored = (plan.ways - 1 + len(lengths)) * CHOSEN_SHARE * plan.images
    return plan.searched * (updates * min(plan.batch, arm) + FORWARD_SHARE * scored)


def stages(plan: Plan) -> list[Stage]:
    """The parts of a run, in their order."""
    pixels = plan.images * plan.side**2
    train = plan.images * TRAINED_SHARE
    arms = [round(train)] + [plan.small] * (plan.arms - 1)
    searched = sum(searched_images(plan, arm) for arm in arms)
    networks = sum(
        plan.networks * (plan.lengths(arm)[-1] * min(plan.batch, arm) + FORWARD_SHARE * TESTED_SHARE * plan.images)
        for arm in arms
    )
    shadow = trained(plan, plan.shadow_experts * plan.epochs * train / 2) + matched(plan, plan.shadow_steps)
    return [
        Stage("prepare", plan.images * plan.source_side**2 / PIXELS_READ, on="cores"),
        Stage("quantised start", pixels / PIXELS_QUANTISED, on="cores"),
        Stage("experts", trained(plan, plan.experts * plan.epochs * train), plan.experts),
        Stage("outer steps", plan.segments * matched(plan, plan.steps), plan.segments),
        Stage("search for schedules", trained(plan, searched)),
        Stage("evaluation networks", trained(plan, networks), plan.arms * plan.networks),
        Stage("audit's shadows", plan.shadows * shadow, plan.shadows),
    ]


def encoding(plan: Plan) -> Stage:
    """Features of a frozen encoder, once for a corpus; recipes of encoders have this in place of experts."""
    return Stage("encoding", plan.images * plan.side**2 / PIXELS_ENCODED)


def sizes(plan: Plan, ranks: int) -> dict[str, float]:
    """Bytes: on disk, in memory, and gathered at a step."""
    pixels = plan.side**2
    corpus, copied = plan.images * pixels, TRAINED_SHARE * plan.images * pixels
    return {
        "corpus on disk": corpus,
        "trajectories on disk, fp32": plan.experts * (plan.epochs + 1) * plan.parameters * 4.0,
        "training images, on each GPU": copied,
        f"index in memory, {ranks} ranks of a machine": INDEX * plan.images * ranks,
        "corpus without a site, on disk": (1 - TESTED_SHARE) * corpus,
        "growth of an outer step": GROWTH * plan.batch_syn * pixels * plan.width,
        "gathered a step, 64 segments": 64.0 * plan.small * pixels * 4,
    }


def figure(value: float) -> str:
    """A number with two figures that count, and none beneath a hundredth."""
    if value < 0.005:
        return "<0.01"
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.1f}" if rounded >= 1 else f"{rounded:.2f}"


def of_hours(plan: Plan, ratios: tuple[float, float]) -> Iterator[str]:
    """A plan's stages as lines of a table: core-hours, then hours by the clock from the fastest GPU to the slowest."""
    rows = [*stages(plan), encoding(plan)]
    counts = (1, 8, 64)
    sums = [[0.0, 0.0] for _ in counts]
    yield f"**{plan.images:,} radiographs, {plan.side} pixels** (ConvNet of depth {plan.depth}, width {plan.width})"
    yield ""
    yield "| stage | jobs | core hours | " + " | ".join(f"{n} GPU{'s' * (n > 1)}, h" for n in counts) + " |"
    yield "|---|---|---|---|---|---|"
    for stage in rows:
        cells = []
        for total, gpus in zip(sums, counts, strict=True):
            span = [stage.hours(Machines(gpus, ratio)) for ratio in sorted(ratios, reverse=True)]
            cells.append(figure(span[0]) if stage.on == "cores" else " to ".join(figure(value) for value in span))
            if stage.name != "encoding":
                total[:] = [a + b for a, b in zip(total, span, strict=True)]
        jobs = "cores" if stage.on == "cores" else f"{stage.jobs}"
        yield f"| {stage.name} | {jobs} | {figure(stage.core_seconds / HOUR)} | " + " | ".join(cells) + " |"
    whole = " | ".join(f"**{figure(low)} to {figure(high)}**" for low, high in sums)
    yield f"| **all but encoding** | | {figure(sum(stage.core_seconds for stage in rows[:-1]) / HOUR)} | {whole} |"


def of_sizes(plans: list[Plan], ranks: int = 8) -> Iterator[str]:
    """Disk and memory of plans side by side, in GB."""
    columns = [sizes(plan, ranks) for plan in plans]
    yield "| GB | " + " | ".join(f"{plan.images:,} of {plan.side} px" for plan in plans) + " |"
    yield "|---" * (len(plans) + 1) + "|"
    for name in columns[0]:
        yield f"| {name} | " + " | ".join(figure(column[name] / 1e9) for column in columns) + " |"


def of_queue(jobs: int = 100, spread: float = 0.3, death: float = 0.01, delay: float = 2 / 60) -> Iterator[str]:
    """The queue played through, as efficiency: jobs x mean / ranks over what was needed."""
    yield (
        "| ranks | jobs x mean / ranks, h | whole jobs | stragglers | and failures, own job lost | "
        "and failures, all start again |"
    )
    yield "|---|---|---|---|---|---|"
    for ranks in (1, 8, 64):
        ideal = jobs / ranks
        played = [
            mean_makespan(jobs, 1.0, 0.0, ranks, Faults(), repeats=1),
            mean_makespan(jobs, 1.0, spread, ranks, Faults()),
            mean_makespan(jobs, 1.0, spread, ranks, Faults(death, delay)),
            mean_makespan(jobs, 1.0, spread, ranks, Faults(death, delay, together=True)),
        ]
        yield f"| {ranks} | {figure(ideal)} | " + " | ".join(f"{ideal / hours:.2f}" for hours in played) + " |"


def page_tables(ratios: tuple[float, float]) -> str:
    """All tables as Markdown, as the page has them."""
    plans = [Plan(images, side) for images in (100_000, 1_000_000) for side in (224, 512)]
    tables = [*(of_hours(plan, ratios) for plan in plans), of_sizes(plans), of_queue()]
    return "\n\n".join("\n".join(table) for table in tables) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--ratio", type=float, nargs=2, default=(100.0, 1000.0), help="what a GPU does more than a core, least and most"
    )
    low, high = parser.parse_args().ratio
    if not 0 < low <= high:
        parser.error(f"--ratio takes two numbers above 0, the smaller one first, not {low:g} {high:g}")
    sys.stdout.write(page_tables((low, high)))


if __name__ == "__main__":
    main()
