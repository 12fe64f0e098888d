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
from speechbias.models.config import FAMILIES, SIZES, EncoderConfig, Family, MelFrontend, sized
from speechbias.models.hubert import HubertTerms
from speechbias.models.objectives import Terms
from speechbias.models.regularisation import Regularisation
from speechbias.models.wav2vec2 import Wav2Vec2Terms
from speechbias.training.defaults import family_defaults
from speechbias.training.masking import Masking
from speechbias.training.sections import Values, merged, nearest, read_section, read_toml, to_toml
from speechbias.training.track import TrackSection

TERMS: Mapping[Family, type[Terms]] = {"wav2vec2": Wav2Vec2Terms, "hubert": HubertTerms}
SYNTHETIC = "synthetic"  # in place of a path: voices made here


@dataclass(frozen=True)
class ModelSection:
    """Which network: a size by name, of which single numbers may be changed, or the weights of a checkpoint."""

    family: Family
    size: str | None = None
    checkpoint: str | None = None
    layers: int | None = None
    dim: int | None = None
    ffn: int | None = None
    heads: int | None = None
    channels: int | None = None  # of every convolution of the front end
    frame_ms: Literal[10, 20] | None = None  # of MelHuBERT

    def __post_init__(self) -> None:
        """Refuse numbers that count nothing, and shapes beside a checkpoint, which has its own."""
        for name in ("layers", "dim", "ffn", "heads", "channels"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more")

    def config(self) -> EncoderConfig:
        """The shapes. ValueError for those that no network has."""
        if self.size is not None and self.size not in SIZES:
            raise ValueError(f"size {self.size!r} is none of {', '.join(SIZES)}")
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

    train: tuple[str, ...]  # LibriSpeech, any folder, CSV, TSV, JSONL, fairseq's .tsv; or "synthetic"
    seconds: float | None = None
    utterances: int | None = None
    crop: float = 15.625  # seconds: longer utterances are cropped, anew in each epoch
    min_seconds: float = 2.0  # shorter ones are left out
    max_seconds: float | None = None  # longer ones are left out
    workers: int = 0  # processes that read audio ahead; 0: the training process itself

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
        if self.workers < 0 or self.min_seconds < 0:
            raise ValueError("workers and min_seconds must not be below 0")


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
    accumulate: int = 1  # batches per update

    def __post_init__(self) -> None:
        """Refuse what cannot be stepped."""
        if self.lr <= 0 or self.eps <= 0:
            raise ValueError("lr and eps must be above 0")
        if min(self.weight_decay, self.warmup, self.clip) < 0:
            raise ValueError("weight_decay, warmup and clip must not be below 0")
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
        if min(self.steps, self.save, self.log, self.max_skipped) < 1:
            raise ValueError("steps, save, log and max_skipped must be 1 or more")
        if min((self.keep_every, self.seed, *self.keep)) < 0:
            raise ValueError("seed, keep and keep_every must not be below 0")


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
    names_no_file = not isinstance(value, str) or value == SYNTHETIC or value.startswith("random:")
    try:  # links stay links: "checkpoints/last" means what is last when it is read
        return value if names_no_file else os.path.abspath(folder / Path(value).expanduser())  # noqa: PTH100
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{value!r} names no file ({error})") from None


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
        sections["model"].config()
    except ValueError as error:
        raise InputError(f"{where} [model]: {error}") from None
    return Recipe(**sections)
