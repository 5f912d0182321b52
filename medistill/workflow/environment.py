"""What a result was made with: versions of what decides it, and the hardware."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

DECISIVE = ("medistill", "torch", "numpy", "monai", "pydicom", "scikit-learn", "safetensors")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version(), **{name: version(name) for name in DECISIVE}}


def hardware(device: str) -> str:
    """The processor, and the GPU where one is used. No host name."""
    import torch

    info = Path("/proc/cpuinfo")
    names = []
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
    processor = names[0] if names else platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    text = f"{processor}, {threads} {'thread' if threads == 1 else 'threads'}"
    return f"{torch.cuda.get_device_name()} beside {text}" if device == "cuda" else text
