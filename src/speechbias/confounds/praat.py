"""F0 and syllable nuclei of one clip, measured by Praat (Boersma and Weenink) through praat-parselmouth.

F0 is found twice, the second time between limits that the first gives (Hirst 2011: 3/4 of the first quartile to 2.5
times the third), so that one pair of limits need not serve children and low voices. Nuclei as de Jong and Wempe
(2009) count them: peaks of the intensity within 25 dB of the loudest, followed by a dip of 2 dB or more, voiced.
"""

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NAMES = ("rate", "f0_mean", "f0_range")
EXTRA = "F0 and speech rate are left out: they need the extra `audit` (pip install 'speechbias[audit]')."
STEP = 0.010  # s between two values of F0
WIDEST = (60.0, 700.0)  # Hz; of the first pass
ENOUGH = 10  # voiced frames: 0.1 s
REFERENCE = 100.0  # Hz; of semitones
LOWEST_PITCH = 50.0  # Hz; fixes the window of the intensity
LOUD, DIP = 25.0, 2.0  # dB
UNKNOWN = dict.fromkeys(NAMES, float("nan"))


def is_installed() -> bool:
    """Whether the extra `audit` is there."""
    return find_spec("parselmouth") is not None


def measure_voice(wave: Array, rate: int) -> dict[str, float]:
    """``rate`` in syllables per second of the clip, ``f0_mean`` (semitones re 100 Hz), ``f0_range`` (semitones).

    The range is from the 10th to the 90th percentile of the voiced frames. All NaN where fewer than 10 frames are
    voiced, or the clip is too short for Praat.
    """
    import parselmouth  # noqa: PLC0415 (an extra)

    sound = parselmouth.Sound(np.asarray(wave, np.float64), float(rate))
    try:
        first = _voiced(sound.to_pitch(STEP, *WIDEST))
        if len(first) < ENOUGH:
            return dict(UNKNOWN)
        low, high = np.percentile(first, [25, 75])
        pitch = sound.to_pitch(STEP, max(0.75 * low, WIDEST[0]), min(2.5 * high, WIDEST[1]))
        f0 = _voiced(pitch)
        intensity = sound.to_intensity(LOWEST_PITCH)
    except parselmouth.PraatError:  # too short for its windows
        return dict(UNKNOWN)
    if len(f0) < ENOUGH:
        return dict(UNKNOWN)
    semitones = 12 * np.log2(f0 / REFERENCE)
    least, most = np.percentile(semitones, [10, 90])
    peaks = intensity.xs()[find_nuclei(intensity.values[0])]
    nuclei = sum(not np.isnan(pitch.get_value_at_time(time)) for time in peaks)
    return {
        "rate": nuclei / sound.duration,
        "f0_mean": float(semitones.mean()),
        "f0_range": float(most - least),
    }


def _voiced(pitch: Any) -> Array:
    """F0 in Hz of the voiced frames."""
    values: Array = pitch.selected_array["frequency"]
    return values[values > 0]


def find_nuclei(intensity: Array) -> list[int]:
    """Frames of the peaks that count as nuclei if they are voiced; ``intensity`` (frames,) in dB.

    A peak must stand within 25 dB of the loudest frames (99th percentile), and at least 2 dB above the lowest point
    between itself and the next such peak, the last one above what follows it.
    """
    least = np.percentile(intensity, 99) - LOUD
    inner = intensity[1:-1]
    peaks = 1 + np.flatnonzero((inner > intensity[:-2]) & (inner >= intensity[2:]) & (inner > least))
    ends = [*peaks, len(intensity)][1:]
    return [
        int(peak) for peak, end in zip(peaks, ends, strict=True) if intensity[peak] - intensity[peak:end].min() > DIP
    ]
