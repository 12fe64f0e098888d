"""What makes one encoder of the paper's three families: a frozen description, from which the network is built.

Widths stand per layer: a head-pruned or row-pruned model is an ordinary model with another config, and reading one
needs no pruning code. Sizes go by name (``small``, ``slim``, ``base`` of Table 2; ``large``). No torch here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from speechbias.paper import TABLE_2

Family = Literal["wav2vec2", "hubert", "melhubert"]
FAMILIES: tuple[Family, ...] = get_args(Family)
SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class WaveFrontend:
    """The convolutions from waveform to frames of 20 ms (fairseq: ``ConvFeatureExtractionModel``).

    ``norm`` is "group" (one group norm per channel over time, after the first convolution only) or "layer" (a layer
    norm after each). ``wave_norm_eps``: the checkpoint was trained on waves of zero mean and unit variance, computed
    with this epsilon (fairseq 1e-5, transformers 1e-7); None: on waves as they are.
    """

    channels: tuple[int, ...] = (512,) * 7
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    norm: Literal["group", "layer"] = "group"
    bias: bool = False
    feature_norm: bool = True  # a layer norm before the projection; DistilHuBERT has none
    wave_norm_eps: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        _check_counts({"channels": self.channels, "kernels": self.kernels, "strides": self.strides})
        if not len(self.channels) == len(self.kernels) == len(self.strides):
            raise ValueError("channels, kernels and strides have different lengths")
        if self.norm not in {"group", "layer"}:
            raise ValueError(f"norm {self.norm!r} is none of group, layer")
        if self.wave_norm_eps is not None and self.wave_norm_eps < 0:
            raise ValueError(f"wave_norm_eps {self.wave_norm_eps} is negative")

    @property
    def dim(self) -> int:
        """Size of what goes into the projection."""
        return self.channels[-1]

    @property
    def hop(self) -> int:
        """Samples from one frame to the next (320)."""
        hop = 1
        for stride in self.strides:
            hop *= stride
        return hop

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees (400)."""
        field, hop = 1, 1
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            field += (kernel - 1) * hop
            hop *= stride
        return field

    def num_frames(self, samples: int) -> int:
        """Frames of a wave: the layers' floor((samples - kernel) / stride) + 1 in one; 0 where it is too short."""
        return max((samples - self.receptive_field) // self.hop + 1, 0)


@dataclass(frozen=True)
class MelFrontend:
    """Kaldi log-mel frames of 10 ms, ``stack`` of them in one: 2 for the 20 ms model, 1 for the 10 ms model."""

    bins: int = 40
    stack: int = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        _check_counts({"bins": self.bins, "stack": self.stack})

    @property
    def dim(self) -> int:
        """Size of what goes into the projection."""
        return self.bins * self.stack

    @property
    def hop(self) -> int:
        """Samples from one frame to the next (320 or 160)."""
        return 160 * self.stack

    @property
    def receptive_field(self) -> int:
        """Samples of the shortest wave: one mel frame; the missing half of a pair is the mean."""
        return 400

    def num_frames(self, samples: int) -> int:
        """Stacked frames of a wave: ceil(frames of 10 ms / stack); 0 for a wave that is too short."""
        return -(-max((samples - 400) // 160 + 1, 0) // self.stack)


@dataclass(frozen=True)
class EncoderConfig:
    """One encoder. ``heads`` and ``ffn`` hold one number per layer, and are what pruning changes."""

    family: Family
    frontend: WaveFrontend | MelFrontend
    dim: int
    head_dim: int
    heads: tuple[int, ...]
    ffn: tuple[int, ...]
    pre_norm: bool = False  # fairseq: layer_norm_first
    projection: bool = True  # fairseq has none where the front end's dim is the model's
    position_kernel: int = 128
    position_groups: int = 16
    student: bool = False  # made by distillation: state 0 is the input projection (S3PRL's distiller)

    def __post_init__(self) -> None:
        """Refuse what cannot be built. ValueError; who reads a file says of which."""
        _check_counts({"heads": self.heads, "ffn": self.ffn})
        _check_counts({"dim": self.dim, "head_dim": self.head_dim})
        _check_counts({"position_kernel": self.position_kernel, "position_groups": self.position_groups})
        if self.family not in FAMILIES or (self.family == "melhubert") != isinstance(self.frontend, MelFrontend):
            raise ValueError(f"a {self.family} with a {type(self.frontend).__name__}")
        if len(self.heads) != len(self.ffn):
            raise ValueError(f"heads are given for {len(self.heads)} layers, ffn for {len(self.ffn)}")
        if self.dim % self.position_groups:
            raise ValueError(f"dim {self.dim} does not divide into {self.position_groups} position groups")
        if not self.projection and self.frontend.dim != self.dim:
            raise ValueError(f"a front end of dim {self.frontend.dim} needs a projection to {self.dim}")

    @property
    def num_layers(self) -> int:
        """Transformer layers."""
        return len(self.heads)


def _check_counts(numbers: Mapping[str, int | tuple[int, ...]]) -> None:
    """ValueError where a number, or one of several, is below 1, or where there are none."""
    for name, value in numbers.items():
        values = value if isinstance(value, tuple) else (value,)
        if not values or min(values) < 1:
            raise ValueError(f"{name} is {value}, not 1 or more")


# fairseq's libri960_big (the paper's wav2vec 2.0 large) and the LibriVox recipes.
LARGE = (24, 1024, 4096, 16)
SHAPES: Mapping[str, tuple[int, int, int, int]] = {
    **{row.size: (row.layers, row.dim, row.ffn, row.heads) for row in TABLE_2},
    "large": LARGE,
}
SIZES = tuple(SHAPES)


def sized(family: Family, size: str) -> EncoderConfig:
    """The encoder of a family in a size by name.

    ``wav2vec2-large`` is the paper's (``libri960_big``: group norm, post-norm); ``hubert-large`` is HuBERT Large as
    published (layer-norm front end, pre-norm, normalised waves); a ``melhubert-large`` was never published.
    """
    layers, dim, ffn, heads = SHAPES[size]
    config = EncoderConfig(
        family=family,
        frontend=MelFrontend() if family == "melhubert" else WaveFrontend(),
        dim=dim,
        head_dim=dim // heads,
        heads=(heads,) * layers,
        ffn=(ffn,) * layers,
    )
    if (family, size) == ("hubert", "large"):  # fairseq: hubert_large_librivox
        return replace(config, frontend=WaveFrontend(norm="layer", wave_norm_eps=1e-5), pre_norm=True)
    return config
