"""A part of a recording, for training: the samples that ``read_audio`` gives, from one to another.

wav and FLAC are read from where the part begins. Other decoders carry something over from what they have heard, so
they begin at the start and stop behind the part; a file of another sample rate is read and resampled whole. So is one
whose header does not announce the length that is expected: what it has decides.
"""

import io
import os
from pathlib import Path

import numpy as np
import soundfile
import soxr

from speechbias.audio.containers import TruncatedError, make_playable
from speechbias.audio.files import (
    RESAMPLER,
    AudioError,
    Samples,
    Stream,
    decode,
    mix,
    read_bytes,
    refuse_another_length,
)
from speechbias.audio.members import Member, Recording, located

_SEEKABLE = {"WAV", "WAVEX", "RF64", "FLAC"}


def read_segment(path: Recording, sample_rate: int, start: int, stop: int, *, of: int | None = None) -> Samples:
    """Mono float32 wave [start, stop) in samples at ``sample_rate`` (Hz), of just that length.

    AudioError where the file does not have them. ``of``: samples of the whole recording as they were counted before;
    ChangedError where there are more or fewer. Silence is taken as it is: a pause is no fault of a crop.
    """
    path = located(path)
    wave = mix(_read(path, sample_rate, start, stop, of))
    if len(wave) < stop - start:
        why = (
            f"ends after {start + len(wave)} samples at {sample_rate} Hz, or cannot be decoded there; {stop} expected"
        )
        raise AudioError(path, why, "Was it changed or cut since it was scanned? Scan the corpus again")
    if not np.isfinite(wave).all():
        raise AudioError(path, "holds NaN or infinite samples", "Export it again, or leave it out")
    return np.ascontiguousarray(wave, dtype=np.float32)


def _read(path: Path | Member, sample_rate: int, start: int, stop: int, of: int | None) -> Samples:
    """Samples (up to stop - start, channels)."""
    try:
        with soundfile.SoundFile(_file(path)) as stream:
            container, rate = stream.format, stream.samplerate
            announced = of is None or (2 * stream.frames * sample_rate + rate) // (2 * rate) == of
            if announced and rate == sample_rate and container in _SEEKABLE:
                stream.seek(min(start, stream.frames))
                part: Samples = stream.read(stop - start, dtype="float32", always_2d=True)
                return part
    except soundfile.LibsndfileError:
        container, rate, announced = (
            "",
            0,
            False,
        )  # unreadable, or cut where it was sought: reading from the start says what it is
    if rate != sample_rate or not announced:
        whole = _resampled(path, sample_rate)
        refuse_another_length(path, len(whole), len(whole) if of is None else of, sample_rate)
        return whole[start:stop]
    source = _playable(path) if container != "OGG" else _file(path)
    with Stream(source) as stream:
        head: Samples = stream.read(stop, dtype="float32", always_2d=True)
    return head[start:]


def _file(path: Path | Member) -> bytes | io.BytesIO:
    """What libsndfile opens: a file by its name, so that no more of it is read than is needed."""
    return io.BytesIO(read_bytes(path)) if isinstance(path, Member) else os.fsencode(path)


def _resampled(path: Path | Member, sample_rate: int) -> Samples:
    samples, rate = decode(path, read_bytes(path))
    if rate == sample_rate:
        return samples
    wave: Samples = soxr.resample(mix(samples), rate, sample_rate, quality=RESAMPLER)
    return wave[:, None]


def _playable(path: Path | Member) -> io.BytesIO:
    try:
        return io.BytesIO(make_playable(read_bytes(path)))
    except TruncatedError as shortage:
        raise AudioError(path, f"is truncated: {shortage}", "Copy or download it again") from None
