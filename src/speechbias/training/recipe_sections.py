"""The sections of a recipe: a frozen dataclass each, which refuses what makes no sense, a line that names the key.

A field is a key; one that names files is marked ``A_PATH``, and is read relative to the file that says it. To add a
section: a dataclass here (or beside what it is about, as ``track.TrackSection`` and ``masking.Masking``), and a field
of ``recipe.Recipe``. Fields without a default need one by family (``defaults``).
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from speechbias.models.config import SAMPLE_RATE, SIZES, EncoderConfig, Family, MelFrontend, sized
from speechbias.training.scan import Depth
from speechbias.training.sections import A_PATH

BATCH_FRAMES = 10_000  # of k-means (fairseq)
LEAST_SAMPLES = 400  # of a frame
SYNTHETIC = "synthetic"  # in place of a path: voices made here
MOST = {"layers": 1_000, "dim": 100_000, "ffn": 1_000_000, "heads": 10_000, "channels": 100_000}  # of any network
OF_CORPUS = "corpus"  # in place of a path: statistics of what is trained on


@dataclass(frozen=True)
class ModelSection:
    """Which network: a size by name, of which single numbers may be changed, or the weights of a checkpoint.

    Shapes beside a checkpoint must be its own. ``mel_stats`` of MelHuBERT: an ``.npy`` (2, 40), or "corpus"; without
    them those of the checkpoint, and of the corpus where there is none.
    """

    family: Family
    size: str | None = None
    checkpoint: str | None = field(default=None, metadata=A_PATH)
    pretrain: str | None = field(default=None, metadata=A_PATH)  # a recipe that makes the checkpoint, for `prune`
    layers: int | None = None
    dim: int | None = None
    ffn: int | None = None
    heads: int | None = None
    channels: int | None = None  # of every convolution of the front end
    frame_ms: Literal[10, 20] | None = None  # of MelHuBERT
    mel_stats: str | None = field(default=None, metadata=A_PATH)

    def __post_init__(self) -> None:
        """Refuse numbers that count nothing, and statistics of mel bins that nobody has."""
        if self.mel_stats is not None and self.family != "melhubert":
            raise ValueError(f"mel_stats are melhubert's; {self.family} takes waves")
        if self.size is not None and self.size not in SIZES:
            raise ValueError(f"size {self.size!r} is none of {', '.join(SIZES)}")
        for name, most in MOST.items():
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise ValueError(f"{name} is {value}; give 1 or more, at most {most}")

    def config(self) -> EncoderConfig:
        """The shapes. ValueError for those that no network has."""
        config = sized(self.family, self.size or "base")
        layers, dim = self.layers or config.num_layers, self.dim or config.dim
        heads, ffn = self.heads or config.heads[0], self.ffn or config.ffn[0]
        if dim % heads:
            raise ValueError(f"dim {dim} does not divide into {heads} heads")
        front = config.frontend
        if isinstance(front, MelFrontend):
            front = replace(front, stack=(self.frame_ms or 20) // 10)
            if self.channels is not None:
                raise ValueError("channels are those of convolutions, which melhubert has none of")
        elif self.frame_ms not in {None, 20}:
            raise ValueError(f"frames of 10 ms are melhubert's; {self.family} has 20")
        elif self.channels is not None:
            front = replace(front, channels=(self.channels,) * len(front.channels))
        return replace(
            config, frontend=front, dim=dim, head_dim=dim // heads, heads=(heads,) * layers, ffn=(ffn,) * layers
        )


@dataclass(frozen=True)
class DataSection:
    """What is trained on. A batch is so many ``seconds`` of audio, padding included, or so many ``utterances``."""

    # LibriSpeech, any folder, CSV, TSV, JSONL, fairseq's .tsv, shards; or "synthetic"
    train: tuple[str, ...] = field(metadata=A_PATH)
    seconds: float | None = None
    utterances: int | None = None
    crop: float = 15.625  # seconds: longer utterances are cropped, anew in each epoch
    min_seconds: float = 2.0  # shorter ones are left out
    max_seconds: float | None = None  # longer ones are left out
    scan: Depth = "whole"  # decode every file once, and leave out what cannot be; or believe headers
    workers: int = 0  # processes that read audio ahead; 0: the training process itself
    window: int | None = None  # of a corpus in shards: how many are mixed at a time (None: 8)

    def __post_init__(self) -> None:
        """Refuse what cannot be batched."""
        if (self.seconds is None) == (self.utterances is None):
            raise ValueError("a batch is either so many seconds or so many utterances; give one of the two")
        if not self.train or not all(self.train):
            raise ValueError("train names no audio")
        for name in ("seconds", "utterances", "crop"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; give a number above 0")
        if self.crop * SAMPLE_RATE < LEAST_SAMPLES:
            raise ValueError(f"crop is {self.crop}; a frame takes {LEAST_SAMPLES / SAMPLE_RATE:g} s")
        if self.min_seconds < 0:
            raise ValueError(f"min_seconds is {self.min_seconds}; give 0 or more")
        if self.max_seconds is not None and self.max_seconds < max(self.min_seconds, LEAST_SAMPLES / SAMPLE_RATE):
            raise ValueError(
                f"max_seconds is {self.max_seconds}; nothing is that short and {self.min_seconds:g} s long"
            )
        if not 0 <= self.workers <= 1_000:
            raise ValueError(f"workers is {self.workers}; it counts processes, 0 to 1000")
        if self.window is not None and self.window < 1:
            raise ValueError(f"window is {self.window}; it is a number of shards, 1 or more")


@dataclass(frozen=True)
class UnitsSection:
    """Labels that HuBERT and MelHuBERT learn: read from ``labels``, or made by k-means over frames.

    ``features``: logmel, mfcc, or the hidden ``state`` of a ``checkpoint`` (a second iteration). wav2vec 2.0 has none.
    """

    labels: str | None = field(default=None, metadata=A_PATH)  # a folder of `speechbias units`, or fairseq's .km
    rate: int | None = None  # Hz, of a .km
    features: Literal["logmel", "mfcc", "state"] = "logmel"
    checkpoint: str | None = field(default=None, metadata=A_PATH)
    state: int | None = None
    # centres that are there: a folder of units, or a k-means file of scikit-learn
    quantiser: str | None = field(default=None, metadata=A_PATH)
    clusters: int = 512  # to make, where there is no quantiser
    share: float = 0.1  # of the utterances, that k-means sees
    passes: int = 10  # over them

    def __post_init__(self) -> None:
        """Refuse what makes no labels."""
        if self.features == "state" and (self.checkpoint is None or self.state is None):
            raise ValueError('features = "state" needs a checkpoint and the number of its state')
        if self.clusters < 2:
            raise ValueError(f"clusters is {self.clusters}; labels of one class teach nothing")
        if self.clusters > BATCH_FRAMES:
            raise ValueError(f"clusters is {self.clusters}; k-means sees batches of {BATCH_FRAMES} frames")
        if self.rate is not None and (self.rate < 1 or SAMPLE_RATE % self.rate):
            raise ValueError(f"rate is {self.rate}; labels per second lie whole samples apart: 50 or 100")
        if self.state is not None and self.state < 0:
            raise ValueError(f"state is {self.state}; states are counted from 0, the input")
        if self.passes < 1:
            raise ValueError(f"passes is {self.passes}; give 1 or more")
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}; it is a part of the utterances, above 0 and at most 1")


@dataclass(frozen=True)
class OptimSection:
    """Adam with decoupled weight decay; ``clip`` bounds the norm of all gradients together, 0 leaves them alone."""

    lr: float  # at its peak
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    warmup: int  # updates of linear growth
    schedule: Literal["linear", "constant"]  # after that; linear: down to 0 at the last update
    clip: float
    accumulate: int = 1  # batches per update, of each of the processes that a run begins with

    def __post_init__(self) -> None:
        """Refuse what cannot be stepped."""
        for name in ("lr", "eps"):
            if not 0 < getattr(self, name) <= 1_000:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number above 0 and at most 1000")
        for name in ("weight_decay", "warmup", "clip"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give 0 or more")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}; each is from 0 to below 1")
        if self.accumulate < 1:
            raise ValueError(f"accumulate is {self.accumulate}; give 1 or more")


@dataclass(frozen=True)
class RunSection:
    """How long, how precise, what is kept.

    Every ``save`` updates a checkpoint is written from which a killed run goes on; the next one replaces it, but for
    updates in ``keep`` and multiples of ``keep_every``, which stay (for curves of bias against steps).
    """

    steps: int
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    save: int = 1000
    keep: tuple[int, ...] = (0, 1000, 2000, 5000)
    keep_every: int = 10_000  # 0: none beside ``keep`` and the last
    log: int = 100  # updates that one line of the log sums up
    max_skipped: int = 10  # updates without a finite loss, one after the other, that end the run
    tensorboard: bool = False
    wandb: str | None = None  # the project

    def __post_init__(self) -> None:
        """Refuse what cannot run."""
        for name in ("steps", "save", "log", "max_skipped"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give 1 or more")
        for name in ("keep_every", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give 0 or more")
        if min(self.keep, default=0) < 0:
            raise ValueError(f"keep holds {min(self.keep)}; updates are counted from 0")
        if self.wandb is not None and not self.wandb.strip():
            raise ValueError("wandb is blank; name a project, or leave it out")
