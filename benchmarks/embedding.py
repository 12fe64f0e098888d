"""Embedding: two workers and two processes against one, the cache against computing, decoding against embedding."""

import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from statistics import median

import numpy as np
import soundfile
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from speechbias.audio import AudioFacts, inspect_audio
from speechbias.checkpoint import load_encoder
from speechbias.embeddings import pool
from speechbias.encoder import Encoder
from speechbias.models.huggingface.folder import quiet_transformers

ROUNDS = 5
CLIPS, SECONDS = 12, 4.0


def main() -> None:
    """Print wall-clock medians of interleaved rounds and their ratios."""
    with tempfile.TemporaryDirectory() as folder:
        files = clips(Path(folder))
        models = {"wav2vec 2.0, base shape, random": base(Path(folder) / "base"), "mfcc": "mfcc"}
        for name, model in models.items():
            repeat = 1 if model != "mfcc" else 40
            compare(name, model, files * repeat, Path(folder) / "cache")


def compare(name: str, model: str, files: list[AudioFacts], cache: Path) -> None:
    """One model: one worker, two workers, and from the cache."""
    encoder = load_encoder(model)
    # Clips repeat to fill a round; under names of their own, or equal audio would be embedded once.
    files = [AudioFacts(**{**vars(facts), "sha256": f"{facts.sha256}-{n}"}) for n, facts in enumerate(files)]
    pool(encoder, files, cache=cache)
    with get_context("spawn").Pool(2, initializer=begin, initargs=(model,)) as processes:
        processes.map(embed, [files[:1], files[:1]], chunksize=1)  # both have loaded
        ways = ways_of(encoder, files, cache, processes)
        times = timed(ways)
    report(name, times, sum(facts.seconds for facts in files))


def ways_of(
    encoder: Encoder, files: list[AudioFacts], cache: Path, processes: Pool
) -> dict[str, Callable[[], object]]:
    """What is timed."""
    return {
        "one worker": lambda: pool(encoder, files),
        "two workers": lambda: pool(encoder, files, workers=2),
        "two processes": lambda: processes.map(embed, [files[::2], files[1::2]], chunksize=1),
        "from the cache": lambda: pool(encoder, files, cache=cache),
    }


loaded: list[Encoder] = []  # of a process of its own


def begin(model: str) -> None:
    """Load the model, in a process of its own."""
    loaded.append(load_encoder(model))


def embed(files: list[AudioFacts]) -> None:
    """Embed a share of the clips there."""
    pool(loaded[0], files)


def timed(ways: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of each way by round, rounds interleaved."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, call in ways.items():
            started = time.perf_counter()
            call()
            times[way].append(time.perf_counter() - started)
    return times


def report(name: str, times: dict[str, list[float]], audio: float) -> None:
    """Medians, and ratios by round."""
    print(f"{name}: {audio:.0f} s of audio, {ROUNDS} rounds")
    for way, seconds in times.items():
        ratio = median(a / b for a, b in zip(times["one worker"], seconds, strict=True))
        print(
            f"  {way:15} {median(seconds):6.2f} s ({min(seconds):.2f} to {max(seconds):.2f})   "
            f"{audio / median(seconds):7.0f} x real time   {ratio:6.2f} x one worker"
        )


def clips(folder: Path) -> list[AudioFacts]:
    """Voiced noise of a few seconds."""
    rng = np.random.default_rng(0)
    for number in range(CLIPS):
        soundfile.write(folder / f"{number}.flac", rng.normal(scale=0.1, size=int(16_000 * SECONDS)), 16_000)
    return [inspect_audio(path) for path in sorted(folder.glob("*.flac"))]


def base(folder: Path) -> str:
    """A random wav2vec 2.0 of the base shape, as a transformers folder."""
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(0)
        Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder)
    return str(folder)


if __name__ == "__main__":
    main()
