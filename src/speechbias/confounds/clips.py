"""Many clips -> the covariates of each, computed once and kept by the hash of the audio.

Kept is a JSON file per clip: numbers, no audio, no names. It is keyed by the versions of whatever the numbers can
depend on, so that an update computes them again. Praat holds Python's lock while it works: several clips at a time
are measured by processes, not threads.
"""

import hashlib
import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soxr

from speechbias.audio import RESAMPLER, AudioFacts
from speechbias.audio.files import decode, mix, read_bytes
from speechbias.confounds.covariates import COVARIATES
from speechbias.confounds.crop import middle
from speechbias.confounds.levels import (
    active_level,
    bandwidth,
    clipping_share,
    decibels,
    frame_levels,
    is_silent,
    pause_share,
    signal_to_noise,
)
from speechbias.confounds.praat import is_installed, measure_voice
from speechbias.errors import InputError, os_reason
from speechbias.progress import Progress
from speechbias.results import write_whole

Values = Mapping[str, float]  # by the name of the covariate

RATE = 16_000  # Hz, at which every clip is judged: that of the models
FEW = 16  # clips that are not worth starting processes
RECIPE = 1  # raised when a definition changes


def describe_clip(path: Path, *, crop: float | None = None) -> dict[str, float]:
    """The covariates of one file that ``check_audio`` has let pass; with ``crop`` of its middle seconds.

    Those of Praat are left out where the extra is not installed. AudioError for a file that cannot be decoded.
    """
    samples, rate = decode(path, read_bytes(path))
    samples = middle(samples, rate, crop)
    mono = mix(samples)
    if rate != RATE:
        mono = soxr.resample(mono, rate, RATE, quality=RESAMPLER)
    wave = mono.astype(np.float64)
    frames = frame_levels(wave, RATE)
    silent = is_silent(frames)
    return {
        "duration": len(samples) / rate,
        "pauses": pause_share(silent),
        "level": float(decibels(np.mean(wave**2))),
        "active_level": active_level(frames, silent),
        "snr": signal_to_noise(frames),
        "bandwidth": bandwidth(wave, RATE),
        "clipping": clipping_share(samples),
        **(measure_voice(wave, RATE) if is_installed() else {}),
    }


def describe_clips(
    files: Sequence[AudioFacts],
    *,
    crop: float | None = None,
    workers: int = 1,
    cache: Path | None = None,
    progress: bool = False,
) -> dict[str, Values]:
    """The covariates of audio files, by the SHA-256 of their bytes; equal files once. ``cache``: a folder."""
    unique = {facts.sha256: facts for facts in files}
    folder = _folder(cache, crop) if cache else None
    kept: dict[str, Values] = {
        sha256: found for sha256 in unique if folder and (found := _read(folder / f"{sha256}.json"))
    }
    todo = [facts for sha256, facts in unique.items() if sha256 not in kept]
    with Progress("audit", sum(facts.seconds for facts in todo), shown=progress and bool(todo)) as bar:
        for facts, found in _measure(partial(describe_clip, crop=crop), todo, workers):
            kept[facts.sha256] = found
            if folder:
                said = {name: None if np.isnan(value) else value for name, value in found.items()}
                write_whole(folder / f"{facts.sha256}.json", json.dumps(said).encode(), durable=False)
            bar.advance(facts.seconds)
    return kept


def measured_names() -> tuple[str, ...]:
    """The covariates that this installation measures."""
    return tuple(c.name for c in COVARIATES if not c.praat or is_installed())


def versions() -> dict[str, str]:
    """Versions of everything that a covariate can depend on."""
    found = {}
    for name in ("speechbias", "numpy", "soundfile", "soxr", "praat-parselmouth"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _measure(
    work: Callable[[Path], dict[str, float]], todo: Sequence[AudioFacts], workers: int
) -> Iterator[tuple[AudioFacts, dict[str, float]]]:
    """As they come, in order. One at a time it is a thread: Ctrl-C within a callback of libsndfile is swallowed."""
    pool: Executor
    if workers == 1 or len(todo) < FEW:
        pool = ThreadPoolExecutor(1)
    else:
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_leave_ctrl_c)
    try:
        yield from zip(todo, pool.map(work, [facts.path for facts in todo], chunksize=4), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_ctrl_c() -> None:
    """The parent ends its processes; each would only say where it was."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _folder(cache: Path, crop: float | None) -> Path:
    digest = hashlib.sha256(json.dumps([RECIPE, versions(), crop], sort_keys=True).encode()).hexdigest()
    folder = cache / "audit" / digest[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{cache} cannot hold the cache ({os_reason(error)}). Choose another folder with --cache."
        ) from None
    return folder


def _read(path: Path) -> dict[str, float] | None:
    """What was kept, or None where there is nothing or it is damaged."""
    try:
        said = json.loads(path.read_bytes())
        found = {name: float("nan") if said[name] is None else float(said[name]) for name in measured_names()}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found
