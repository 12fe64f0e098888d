"""How long a model takes for 10 s of audio, on one thread of this machine."""

import dataclasses
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from speechbias.embeddings import single_threaded
from speechbias.encoder import Encoder
from speechbias.inspection.description import Timing

RUNS = 5
CPUS = Path("/proc/cpuinfo")  # of Linux


def time_encoder(encoder: Encoder) -> Timing:
    """CPU time of embedding 10 s of noise, which what else runs on the machine lengthens least: median and range."""
    from speechbias.inspection.operations import SECONDS  # noqa: PLC0415 (torch: seconds)

    embed = _embedding(encoder)
    with single_threaded():
        embed()  # the first run compiles and allocates
        seconds = [_time(embed) for _ in range(RUNS)]
    return Timing(statistics.median(seconds), min(seconds), max(seconds), RUNS, SECONDS, processor())


def _embedding(encoder: Encoder) -> Callable[[], object]:
    """What is timed: one clip embedded. What the statistics of mel bins are changes no time."""
    from speechbias.inspection.operations import noise  # noqa: PLC0415 (torch: seconds)
    from speechbias.models.frozen import FrozenNetwork  # noqa: PLC0415
    from speechbias.models.onnx.runtime import OnnxEncoder  # noqa: PLC0415

    wave = noise(encoder.sample_rate)
    if isinstance(encoder, FrozenNetwork) and encoder.family == "melhubert" and encoder.mel_stats is None:
        bins = 40
        encoder = dataclasses.replace(encoder, mel_stats=np.array([[0.0] * bins, [1.0] * bins]))
    if isinstance(encoder, OnnxEncoder) and encoder.facts.input == "features":
        exported, frames = encoder, round(len(wave) / encoder.sample_rate / encoder.frame_shift)
        features = np.random.default_rng(0).standard_normal((frames, exported.input_dim)).astype(np.float32)
        return lambda: exported.encode_features(features).mean(axis=1)
    # A feature with CMVN refuses to be pooled; a network that pools does not keep its frames.
    embed = encoder.hidden_states if encoder.family == "features" else encoder.pooled
    return lambda: embed(wave)


def _time(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def processor() -> str:
    """What the processor calls itself; its architecture where it does not say."""
    try:
        lines = CPUS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, [*names, platform.processor(), platform.machine()]), "unknown processor")
