"""How long is a recording? From its header where that settles it, else by decoding; no part is taken for the whole.

Headers settle wav of plain samples (the file has the announced bytes), FLAC (its last frame is whole) and ogg (its
last page is there). Everything else is decoded: an mp3 mostly does not say how long it is. What stands between a
sound beginning and a sound end (NaN, silence, a broken frame) only decoding the whole file tells.
"""

import mmap
import os
from pathlib import Path
from typing import Any

import soundfile

from speechbias.audio.containers import TruncatedError, check_ogg, check_wav
from speechbias.audio.files import AudioError, check_sound, decode, mix, read_bytes
from speechbias.audio.flac import ends_whole

_PLAIN = {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"}


def measure_length(path: str | Path, sample_rate: int, *, whole: bool = False) -> int:
    """How many samples ``read_audio`` gives at ``sample_rate`` (Hz); AudioError where the file cannot be read.

    ``whole`` decodes every sample and refuses all that ``read_audio`` refuses; else headers are believed where they
    settle it, and what only the samples tell (silence, NaN, a broken frame in the middle) is not found.
    """
    path = Path(path)
    frames, rate = (None if whole else _by_header(path)) or _by_decoding(path, sound=whole)
    if not frames:
        raise AudioError(path, "has no samples")
    return (2 * frames * sample_rate + rate) // (2 * rate)


def _by_decoding(path: Path, *, sound: bool) -> tuple[int, int]:
    samples, rate = decode(path, read_bytes(path))
    if sound:
        check_sound(path, samples, mix(samples))
    return len(samples), rate


def _by_header(path: Path) -> tuple[int, int] | None:
    """Samples per channel and their rate in Hz; None where the header does not settle it, or anything is wrong."""
    try:
        info = soundfile.info(os.fsencode(path))
        if not _is_whole(path, info):
            return None
    except (OSError, TruncatedError, soundfile.LibsndfileError):
        return None  # who decodes the file says what is wrong with it
    return int(info.frames), int(info.samplerate)


def _is_whole(path: Path, info: Any) -> bool:
    if info.format == "FLAC":
        return ends_whole(path, info.frames)
    checks = {"WAV": check_wav, "WAVEX": check_wav, "RF64": check_wav, "OGG": check_ogg}
    if info.format not in checks or (checks[info.format] is check_wav and info.subtype not in _PLAIN):
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        checks[info.format](data)
    return True
