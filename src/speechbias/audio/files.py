"""Read and inspect: bytes -> samples (samples, channels) -> mono wave (samples,), float32 in [-1, 1]."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from speechbias.audio.containers import TruncatedError, make_playable
from speechbias.audio.members import Member, MemberError, Recording, located
from speechbias.errors import InputError, os_reason

RESAMPLER = "HQ"  # soxr's 20-bit recipe, better than 16-bit audio; linear phase
CLIPPING_LEVEL = 0.999  # of full scale
CLIPPING_RUN = 3  # samples in a row; no clip of 700 that were scaled to a peak of 1 has such a run
SILENCE = 1e-6  # peak to peak, -120 dB of full scale: a constant, or channels that cancel
_BLOCK = 1 << 18  # samples decoded at once

Samples = NDArray[np.float32]


class AudioError(InputError):
    """A file that cannot be measured: ``path``, ``why`` (a predicate: "has no samples"), ``remedy`` (may be blank)."""

    def __init__(self, path: Path | Member, why: str, remedy: str = "") -> None:
        super().__init__(f"{path} {why}." + (f" {remedy}." if remedy else ""))
        self.path, self.why, self.remedy = path, why, remedy

    def __reduce__(self) -> tuple[type["AudioError"], tuple[Path | Member, str, str]]:
        return type(self), (self.path, self.why, self.remedy)  # so that it crosses from one process to another


class ChangedError(AudioError):
    """A recording that is not as long as it was when somebody looked: another one lies in its place."""


def refuse_another_length(path: Path | Member, samples: int, expected: int, sample_rate: int) -> None:
    """ChangedError unless a recording has the samples at ``sample_rate`` (Hz) that were counted before."""
    if samples != expected:
        why = f"has {samples} samples at {sample_rate} Hz, and had {expected} when it was scanned"
        again = "write the shards anew" if isinstance(path, Member) else "begin a new run, which scans again"
        raise ChangedError(path, why, f"Put back what was there, or {again}")


@dataclass(frozen=True)
class AudioFacts:
    """What one whole, decoded file is like."""

    path: Path
    seconds: float
    sample_rate: int  # of the file, in Hz
    channels: int
    frames: int  # samples per channel
    sha256: str  # of the file's bytes
    clipped: bool  # >= 3 samples in a row at full scale, in some channel


def inspect_audio(path: str | Path) -> AudioFacts:
    """Decode the whole file and say what it is like; AudioError for what cannot be measured."""
    path = Path(path)
    data = read_bytes(path)
    samples, sample_rate = decode(path, data)
    check_sound(path, samples, mix(samples))
    return AudioFacts(
        path=path,
        seconds=len(samples) / sample_rate,
        sample_rate=sample_rate,
        channels=samples.shape[1],
        frames=len(samples),
        sha256=hashlib.sha256(data).hexdigest(),
        clipped=_is_clipped(samples),
    )


def read_audio(path: Recording, sample_rate: int) -> Samples:
    """Mono wave at ``sample_rate`` (Hz): shape (samples,), float32; AudioError as ``inspect_audio``."""
    path = located(path)
    samples, source_rate = decode(path, read_bytes(path))
    wave = mix(samples)
    check_sound(path, samples, wave)
    if source_rate != sample_rate:
        wave = soxr.resample(wave, source_rate, sample_rate, quality=RESAMPLER)
    return np.ascontiguousarray(wave, dtype=np.float32)


def count_samples(facts: AudioFacts, sample_rate: int) -> int:
    """How many samples ``read_audio`` will return at ``sample_rate`` (Hz); soxr rounds a half up."""
    return (2 * facts.frames * sample_rate + facts.sample_rate) // (2 * facts.sample_rate)


def read_bytes(path: Path | Member) -> bytes:
    """Every byte of a file, or of a member of a tar; AudioError where there are none to be had."""
    try:
        if isinstance(path, Member):
            return path.read()
        if path.is_dir():
            raise AudioError(path, "is a folder, not an audio file", "Name the file")
        data = path.read_bytes()
    except MemberError as error:
        raise AudioError(path, error.why, error.remedy) from None
    except FileNotFoundError:
        raise AudioError(path, "does not exist", "Correct the path") from None
    except OSError as error:
        raise AudioError(path, f"cannot be read ({os_reason(error)})", "Check its permissions") from None
    if not data:
        raise AudioError(path, "is empty (0 bytes)", "Copy it again")
    return data


class Stream(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file read once from start to end, so that a length that the header leaves open does no harm."""

    def seekable(self) -> bool:
        """Never."""
        return False  # soundfile would seek to where a block should have ended, beyond the end of such a file


def decode(path: Path | Member, data: bytes) -> tuple[Samples, int]:
    """Samples of shape (samples, channels) and the file's rate in Hz; AudioError unless the file is whole."""
    try:
        playable = make_playable(data)
    except TruncatedError as shortage:
        _refuse_truncated(path, str(shortage))
    try:
        with Stream(io.BytesIO(playable)) as stream:
            blocks = list(read_blocks(stream))
            announced, rate = stream.frames, int(stream.samplerate)
    except soundfile.LibsndfileError:
        if data[:4] == b"fLaC":  # libFLAC loses its way where the file ends
            _refuse_truncated(path, "it ends or breaks off within a FLAC frame")
        raise AudioError(path, "is not audio that can be decoded", "Convert it to wav or flac") from None
    samples = np.concatenate(blocks)
    if data[:4] == b"fLaC" and len(samples) < announced < 1 << 40:
        _refuse_truncated(path, f"its header announces {announced} samples, {len(samples)} are there")
    return samples, rate


def _refuse_truncated(path: Path | Member, shortage: str) -> NoReturn:
    raise AudioError(path, f"is truncated: {shortage}", "Copy or download it again") from None


def read_blocks(stream: Stream) -> Iterator[Samples]:
    """Blocks of shape (samples, channels) to the end."""
    while True:
        block: Samples = stream.read(_BLOCK, dtype="float32", always_2d=True)
        yield block
        if len(block) < _BLOCK:
            return


def mix(samples: Samples) -> Samples:
    """Mean over channels: (samples, channels) -> (samples,)."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    total = samples[:, 0].astype(np.float64)  # channel by channel: many times faster than mean(axis=1)
    for channel in range(1, samples.shape[1]):
        total += samples[:, channel]
    wave: Samples = (total / samples.shape[1]).astype(np.float32)
    return wave


def check_sound(path: Path | Member, samples: Samples, wave: Samples) -> None:
    """Refuse what has nothing to hear; ``wave`` is the mean of the channels, finite only if all of them are."""
    if not len(wave):
        raise AudioError(path, "has no samples")
    if not np.isfinite(wave).all():
        raise AudioError(path, "holds NaN or infinite samples", "Export it again")
    if np.ptp(wave) <= SILENCE:
        if np.ptp(samples, axis=0).max() > SILENCE:
            raise AudioError(path, "is silent as mono: its channels cancel", "Export one channel")
        raise AudioError(path, "is digital silence")


def _is_clipped(samples: Samples) -> bool:
    if max(samples.max(), -samples.min()) < CLIPPING_LEVEL:
        return False
    full = np.abs(samples) >= CLIPPING_LEVEL  # (samples, channels)
    run = full[: len(full) - CLIPPING_RUN + 1]
    for shift in range(1, CLIPPING_RUN):
        run = run & full[shift : len(full) - CLIPPING_RUN + 1 + shift]
    return bool(run.any())
