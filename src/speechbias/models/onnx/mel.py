"""MelHuBERT's input as part of the graph: Kaldi's log-mel of a wave, normalised per bin and stacked, in float64.

Everything up to the power spectrum is linear in a frame of 400 samples, so pre-emphasis, window and Fourier transform
are one matrix each for the real and the imaginary part: ``features.cepstra.kaldi_log_mel`` up to rounding.
"""

import numpy as np
from numpy.typing import NDArray

from speechbias.features.cepstra import INT16_SCALE, kaldi_filters
from speechbias.features.spectra import EPSILON, KALDI_FFT, KALDI_HOP, KALDI_LENGTH, PREEMPHASIS, hamming
from speechbias.models.config import MelFrontend
from speechbias.models.mel import MelStats
from speechbias.models.onnx.graph import Graph


def add_log_mel(graph: Graph, wave: str, front: MelFrontend, stats: MelStats) -> str:
    """Normalised, stacked log-mel frames (1, frames, bins * stack) of ``wave`` (1, samples)."""
    frames = _frames(graph, wave)
    centred = graph.add("Sub", frames, graph.add("ReduceMean", frames, axes=[-1]))
    parts = [
        graph.add("MatMul", centred, graph.weight(f"mel.{name}", part))
        for name, part in zip(("real", "imaginary"), _spectrum(), strict=True)
    ]
    power = graph.add("Add", *(graph.add("Mul", part, part) for part in parts))
    energy = graph.add("MatMul", power, graph.weight("mel.filters", kaldi_filters(front.bins, KALDI_FFT)))
    log_mel = graph.add("Log", graph.add("Max", energy, graph.constant(EPSILON, np.float64)))  # (frames, bins)
    mean, std = stats
    centred = graph.add("Sub", log_mel, graph.weight("mel.mean", np.asarray(mean, np.float64)))
    normalised = graph.add("Div", centred, graph.weight("mel.std", np.asarray(std, np.float64)))
    return graph.add("Cast", _stacked(graph, normalised, front), to=graph.onnx.TensorProto.FLOAT)


def _frames(graph: Graph, wave: str) -> str:
    """Whole windows of the wave at 16 bits' scale, (frames, 400)."""
    long = graph.add("Squeeze", graph.add("Cast", wave, to=graph.onnx.TensorProto.DOUBLE), graph.integers(0))
    samples = graph.add("Squeeze", graph.add("Shape", long), graph.integers(0))
    whole = graph.add("Div", graph.add("Sub", samples, _number(graph, KALDI_LENGTH)), _number(graph, KALDI_HOP))
    count = graph.add("Add", whole, _number(graph, 1))
    numbers = graph.add("Range", _number(graph, 0), count, _number(graph, 1))
    starts = graph.add("Mul", graph.add("Unsqueeze", numbers, graph.integers(1)), _number(graph, KALDI_HOP))
    places = graph.add("Add", starts, graph.constant(np.arange(KALDI_LENGTH), np.int64))  # (frames, 400)
    return graph.add("Mul", graph.add("Gather", long, places, axis=0), graph.constant(INT16_SCALE, np.float64))


def _number(graph: Graph, value: int) -> str:
    return graph.constant(value, np.int64)


def _spectrum() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Real and imaginary part of the spectrum of a frame without its mean, as matrices (400, 257)."""
    frames = np.eye(KALDI_LENGTH)
    before = np.hstack([frames[:, :1], frames[:, :-1]])  # the sample before the first is the first
    spectra = np.fft.rfft((frames - PREEMPHASIS * before) * hamming(KALDI_LENGTH), KALDI_FFT)
    return spectra.real, spectra.imag


def _stacked(graph: Graph, frames: str, front: MelFrontend) -> str:
    """``stack`` neighbours in one frame, zeros where one lacks: (1, frames, bins * stack)."""
    shape = graph.integers(1, -1, front.dim)
    if front.stack == 1:
        return graph.add("Reshape", frames, shape)
    count = graph.add("Gather", graph.add("Shape", frames), graph.integers(0), axis=0)
    missing = graph.add("Mod", graph.add("Sub", graph.integers(0), count), graph.integers(front.stack))
    pads = graph.add("Concat", graph.integers(0, 0), missing, graph.integers(0), axis=0)
    return graph.add("Reshape", graph.add("Pad", frames, pads), shape)
