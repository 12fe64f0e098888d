"""What work costs before it is done: audio, multiply-accumulates, disk; time from how fast this machine multiplies.

Time is a rough guess. A matrix product is measured, and half of its speed is taken for what networks reach; a
training step counts three forward passes, a teacher one more. What is not arithmetic (decoding, k-means, statistics)
is left out.
"""

import time
from dataclasses import dataclass
from functools import cache

from speechbias.models.config import Family, sized

REACHED = 0.5  # of a matrix product's speed
FORWARD, TRAINING, TEACHER = 1, 3, 1  # passes
SIDE = 2048  # of the matrices
CLIP_SECONDS = {"age": 25.0, "native": 27.0, "gender": 22.0}  # the archive's paragraph, as SpEAT's lists tell
ATTRIBUTE_SECONDS = 2.7
UTTERANCE_SECONDS = 12.3  # LibriSpeech's training sets, in the mean


@dataclass(frozen=True)
class Cost:
    """``audio`` in hours, ``macs`` in all, ``disk`` in bytes that stay, ``meanwhile`` in bytes until it is done."""

    audio: float = 0.0
    macs: float = 0.0
    disk: float = 0.0
    meanwhile: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        """Both, one after the other."""
        meanwhile = max(self.meanwhile, other.meanwhile)
        return Cost(self.audio + other.audio, self.macs + other.macs, self.disk + other.disk, meanwhile)


@cache
def macs_per_second(family: Family, size: str) -> int:
    """Multiply-accumulates of one forward pass per second of audio."""
    from speechbias.inspection.operations import network_macs  # noqa: PLC0415 (torch: seconds)

    return network_macs(sized(family, size)).total


@cache
def parameters(family: Family, size: str) -> int:
    """Those of the encoder."""
    import torch  # noqa: PLC0415

    from speechbias.models.network import Network  # noqa: PLC0415

    with torch.device("meta"):
        return sum(each.numel() for each in Network(sized(family, size)).parameters())


def speed(device: str) -> float:
    """Multiply-accumulates per second that a network may reach here: of a product of matrices, the best of three."""
    import torch  # noqa: PLC0415

    from speechbias.models.device import choose_device  # noqa: PLC0415

    chosen = choose_device(device)
    kind = torch.float32 if torch.device(chosen).type == "cpu" else torch.bfloat16
    matrix = torch.ones(SIDE, SIDE, device=chosen, dtype=kind)
    best = min(_seconds_of_a_product(matrix) for _ in range(4))  # the first warms up
    return REACHED * SIDE**3 / best


def _seconds_of_a_product(matrix: object) -> float:
    import torch  # noqa: PLC0415

    assert isinstance(matrix, torch.Tensor)
    began = time.perf_counter()
    (matrix @ matrix)[0, 0].item()  # waits for a GPU
    return time.perf_counter() - began
