"""The micro-batch that this machine is quickest with: measured once, remembered in the cache."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from medistill.artifacts.kept import keep_json, read_checked_json
from medistill.errors import ArtifactError

SECONDS = 2.0
"""What the measuring may take in all."""
GAIN = 1.1
"""Another size has to be this many times as quick as the footprint's to take its place."""
RUNS = 3
"""Timed runs of a size; the quickest counts."""


def tuned_micro_batch(
    estimate: int, whole: int, work: Callable[[int], None], identity: Mapping[str, Any], path: Path
) -> int:
    """The quickest number of images that pass the network at once, near the footprint's estimate.

    Where the whole batch fits the estimate there is nothing to choose: it stays, and nothing is measured.

    Args:
        estimate: the footprint's number.
        whole: images of a batch.
        work: does what the run will do, on that many images.
        identity: what tells this work from others; device, threads and PyTorch are added.
        path: the private file that remembers.
    """
    if estimate >= whole:
        return estimate
    key = _key(identity)
    remembered = _remembered(path)
    if key not in remembered:
        remembered[key] = {**_measured(estimate, whole, work), "for": dict(identity)}
        keep_json(path, remembered, private=True)
    return int(remembered[key]["micro_batch"])


def _measured(estimate: int, whole: int, work: Callable[[int], None]) -> dict[str, Any]:
    """Time candidates as long as there is time, the estimate first."""
    sizes = [estimate, *sorted({max(1, estimate // 2), 2 * estimate, 4 * estimate, whole} - {estimate})]
    ends = time.perf_counter() + SECONDS
    speeds: dict[int, float] = {}
    for size in (size for size in sizes if size <= whole):
        expected = size / max(speeds.values()) if speeds else 0.0
        if time.perf_counter() + 2 * expected > ends:
            continue
        work(size)  # the first run also allocates
        quickest = float("inf")
        for _ in range(RUNS):
            started = time.perf_counter()
            work(size)
            quickest = min(quickest, time.perf_counter() - started)
            if time.perf_counter() + quickest > ends:
                break
        speeds[size] = size / quickest
    best = max(speeds, key=lambda size: speeds[size])
    chosen = best if speeds[best] > GAIN * speeds[estimate] else estimate
    return {"micro_batch": chosen, "images_per_second": {str(size): round(speed, 1) for size, speed in speeds.items()}}


def _key(identity: Mapping[str, Any]) -> str:
    machine = {
        "device": torch.cuda.get_device_name() if identity.get("device") == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps([identity, machine], sort_keys=True, default=str).encode()).hexdigest()[:16]


def _remembered(path: Path) -> dict[str, Any]:
    """What was measured before; a file that cannot be read is measured anew."""
    try:
        stored = read_checked_json(path, "tuning") if path.is_file() else {}
    except ArtifactError:
        return {}
    return {key: entry for key, entry in stored.items() if _sound(entry)}


def _sound(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("micro_batch"), int) and entry["micro_batch"] > 0
