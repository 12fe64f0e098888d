"""What a benchmark ran on: CPU, cores, versions. Numbers without it mean nothing."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("speechbias", "numpy", "scipy", "numba", "torch", "transformers", "soundfile", "soxr")


def describe() -> str:
    """CPU model, cores, Python and library versions."""
    info = Path("/proc/cpuinfo")
    models = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    cpu = models[0] if models else platform.processor() or platform.machine()
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"{cpu}, {len(os.sched_getaffinity(0))} cores; Python {platform.python_version()}; {versions}"
