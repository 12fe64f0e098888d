"""The arithmetic of the synthesiser: glottal pulses, resonators, noise, in operations that every machine does alike.

Conventions: float64, signals at ``SAMPLE_RATE``, frequencies and bandwidths in Hz, times in seconds. Source and
cascade of resonators as in Klatt, J. Acoust. Soc. Am. 67 (1980); the glottal flow is Rosenberg's polynomial (1971).

The clips' SHA-256 is pinned, so only operations with one correct result are used (+, -, *, /, sqrt, comparisons,
sums in a fixed order): no exp, sin or cos of a mathematical library, no sum whose order depends on the processor.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speechbias.compiled import compiled

SAMPLE_RATE = 16_000
PI = 3.141592653589793

Signal = NDArray[np.float64]


def follow(points: Sequence[tuple[float, float]], seconds: Signal) -> Signal:
    """Straight lines through (time, value) points in rising order of time, at the times ``seconds``; ends are held."""
    times = np.array([time for time, _ in points])
    values = np.array([value for _, value in points])
    right = np.clip(np.searchsorted(times, seconds, side="right"), 1, len(times) - 1)
    share = np.clip((seconds - times[right - 1]) / (times[right] - times[right - 1]), 0.0, 1.0)
    result: Signal = values[right - 1] + share * (values[right] - values[right - 1])
    return result


def cosine(angle: Signal) -> Signal:
    """Cosine for angles in [0, pi], by its power series in a fixed order (error below 1e-13)."""
    square = angle * angle
    value: Signal = np.ones_like(angle)
    for k in range(26, 0, -2):
        value = 1.0 - square / (k * (k - 1)) * value
    return value


def rms(signal: Signal) -> float:
    """Root mean square, summed from the first sample to the last."""
    return float(np.sqrt(np.cumsum(signal * signal)[-1] / len(signal)))


def noise(rng: np.random.Generator, samples: int) -> Signal:
    """White noise of standard deviation 1, uniform: a normal generator would call a logarithm."""
    white: Signal = (rng.random(samples) * 2.0 - 1.0) * np.sqrt(3.0)
    return white


def glottal_flow(f0: Signal, *, jitter: float, rng: np.random.Generator) -> Signal:
    """Rosenberg pulses in [0, 1], shape (samples,), of frequency ``f0`` (Hz per sample), periods varied by ``jitter``.

    Each sample is the mean of four points within it, which keeps most of what lies above half the rate from
    folding back.
    """
    borders = [-SAMPLE_RATE / f0[0] * rng.random()]
    while borders[-1] < len(f0):
        period = SAMPLE_RATE / f0[max(0, int(borders[-1]))]
        borders.append(borders[-1] + period * (1.0 + jitter * (2.0 * rng.random() - 1.0)))
    starts = np.array(borders)
    flow = np.zeros(len(f0))
    for part in range(4):
        time = np.arange(len(f0)) + (part + 0.5) / 4.0
        right = np.clip(np.searchsorted(starts, time, side="right"), 1, len(starts) - 1)
        flow = flow + 0.25 * _pulse((time - starts[right - 1]) / (starts[right] - starts[right - 1]))
    return flow


def _pulse(phase: Signal) -> Signal:
    """Rosenberg's polynomial: 40 % of the period opening, 20 % closing, then closed."""
    opening = phase / 0.4
    closing = (phase - 0.4) / 0.2
    rise = opening * opening * (3.0 - 2.0 * opening)
    fall = 1.0 - closing * closing
    return np.where(phase < 0.4, rise, np.where(phase < 0.6, fall, 0.0))


def resonate(source: Signal, frequencies: Signal, bandwidths: Signal) -> Signal:
    """``source`` (samples,) through a cascade of moving resonators of unit gain at 0 Hz.

    ``frequencies`` (samples, resonators) and ``bandwidths`` (resonators,) in Hz. A pole's radius is the bilinear
    (1 - h)/(1 + h), h = pi bandwidth / (2 rate), close to exp(-2h) without an exp.
    """
    half = PI * bandwidths / (2.0 * SAMPLE_RATE)
    radius = (1.0 - half) / (1.0 + half)
    first = 2.0 * radius * cosine(2.0 * PI * frequencies / SAMPLE_RATE)
    second = np.broadcast_to(-radius * radius, first.shape)
    filtered: Signal = _recurse(source, np.ascontiguousarray(first), np.ascontiguousarray(second))
    return filtered


def darken(signal: Signal, pole: float) -> Signal:
    """One-pole low-pass of unit gain at 0 Hz: the larger ``pole`` in [0, 1), the steeper the spectrum falls."""
    first = np.full((len(signal), 1), pole)
    filtered: Signal = _recurse(signal, first, np.zeros_like(first))
    return filtered


def _cascade(signal: Signal, first: Signal, second: Signal) -> Signal:
    """One recursion after another, each y[n] = (1 - a - b) x[n] + a y[n-1] + b y[n-2]; a, b (samples, recursions)."""
    result = signal.copy()
    for k in range(first.shape[1]):
        before, earlier = 0.0, 0.0
        for n in range(len(result)):
            a, b = first[n, k], second[n, k]
            now = (1.0 - a - b) * result[n] + a * before + b * earlier
            result[n] = now
            before, earlier = now, before
    return result


_recurse = compiled(_cascade)  # without fastmath: multiplication and addition stay apart


def coloured_noise(rng: np.random.Generator, samples: int, *, centre: float, bandwidth: float) -> Signal:
    """Noise around ``centre`` (Hz), root mean square 1, without what a resonator leaves at low frequencies."""
    coloured = resonate(difference(noise(rng, samples)), np.full((samples, 1), centre), np.array([bandwidth]))
    return coloured / rms(coloured)


def difference(signal: Signal) -> Signal:
    """First difference: what radiation at the lips does to a flow."""
    return np.concatenate([signal[:1], signal[1:] - signal[:-1]])


def reflect(signal: Signal, reflections: Sequence[tuple[int, float]]) -> Signal:
    """Early reflections, one after another: each adds ``gain`` times the signal of ``delay`` samples (>= 1) ago."""
    for delay, gain in reflections:
        signal = signal + gain * np.concatenate([np.zeros(delay), signal[:-delay]])
    return signal
