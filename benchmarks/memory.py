"""Memory: the peak of a fresh process that loads a model and embeds 30 s, by format and by number of states."""

import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from speechbias.checkpoint import load_encoder, read_checkpoint
from speechbias.checkpoint.content import Checkpoint
from speechbias.checkpoint.folder import save_checkpoint
from speechbias.embeddings import single_threaded
from speechbias.models.config import SAMPLE_RATE
from speechbias.models.convert.shapes import expected_shapes
from speechbias.models.packed import is_supported

SECONDS = 30
AIM = 400  # MB above the weights, for base


def main() -> None:
    """Print a line per model: Linux' VmHWM, mapped files and libraries included, and parts of it."""
    from benchmarks.loading import files  # noqa: PLC0415 (imports transformers, which the child does without)

    with tempfile.TemporaryDirectory() as folder:
        models: dict[str, Path | str] = {f"base, {way}": path for way, path in files(Path(folder)).items()}
        models["base, untrained"] = "random:wav2vec2-base"
        models["base of 3 layers, our folder"] = shortened(Path(models["base, our folder"]), Path(folder) / "short")
        models["large, our folder"] = save_checkpoint(Path(folder) / "large", read_checkpoint("random:wav2vec2-large"))
        print(f"load and embed {SECONDS} s of audio, MB (aim for base: {AIM} above the weights)")
        for name, path in models.items():
            states, weights, imports, loaded, peak = measure(path)
            print(
                f"  {name:36} {states:2} states  weights {weights:5}  after imports {imports:4}  loaded {loaded:5}  "
                f"peak {peak:5} = weights + {peak - weights:3}"
            )


def shortened(model: Path, folder: Path, layers: int = 3) -> Path:
    """The first layers of a model alone."""
    whole = read_checkpoint(model)
    config = replace(whole.config, heads=whole.config.heads[:layers], ffn=whole.config.ffn[:layers])
    tensors = {name: tensor for name, tensor in whole.tensors.items() if name in expected_shapes(config)}
    return save_checkpoint(folder, Checkpoint("short", config, tensors))


def measure(model: Path | str) -> tuple[int, ...]:
    """States, and MB of weights, of memory after imports and after loading, and of the peak, in a fresh process."""
    code = "import sys; from benchmarks.memory import print_child; print_child(sys.argv[1])"
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code, model], cwd=root, check=True, capture_output=True, text=True)
    return tuple(map(int, done.stdout.split()))


def print_child(model: str) -> None:
    """What ``measure`` reads: memory of this process, the model run as ``embed`` runs it."""
    is_supported(torch.float32)  # oneDNN and its code are no part of a model
    imports = megabytes("VmRSS")
    encoder = load_encoder(model)
    loaded = megabytes("VmRSS")
    wave = (0.1 * np.random.default_rng(0).standard_normal(SECONDS * SAMPLE_RATE)).astype(np.float32)
    with single_threaded(), ThreadPoolExecutor(1) as thread:
        states = len(thread.submit(encoder.pooled, wave).result())
    peak = megabytes("VmHWM")
    weights = sum(tensor.nbytes for tensor in read_checkpoint(model).tensors.values()) / 1e6
    print(states, *map(round, (weights, imports, loaded, peak)))


def megabytes(field: str) -> float:
    """A line of /proc/self/status, in 10^6 bytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 / 1e6 if found else float("nan")


if __name__ == "__main__":
    main()
