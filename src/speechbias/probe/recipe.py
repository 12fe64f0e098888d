"""The recipe of a probe: which models, on what, how it is trained; a TOML file, read as those of `pretrain` are.

Defaults are SUPERB's as S3PRL has them (``paper.PROBING``), but for what its users cannot see: the learning rate is
searched, all of it on record. Paths are relative to the file that names them, and so are models that lie there.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from speechbias.errors import InputError
from speechbias.features import NAMES
from speechbias.paper import PROBING
from speechbias.probe.phones import Count
from speechbias.probe.transcripts import OfUnknown
from speechbias.training.recipe import read_keys
from speechbias.training.recipe_sections import SYNTHETIC
from speechbias.training.scan import Depth
from speechbias.training.sections import A_MODEL, A_PATH, Values, nearest, read_section, to_toml

NAMING = frozenset(
    ("speaker", "speaker_id", "speakers", "spk", "client_id", "reader", "name", "path", "file", "id", "text", "phones")
)  # columns that are no groups


@dataclass(frozen=True)
class ModelsSection:
    """What is probed: MODELs as `measure` takes them, or the recipe of one to ``pretrain`` first."""

    models: tuple[str, ...] = field(default=(), metadata=A_MODEL)
    pretrain: str | None = field(default=None, metadata=A_PATH)
    states: Literal["s3prl", "hf", "speat-2023"] = "s3prl"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    mel_stats: str | None = field(default=None, metadata=A_PATH)  # an .npy, for MelHuBERT files without


@dataclass(frozen=True)
class ProbeSection:
    """On what a probe is trained, chosen and tested, and what it is made of.

    ``..._rows`` takes of a split the rows that match COLUMN=VALUE[,COLUMN=VALUE]; ``*`` and ``?`` stand for anything.
    """

    train: tuple[str, ...] = field(metadata=A_PATH)  # as [data] train of `pretrain`; or "synthetic"
    test: tuple[str, ...] = field(default=(), metadata=A_PATH)
    dev: tuple[str, ...] = field(default=(), metadata=A_PATH)  # none: a share of the sentences of ``train``
    train_rows: str | None = None
    dev_rows: str | None = None
    test_rows: str | None = None
    dev_share: float = 0.1
    split: str = "test"  # what records call the test set
    scan: Depth = "whole"
    max_seconds: float | None = None  # of training: longer utterances are left out
    seconds: float | None = PROBING.seconds  # of audio in a batch, padding included
    utterances: int | None = None  # in a batch, instead
    phones: Count = 39
    eos: bool = False  # SUPERB: <eos> ends every target
    lexicon: tuple[str, ...] = field(default=(), metadata=A_PATH)
    unknown: OfUnknown = "drop"  # words that no lexicon has
    normalise: bool = False  # every state of a frame to mean 0 and variance 1 before they are summed
    hidden: int = PROBING.hidden
    cache: bool = True  # states on disk, once; or anew in every epoch
    cache_dtype: Literal["float32", "float16"] = "float32"
    keep_cache: bool = False  # when a model is done
    groups: tuple[str, ...] = ("gender", "age", "accent")  # columns by which error rates are told apart
    resamples: int = 10_000
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Refuse what makes no split, no batch, no interval."""
        if not self.train or not all((*self.train, *self.dev, *self.test)):
            raise ValueError("train, dev and test name corpora; train at least one")
        synthetic = SYNTHETIC in self.train
        if synthetic and (self.dev or self.test or len(self.train) > 1):
            raise ValueError('train = "synthetic" brings its own dev and test; leave them out')
        if not synthetic and not self.test:
            raise ValueError("test names no audio; there is no error rate without it")
        if self.dev_rows is not None and not self.dev:
            raise ValueError("dev_rows is of dev, which names no corpus; name it, or leave both out for dev_share")
        if (self.seconds is None) == (self.utterances is None):
            raise ValueError("a batch is either so many seconds or so many utterances; give one of the two")
        if naming := [each for each in self.groups if each.strip().lower() in NAMING]:
            raise ValueError(f"groups holds {naming[0]!r}, which names people or recordings; records name nobody")
        if not self.split.strip():
            raise ValueError("split is blank; records name the test set by it")
        self._refuse_numbers()

    def _refuse_numbers(self) -> None:
        for name in ("seconds", "utterances", "max_seconds", "hidden"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; give a number above 0")
        for name in ("dev_share", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it lies between 0 and 1")
        if not 100 <= self.resamples <= 10_000_000:
            raise ValueError(f"resamples is {self.resamples}; give 100 or more")


@dataclass(frozen=True)
class ProbeOptimSection:
    """Adam at a constant rate, each of ``rates`` from the same weights on the same batches."""

    rates: tuple[float, ...] = PROBING.rates
    betas: tuple[float, float] = PROBING.betas
    eps: float = PROBING.eps
    clip: float = PROBING.clip  # of the norm of all gradients; 0: none
    accumulate: int = PROBING.accumulate  # batches per update

    def __post_init__(self) -> None:
        """Refuse what cannot be stepped."""
        if not self.rates or not all(0 < rate <= 1_000 for rate in self.rates):
            raise ValueError(f"rates are {list(self.rates)}; give one or more, above 0")
        if len(set(self.rates)) < len(self.rates):
            raise ValueError(f"rates are {list(self.rates)}; give each once")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}; each is from 0 to below 1")
        if self.eps <= 0 or self.clip < 0 or self.accumulate < 1:
            raise ValueError("eps, clip or accumulate is too small; give eps above 0, clip from 0, accumulate from 1")


@dataclass(frozen=True)
class ProbeRunSection:
    """How long.

    A rate ends early that became better on dev, by PER or by loss, in none of ``patience`` evaluations; 0: never.
    """

    steps: int = PROBING.updates
    seed: int = 0
    evaluate: int = PROBING.evaluate  # updates from one evaluation on dev, and state on disk, to the next
    patience: int = 20

    def __post_init__(self) -> None:
        """Refuse what counts nothing."""
        for name, least in (("steps", 1), ("evaluate", 1), ("seed", 0), ("patience", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; give {least} or more")


KINDS: Mapping[str, type[Any]] = {
    "model": ModelsSection,
    "probe": ProbeSection,
    "optim": ProbeOptimSection,
    "run": ProbeRunSection,
}
OF_NO_RESULT = {  # keys that may differ in one folder: corpora and lexicons may move, their contents are compared
    "probe": ("train", "dev", "test", "lexicon", "scan", "cache", "keep_cache"),
    "model": ("models", "pretrain"),
}
MAY_MOVE = {**OF_NO_RESULT, "model": (*OF_NO_RESULT["model"], "mel_stats")}  # by its numbers models are told apart


@dataclass(frozen=True)
class ProbeRecipe:
    """One sweep for each of its models, every key resolved."""

    model: ModelsSection
    probe: ProbeSection
    optim: ProbeOptimSection
    run: ProbeRunSection

    def to_toml(self) -> str:
        """The whole recipe, as ``read_probe_recipe`` takes it."""
        return to_toml({name: getattr(self, name) for name in KINDS})

    def settings(self) -> dict[str, dict[str, Any]]:
        """What fixes the digits of a result, but for the model and what the corpora hold."""
        said = {name: asdict(getattr(self, name)) for name in KINDS}
        for section, keys in OF_NO_RESULT.items():
            said[section] = {key: value for key, value in said[section].items() if key not in keys}
        said["model"]["mel_stats"] = None  # a place: its numbers are part of each model
        return said

    @property
    def sha256(self) -> str:
        """Of the settings; records name the hash of the corpora beside it."""
        return hashlib.sha256(repr(sorted(self.settings().items())).encode()).hexdigest()


def read_probe_recipe(path: Path | str, *, seed: int | None = None, models: Sequence[str] = ()) -> ProbeRecipe:
    """The recipe of a file; ``seed`` and ``models`` replace what it says. InputError, one line."""
    said = read_keys(path, seed=seed, kinds=KINDS)
    if models and isinstance(said.get("model", {}), Mapping):
        kept = {key: value for key, value in said.get("model", {}).items() if key != "pretrain"}
        said["model"] = {**kept, "models": [_anchored(model) for model in models]}
    return probe_recipe(said, str(path))


def probe_recipe(said: Values, where: str) -> ProbeRecipe:
    """The same of keys by section; ``where`` names them in errors."""
    if "probe" not in said:
        raise InputError(f"{where} has no [probe]; name train and test there")
    for name in said:
        if name not in KINDS:
            raise nearest(where, "section", name, KINDS)
    probe = said["probe"]
    if isinstance(probe, Mapping) and "utterances" in probe:
        probe = {"seconds": None, **probe}
    values = {**said, "probe": probe}
    made = ProbeRecipe(**{n: read_section(kind, values.get(n, {}), f"{where} [{n}]") for n, kind in KINDS.items()})
    if not made.model.models and made.model.pretrain is None:
        raise InputError(
            f"{where} [model]: name the models to probe (or give --model); or name by pretrain a recipe that makes one"
        )
    return made


def with_models(recipe: ProbeRecipe, models: Sequence[str]) -> ProbeRecipe:
    """The same recipe for other models."""
    return replace(recipe, model=replace(recipe.model, models=tuple(models)))


def _anchored(model: str) -> str:
    """A MODEL of the command line, which is read in the folder where it was given."""
    return str(Path(model).absolute()) if model not in NAMES and Path(model).exists() else model
