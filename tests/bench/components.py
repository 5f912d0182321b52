"""Principal components as `fit_pca` streams them, beside scikit-learn's IncrementalPCA.

    python -m tests.bench.components --images 4000 --size 112

Drawn images of low rank with noise. Seconds, and the variance that 64 components capture, in squared grey levels of a
pixel.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from sklearn.decomposition import IncrementalPCA

from medistill.quantisation.pca import fit_pca
from medistill.workflow.environment import hardware, versions

RANK, COMPONENTS = 200, 64


def drawn(count: int, size: int) -> np.ndarray:
    """Uint8 (count, 1, size, size)."""
    rng = np.random.default_rng(0)
    falling = np.arange(1, RANK + 1, dtype=np.float32)[:, None] ** -0.7
    patterns = rng.standard_normal((RANK, size * size), np.float32) * falling
    images = rng.standard_normal((count, RANK), np.float32) @ patterns
    images += 0.3 * rng.standard_normal(images.shape, np.float32)
    return np.clip(20 * images + 128, 0, 255).astype(np.uint8).reshape(count, 1, size, size)


def captured(images: np.ndarray, basis: np.ndarray, batch: int) -> float:
    """Variance of the images along orthonormal rows (D, P), a pixel."""
    flat = images.reshape(len(images), -1)
    codes = np.concatenate([flat[k : k + batch].astype(np.float32) @ basis.T for k in range(0, len(flat), batch)])
    return float(codes.var(axis=0, dtype=np.float64).sum() / flat.shape[1])


def timed(name: str, images: np.ndarray, fit: Callable[[], np.ndarray], batch: int) -> None:
    """Print a row."""
    started = time.perf_counter()
    basis = fit()
    seconds = time.perf_counter() - started
    sys.stdout.write(f"| {name} | {batch} | {seconds:.1f} | {captured(images, basis, batch):.2f} |\n")


def incremental(images: np.ndarray, batch: int) -> np.ndarray:
    """The components (D, P) of scikit-learn."""
    model, flat = IncrementalPCA(COMPONENTS), images.reshape(len(images), -1)
    for start in range(0, len(flat) - COMPONENTS + 1, batch):
        model.partial_fit(flat[start : start + batch].astype(np.float32) / 255, check_input=False)
    return model.components_.astype(np.float32)


def streamed(images: np.ndarray, batch: int) -> np.ndarray:
    """The components (D, P) of `fit_pca`."""
    rows, cpu = np.arange(len(images)), torch.device("cpu")
    return fit_pca(
        images, rows, components=COMPONENTS, batch=batch, seed=0, device=cpu, tick=lambda _: None
    ).basis.numpy()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--size", type=int, default=112)
    asked = parser.parse_args()
    images = drawn(asked.images, asked.size)
    sys.stdout.write("| components | batch | seconds | variance captured |\n|---|---|---|---|\n")
    for batch in (256, 512, 1024):
        timed("IncrementalPCA", images, partial(incremental, images, batch), batch)
        timed("fit_pca", images, partial(streamed, images, batch), batch)
    sys.stdout.write(f"\n{hardware('cpu')}; " + ", ".join(f"{name} {v}" for name, v in versions().items()) + "\n")


if __name__ == "__main__":
    main()
