"""Inference on one core: our packed networks against transformers on the same weights, in one run, with the roofline.

Ten utterances of 3 to 20 s of voiced noise, one thread, default malloc; CPU seconds are medians of ``ROUNDS``
interleaved rounds after one that warms up, ratios are medians over rounds. The roofline is the rate of large products
on the same core in the same run: torch's own (what transformers computes with) and the packed ones.
"""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2Model
from transformers.models.hubert.modeling_hubert import HubertEncoder

from speechbias.checkpoint import load_encoder, read_checkpoint
from speechbias.embeddings import single_threaded
from speechbias.export import export_checkpoint
from speechbias.inspection.operations import network_macs
from speechbias.models.config import sized
from speechbias.models.huggingface.folder import quiet_transformers
from speechbias.models.mel import mel_features
from speechbias.models.packed import Linear, is_supported
from speechbias.speat import effect_size

ROUNDS = 5
SECONDS = np.linspace(3, 20, 10)
Pooled = np.ndarray


@dataclass
class Way:
    """One way to embed an utterance, and how long it took: (CPU, wall) seconds for all utterances, per round."""

    embed: Callable[[np.ndarray], Pooled]
    times: list[tuple[float, float]]


def main() -> None:
    """Print a table per model."""
    work = {name: 2e-9 * network_macs(sized(*name.split("-"))).total for name in AIMS}  # GF per second of a 10 s clip
    with single_threaded(), torch.inference_mode(), TemporaryDirectory() as folder:
        print(f"  {roofline()}")
        waves = utterances()
        for name in sys.argv[1:] or AIMS:
            compare(name, ways(name, Path(folder)), waves, work[name])


# What the packed float32 and bfloat16 ways shall reach against a way of transformers' (ratio of CPU seconds).
AIMS: Mapping[str, Mapping[str, float]] = {
    "wav2vec2-base": {"float32 / eager": 1.8, "float32 / sdpa": 1.65, "bfloat16 / eager": 3.2},
    "hubert-base": {"float32 / eager": 1.75},
    "melhubert-base": {"float32 / eager": 1.5},
    "wav2vec2-small": {},
    "wav2vec2-slim": {},
}


def ways(name: str, folder: Path) -> dict[str, Way]:
    """Transformers eager and sdpa, and ours in each precision, of one untrained model."""
    model = f"random:{name}"
    theirs = _mel_peer if name.startswith("melhubert") else _wave_peer
    made = {f"transformers {kind}": Way(theirs(model, folder / name, kind), []) for kind in ("eager", "sdpa")}
    for dtype in ("float32", "bfloat16"):
        if dtype == "float32" or is_supported(torch.bfloat16):
            made[f"speechbias {dtype}"] = Way(load_encoder(model, dtype=dtype).pooled, [])
    return made


def _wave_peer(model: str, folder: Path, attention: str) -> Callable[[np.ndarray], Pooled]:
    if not folder.exists():
        export_checkpoint(model, folder, format="hf")
    kind = HubertModel if "hubert" in model else Wav2Vec2Model
    with quiet_transformers():
        network = kind.from_pretrained(folder, attn_implementation=attention).eval()

    def embed(wave: np.ndarray) -> Pooled:
        hidden = network(torch.from_numpy(wave)[None], output_hidden_states=True).hidden_states
        return torch.stack([state[0].mean(0) for state in hidden]).numpy()

    return embed


def _mel_peer(model: str, _: Path, attention: str) -> Callable[[np.ndarray], Pooled]:
    """Transformers has no MelHuBERT: its HuBERT encoder of that shape, on the same frames, which both have to make."""
    checkpoint = read_checkpoint(model)
    ours, stats = checkpoint.config, checkpoint.meta.mel_stats
    config = HubertConfig(
        hidden_size=ours.dim,
        num_hidden_layers=ours.num_layers,
        num_attention_heads=ours.heads[0],
        intermediate_size=ours.ffn[0],
        attn_implementation=attention,
    )
    with torch.random.fork_rng(devices=[]):
        encoder = HubertEncoder(config).eval()
    network = checkpoint.network()

    def embed(wave: np.ndarray) -> Pooled:
        frames = torch.from_numpy(mel_features(wave, ours.frontend, stats))[None]
        hidden = encoder(network.project(frames), output_hidden_states=True)
        states = hidden.hidden_states or [hidden.last_hidden_state]
        return torch.stack([state[0].mean(0) for state in states]).numpy()

    return embed


def compare(name: str, made: dict[str, Way], waves: list[np.ndarray], work: float) -> None:
    """Time the ways in turns, and print seconds, ratios, aims, and how far the results are apart."""
    results = {key: [way.embed(wave) for wave in waves] for key, way in made.items()}
    for _ in range(ROUNDS):
        for way in made.values():
            cpu, wall = time.process_time(), time.perf_counter()
            for wave in waves:
                way.embed(wave)
            way.times.append((time.process_time() - cpu, time.perf_counter() - wall))
    audio = sum(map(len, waves)) / 16_000
    print(f"\n  {name}: {audio:.0f} s of audio, {ROUNDS} rounds, {work:.1f} GF per second of audio")
    for key, way in made.items():
        cpu, wall = (median(times) for times in zip(*way.times, strict=True))
        error = _apart(results[key], results["transformers eager"]) if "melhubert" not in name else ""
        print(
            f"    {key:22} {cpu:6.2f} CPU s ({wall:.2f} wall)  {audio / cpu:6.1f} x real time  "
            f"{work * audio / cpu:4.0f} GF/s  {_ratio(made, 'transformers eager', key):4.2f} x eager  "
            f"{_ratio(made, 'transformers sdpa', key):4.2f} x sdpa{error}"
        )
    for aim, wanted in AIMS[name].items():
        ours, peer = aim.split(" / ")
        if f"speechbias {ours}" in made:
            reached = _ratio(made, f"transformers {peer}", f"speechbias {ours}")
            verdict = "reached" if reached >= wanted else "not reached"
            print(f"    aim: {ours} {wanted} x {peer}: {verdict}, {reached:.2f}")


def _ratio(made: Mapping[str, Way], peer: str, key: str) -> float:
    """How many times as long the peer takes."""
    return median(a / b for (a, _), (b, _) in zip(made[peer].times, made[key].times, strict=True))


def _apart(ours: list[Pooled], theirs: list[Pooled]) -> str:
    """Largest relative error of a pooled matrix, and how far d moves (the ten utterances as four sets)."""
    if ours is theirs:
        return ""
    errors = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(ours, theirs, strict=True)]
    moved = abs(_d(ours) - _d(theirs))
    return f"  error {max(errors):.1e}, d moves by {moved:.1e}"


def _d(pooled: list[Pooled]) -> float:
    means = np.stack([matrix.mean(0) for matrix in pooled])
    return effect_size(means[0:3], means[3:6], means[6:8], means[8:10])


def utterances() -> list[np.ndarray]:
    """Harmonic noise, another pitch each."""
    rng = np.random.default_rng(0)
    made = []
    for number, seconds in enumerate(SECONDS):
        t = np.arange(int(seconds * 16_000)) / 16_000
        voice = sum(np.sin(2 * np.pi * (90 + 15 * number) * k * t) / k for k in range(1, 15))
        made.append((0.05 * voice + 0.01 * rng.standard_normal(len(t))).astype(np.float32))
    return made


def roofline() -> str:
    """GF/s of a product of the size of a feed-forward layer, by torch and packed."""
    x, weight = torch.randn(512, 768), torch.randn(3072, 768)
    products: dict[str, Callable[[], object]] = {"torch float32": lambda: torch.nn.functional.linear(x, weight)}
    for dtype in (torch.float32, torch.bfloat16):
        if is_supported(dtype):
            packed, rows = Linear(weight, None, dtype), x.to(dtype)
            products[f"packed {str(dtype).removeprefix('torch.')}"] = lambda p=packed, r=rows: p(r)
    rates = {name: 2e-9 * x.numel() * len(weight) / _seconds(product) for name, product in products.items()}
    return "peak of one core: " + ", ".join(f"{name} {rate:.0f} GF/s" for name, rate in rates.items())


def _seconds(call: Callable[[], object], runs: int = 30) -> float:
    taken = []
    for _ in range(runs):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return median(taken)


if __name__ == "__main__":
    main()
