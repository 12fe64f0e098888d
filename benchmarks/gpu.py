"""Inference on a GPU: our padded batches against transformers at its best batch size, on the same weights, in one run.

``python -m benchmarks.gpu [FAMILY-SIZE...] [--device cuda:1]``. Utterances of 3 to 20 s lie in memory: decoding is not
measured. Float32 (no TF32, on either side) and bfloat16; wall clock, medians over interleaved rounds after one that
warms up, with the spread. Transformers is given utterances sorted by length and every batch size of ``SIZES``; padding
changes its group-norm models, which is not held against it here. ``--device cpu`` with a small model is a dry run.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from transformers import HubertModel, Wav2Vec2Model

from benchmarks import machine
from speechbias.audio import AudioFacts
from speechbias.checkpoint import read_checkpoint
from speechbias.export import export_checkpoint
from speechbias.models.batches import SECONDS, padded
from speechbias.models.freeze import freeze
from speechbias.models.frozen import FrozenNetwork
from speechbias.models.huggingface.folder import quiet_transformers
from speechbias.models.loading import buckets
from speechbias.models.precision import exact_products

MODELS = ("wav2vec2-base", "wav2vec2-small")
DTYPES = ("float32", "bfloat16")
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
ROUNDS = 5
UTTERANCES = 400
RATE = 16_000
Way = Callable[[], list[np.ndarray]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table per model and precision; one line where there is no such device."""
    asked = options(arguments)
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("benchmarks.gpu: no CUDA device here, nothing is measured. A dry run: --device cpu wav2vec2-small")
    print(describe(asked.device))
    waves = utterances(asked.utterances)
    with torch.inference_mode(), TemporaryDirectory() as folder:
        for model in asked.models:
            for dtype in DTYPES:
                ways = {f"speechbias, {SECONDS:.0f} s": ours(model, dtype, asked.device, waves)}
                for size in SIZES:
                    ways[f"transformers, {size}"] = theirs(
                        model, dtype, asked.device, waves, size=size, folder=Path(folder)
                    )
                compare(f"{model} {dtype}", ways, sum(map(len, waves)) / RATE, asked.rounds, asked.device)


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("models", nargs="*", metavar="FAMILY-SIZE", default=MODELS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--utterances", type=int, default=UTTERANCES)
    return parser.parse_args(arguments)


def describe(device: str) -> str:
    """Device, driver's CUDA, machine and versions."""
    if device == "cpu":
        return f"dry run on the CPU, no figures for the record; {machine.describe()}"
    card = torch.cuda.get_device_properties(device)
    memory = f"{card.total_memory / 2**30:.0f} GiB"
    return f"{card.name}, {memory}, CUDA {torch.version.cuda}; {machine.describe()}; {platform.platform()}"


def utterances(count: int) -> list[np.ndarray]:
    """Noise of 3 to 20 s."""
    rng = np.random.default_rng(0)
    lengths = (RATE * rng.uniform(3, 20, count)).astype(int)
    return [rng.normal(scale=0.1, size=length).astype(np.float32) for length in lengths]


def ours(model: str, dtype: str, device: str, waves: Sequence[np.ndarray]) -> Way:
    """Every utterance pooled, in buckets of like length."""
    encoder = freeze(model, read_checkpoint(f"random:{model}").network(), device=device, dtype=dtype, batched=True)
    return lambda: pooled(encoder, waves)


def pooled(encoder: FrozenNetwork, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
    """(states, dim) of every wave, in their order."""
    clips = [AudioFacts(Path(), len(wave) / RATE, RATE, 1, len(wave), str(n), False) for n, wave in enumerate(waves)]
    order = buckets(clips, sample_rate=RATE, seconds=encoder.batch_seconds)
    found: dict[int, np.ndarray] = {}
    batches = (padded([waves[index] for index in bucket]) for bucket in order)
    for bucket, vectors in zip(order, encoder.pooled_batches(batches), strict=True):
        found |= dict(zip(bucket, vectors, strict=True))
    return [found[index] for index in range(len(waves))]


def theirs(model: str, dtype: str, device: str, waves: Sequence[np.ndarray], *, size: int, folder: Path) -> Way:
    """Transformers with sdpa, ``size`` utterances at a time, neighbours in length; means over valid frames."""
    where = folder / model
    if not where.exists():
        export_checkpoint(f"random:{model}", where, format="hf")
    kind = HubertModel if model.startswith("hubert") else Wav2Vec2Model
    with quiet_transformers():
        network = kind.from_pretrained(where, attn_implementation="sdpa", dtype=getattr(torch, dtype))
    network = network.to(device).eval()
    order = sorted(range(len(waves)), key=lambda index: -len(waves[index]))

    def embed() -> list[np.ndarray]:
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(order), size):
            bucket = order[start : start + size]
            batch = padded([waves[index] for index in bucket])
            found |= dict(zip(bucket, their_means(network, batch.inputs, batch.lengths, device), strict=True))
        return [found[index] for index in range(len(waves))]

    return embed


def their_means(network: torch.nn.Module, inputs: torch.Tensor, lengths: torch.Tensor, device: str) -> np.ndarray:
    """(batch, states, dim)."""
    mask = (torch.arange(inputs.shape[1]) < lengths[:, None]).to(device)
    with exact_products():
        inputs = inputs.to(device, network.dtype)
        hidden = network(inputs, attention_mask=mask, output_hidden_states=True).hidden_states
    frames = network._get_feat_extract_output_lengths(lengths).to(device)  # noqa: SLF001 (its only name)
    own = (torch.arange(hidden[0].shape[1], device=device) < frames[:, None])[..., None]
    means = [state.where(own, 0).sum(1, dtype=torch.float64) / frames[:, None] for state in hidden]
    return torch.stack(means, 1).float().cpu().numpy()


def compare(title: str, ways: Mapping[str, Way], audio: float, rounds: int, device: str) -> None:
    """Time the ways in turns; what memory does not hold is left out."""
    print(f"\n  {title}: {audio:.0f} s of audio, {rounds} rounds", flush=True)
    results = {}
    for name, way in ways.items():
        try:
            results[name] = way()
        except torch.OutOfMemoryError:
            print(f"    {name:24} out of memory")
    times: dict[str, list[float]] = {name: [] for name in results}
    for _ in range(rounds):
        for name in results:
            times[name].append(seconds(ways[name], device))
    first, *peers = times
    best = min(peers, key=lambda name: median(times[name]))
    exact = results["transformers, 1"]  # alone, so without padding
    for name, taken in times.items():
        ratio = median(a / b for a, b in zip(times[best], taken, strict=True))
        worst = max(
            np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(results[name], exact, strict=True)
        )  # fmt: skip
        print(
            f"    {name:24} {median(taken):8.3f} s ({min(taken):.3f} to {max(taken):.3f})  "
            f"{audio / median(taken):8.0f} x real time  {ratio:5.2f} x their best  error {worst:.1e}"
        )
    print(f"    {first} against {best}: the ratio above", flush=True)


def seconds(way: Way, device: str) -> float:
    """Wall clock of one call, the device's work included."""
    start = time.perf_counter()
    way()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
