"""What a training run is: a TOML file, read strictly, every key of which has a default by family.

A recipe says what differs from the paper and from the code it was trained with (``defaults``, ``paper.PRETRAINING``);
``base = "other.toml"`` takes another file's keys first. The resolved recipe, every key written out, lies in the run
folder, and alone makes the run again. Paths are relative to the file that names them.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from speechbias.errors import InputError
from speechbias.models.config import FAMILIES, SAMPLE_RATE, SIZES, EncoderConfig, Family, MelFrontend, sized
from speechbias.models.hubert import HubertTerms
from speechbias.models.objectives import Terms
from speechbias.models.regularisation import Regularisation
from speechbias.models.wav2vec2 import Wav2Vec2Terms
from speechbias.training.defaults import family_defaults
from speechbias.training.masking import Masking
from speechbias.training.scan import Depth
from speechbias.training.sections import Values, merged, nearest, read_section, read_toml, to_toml
from speechbias.training.track import TrackSection

TERMS: Mapping[Family, type[Terms]] = {"wav2vec2": Wav2Vec2Terms, "hubert": HubertTerms}
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
    checkpoint: str | None = None
    layers: int | None = None
    dim: int | None = None
    ffn: int | None = None
    heads: int | None = None
    channels: int | None = None  # of every convolution of the front end
    frame_ms: Literal[10, 20] | None = None  # of MelHuBERT
    mel_stats: str | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that count nothing, and statistics of mel bins that nobody has."""
        if self.mel_stats is not None and self.family != "melhubert":
            raise ValueError(f"mel_stats are melhubert's; {self.family} takes waves")
        if self.size is not None and self.size not in SIZES:
            raise ValueError(f"size {self.size!r} is none of {', '.join(SIZES)}")
        for name, most in MOST.items():
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise ValueError(f"{name} is {value}; it must be 1 or more, at most {most}")

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

    train: tuple[str, ...]  # LibriSpeech, any folder, CSV, TSV, JSONL, fairseq's .tsv, shards; or "synthetic"
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
                raise ValueError(f"{name} is {value}; it must be above 0")
        if self.crop * SAMPLE_RATE < LEAST_SAMPLES:
            raise ValueError(f"crop is {self.crop}; a frame takes {LEAST_SAMPLES / SAMPLE_RATE:g} s")
        if self.min_seconds < 0:
            raise ValueError(f"min_seconds is {self.min_seconds}; it must not be below 0")
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

    labels: str | None = None  # a folder of `speechbias units`, or fairseq's .km
    rate: int | None = None  # Hz, of a .km
    features: Literal["logmel", "mfcc", "state"] = "logmel"
    checkpoint: str | None = None
    state: int | None = None
    quantiser: str | None = None  # centres that are there: a folder of units, or a k-means file of scikit-learn
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
            raise ValueError(f"passes is {self.passes}; it must be 1 or more")
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
                raise ValueError(f"{name} is {getattr(self, name)}; lr and eps must be above 0, at most 1000")
        for name in ("weight_decay", "warmup", "clip"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be below 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}; each is from 0 to below 1")
        if self.accumulate < 1:
            raise ValueError(f"accumulate is {self.accumulate}; it must be 1 or more")


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
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        for name in ("keep_every", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be below 0")
        if min(self.keep, default=0) < 0:
            raise ValueError(f"keep holds {min(self.keep)}; updates are counted from 0")
        if self.wandb is not None and not self.wandb.strip():
            raise ValueError("wandb is blank; name a project, or leave it out")


@dataclass(frozen=True)
class Recipe:
    """One run, every key resolved. ``terms`` are the constants of the family's loss."""

    model: ModelSection
    data: DataSection
    units: UnitsSection | None
    masking: Masking
    regularisation: Regularisation
    objective: Terms | None
    optim: OptimSection
    run: RunSection
    track: TrackSection | None = None

    @property
    def family(self) -> Family:
        """``wav2vec2``, ``hubert`` or ``melhubert``."""
        return self.model.family

    def sections(self) -> dict[str, object]:
        """What is there, by the names of the sections."""
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: section for name, section in named.items() if section is not None}

    def to_toml(self) -> str:
        """The whole recipe, as ``read_recipe`` takes it."""
        return to_toml(self.sections())

    def fingerprint(self, manifest_sha256: str) -> str:
        """What runs have in common that differ by their seed alone, as a hash: what trains, on what, how long."""
        sections = self.sections()
        sections.pop("track", None)
        sections["data"] = replace(self.data, train=(manifest_sha256,), workers=0)
        sections["run"] = RunSection(steps=self.run.steps, precision=self.run.precision)
        return hashlib.sha256(to_toml(sections).encode()).hexdigest()[:16]


def read_recipe(path: Path | str, *, seed: int | None = None, data: Sequence[str] = ()) -> Recipe:
    """The recipe of a file; ``seed`` and ``data`` (another corpus) replace what it says. InputError, one line."""
    path = Path(path)
    said = _with_base(path)
    if data:
        said = merged(said, {"data": {"train": _absolute(list(data), Path())}})
    if seed is not None:
        said = merged(said, {"run": {"seed": seed}})
    return resolved(said, str(path))


def _with_base(path: Path) -> dict[str, Any]:
    """The keys of a file and of its base, paths absolute."""
    said = _anchored(read_toml(path), path.parent)
    base = said.pop("base", None)
    if base is None:
        return said
    if not isinstance(base, str):
        raise InputError(f"{path}: base is {base!r}; name one file")
    lower = _anchored(read_toml(path.parent / base), (path.parent / base).parent)
    if "base" in lower:
        raise InputError(f"{path.parent / base} has a base itself; one level is all there is")
    batch, below = {"seconds", "utterances"}, lower.get("data")
    if isinstance(said.get("data"), dict) and isinstance(below, dict) and batch & said["data"].keys():
        lower["data"] = {key: value for key, value in below.items() if key not in batch}  # one of the two counts
    return merged(lower, said)


PATHS = (
    ("data", "train"),
    ("units", "labels"),
    ("units", "checkpoint"),
    ("units", "quantiser"),
    ("model", "checkpoint"),
    ("model", "mel_stats"),
    ("track", "stimuli"),
)


def _anchored(said: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same keys with paths relative to ``folder`` made absolute."""
    for section, key in PATHS:
        values = said.get(section)
        if isinstance(values, dict) and isinstance(values.get(key), str | list):
            said[section] = {**values, key: _absolute(values[key], folder)}
    return said


def _absolute(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_absolute(part, folder) for part in value]
    names_no_file = not isinstance(value, str) or value in {SYNTHETIC, OF_CORPUS} or value.startswith("random:")
    try:  # links stay links: "checkpoints/last" means what is last when it is read
        path = value if names_no_file else os.path.abspath(folder / Path(value).expanduser())  # noqa: PTH100
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{value!r} names no file ({error})") from None
    if isinstance(path, str) and ("\0" in path or path != os.fsencode(path).decode(errors="replace")):
        raise InputError(f"{path!r} cannot stand in a recipe, which is UTF-8; rename the folder, or name a link to it")
    return path


def resolved(said: Values, where: str) -> Recipe:
    """A recipe from sections of keys, what they do not say taken from the family's defaults."""
    model = said.get("model")
    named = model.get("family") if isinstance(model, Mapping) else None
    family = next((known for known in FAMILIES if known == named), None)
    if family is None:
        raise InputError(f"{where} [model] family is {named!r}, none of {', '.join(FAMILIES)}")
    known = {field.name for field in dataclasses.fields(Recipe)}
    for name in said:
        if name not in known:
            raise nearest(where, "section", name, known)
    defaults = family_defaults(family, said)
    if "units" in said and defaults.get("units") is None:
        raise InputError(f"{where} [units]: {family} learns no labels; leave the section out")
    values = merged({name: section for name, section in defaults.items() if section is not None}, said)
    kinds: dict[str, Any] = {
        "model": ModelSection,
        "data": DataSection,
        "units": UnitsSection,
        "masking": Masking,
        "regularisation": Regularisation,
        "objective": TERMS.get(family),
        "optim": OptimSection,
        "run": RunSection,
        "track": TrackSection,
    }
    sections: dict[str, Any] = dict.fromkeys(known)
    for name, section in values.items():
        kind = kinds[name]
        if kind is None:
            raise InputError(f"{where} [{name}]: the loss of {family} has no constants; leave the section out")
        sections[name] = read_section(kind, section, f"{where} [{name}]")
    try:
        if sections["model"].checkpoint is None:  # which has its own shapes
            sections["model"].config()
    except ValueError as error:
        raise InputError(f"{where} [model]: {error}") from None
    return Recipe(**sections)
