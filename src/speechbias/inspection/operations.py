"""How much a model computes: multiply-accumulates (MACs) per second of audio, counted by torch while the model runs.

Counted are convolutions, linear maps and the two products of attention; additions, norms, GELU and what makes log-mel
frames are not. Attention grows with the length of a clip, so the count is that of one clip of 10 s, divided by 10.
Our own networks run on the meta device: shapes only, no weights, no time.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from speechbias.encoder import Wave
from speechbias.inspection.description import Macs
from speechbias.models.config import SAMPLE_RATE, EncoderConfig, MelFrontend
from speechbias.models.huggingface.adapter import HuggingFaceEncoder
from speechbias.models.network import Network

SECONDS = 10
NUM_SAMPLES = SECONDS * SAMPLE_RATE
MEL_WINDOW, MEL_HOP = 400, 160  # samples
PARTS = ("front_end", "projection_positions", "attention", "feed_forward")


def noise(sample_rate: int) -> Wave:
    """The clip that is counted and timed: 10 s of quiet noise, the same every time."""
    samples = np.random.default_rng(0).standard_normal(SECONDS * sample_rate)
    return (0.1 * samples).astype(np.float32)


def network_macs(config: EncoderConfig) -> Macs:
    """MACs of one of our networks, total and by part."""
    with torch.inference_mode(mode=False), torch.device("meta"):  # in which weight norms have no weights on "meta"
        network = Network(config).eval()
        counts = _count(lambda: network(_inputs(config)))
    parts = dict.fromkeys(PARTS, 0)
    for module, macs in counts.items():
        if part := _part(module):
            parts[part] += macs
    return Macs(_per_second(counts["Global"]), {part: _per_second(macs) for part, macs in parts.items()})


def adapter_macs(encoder: HuggingFaceEncoder) -> Macs:
    """MACs of a model that runs transformers' own code. What it pads is counted: Whisper fills windows of 30 s."""
    inputs = list(encoder.frontend.inputs(noise(encoder.sample_rate)))

    def run() -> None:
        for piece in inputs:
            encoder.model(**piece.arguments)

    return Macs(_per_second(_count(run)["Global"]))


def _count(run: Callable[[], object]) -> dict[str, int]:
    """MACs by the name of a module, those of everything under "Global"."""
    # torch has no formula for the CPU's fused attention; spelled out, attention is two products that are counted.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return {name: sum(flops.values()) // 2 for name, flops in counter.get_flop_counts().items()}


def _inputs(config: EncoderConfig) -> torch.Tensor:
    """A clip as the network takes it, (1, samples) or (1, frames, front end's dim)."""
    front = config.frontend
    if not isinstance(front, MelFrontend):
        return torch.empty(1, NUM_SAMPLES)
    mel_frames = (NUM_SAMPLES - MEL_WINDOW) // MEL_HOP + 1
    return torch.empty(1, -(-mel_frames // front.stack), front.dim)


def _part(module: str) -> str | None:
    """The part that a module's count belongs to; None for modules that hold others or are held by those named here."""
    match module.split(".")[1:]:
        case ["frontend"]:
            return "front_end"
        case ["projection"] | ["transformer", "positions"]:
            return "projection_positions"
        case ["transformer", "layers", _, "attention"]:
            return "attention"
        case ["transformer", "layers", _, "fc1" | "fc2"]:
            return "feed_forward"
    return None


def _per_second(macs: int) -> int:
    return round(macs / SECONDS)
