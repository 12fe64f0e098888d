"""Results on disk: JSON lines, one record per measurement, without time stamps.

The same run gives the same bytes. Records are appended whole or not at all: the file is rewritten beside itself and
renamed, under a lock, so a full disk, a kill or a second process can never leave half a record.
"""

import fcntl
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.errors import InputError, os_reason

SCHEMA = 1
SETS = ("X", "Y", "A", "B")
COUNTS = (
    *("criterion_seed", "remaining", "of", "parameters", "parameters_removed"),
    *("student_layers", "teacher_layers"),
)
WORDS = ("method", "criterion", "pruned_from", "distilled_from")
# By what a record of another kind names the measurement that it belongs to, beside the hashes.
NAMED = ("test", "model", "family", "layer", "states", "dtype", "recipe", "d", "groups")
STORED = ("path", "sha256")  # of ``vectors``
OPTIONAL = ("step", "run", *WORDS, *COUNTS)


@dataclass(frozen=True)
class BiasResult:
    """One SpEAT measurement: one model, one test, one state (or the mean over states), one set of options."""

    test: str
    model: str
    family: str
    layer: int | str  # "mean" or the number of the hidden state
    states: str
    d: float
    p_value: float
    p_method: str
    p_min: float
    p_attribute: float
    p_adjusted: float | None  # max-T over the states of one model; None for "mean"
    alternative: str
    ci_low: float
    ci_high: float
    confidence: float
    ci_attributes: tuple[float, float]  # attribute talkers resampled too
    design: str
    n: dict[str, int]
    n_speakers: dict[str, int]
    groups: dict[str, str]
    ddof: int
    permutations: int
    resamples: int
    seed: int
    dtype: str
    model_sha256: str
    stimuli_sha256: str
    vectors: dict[str, str] | None  # {"path": relative to the results, "sha256"}
    skipped: list[dict[str, Any]] = field(default_factory=list)  # {"row", "path", "why"}
    warnings: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    # Additions to the contract's fields.
    num_states: int = 1
    dim: int = 0
    ci_method: str = "bca"
    attribute_talkers: int = 0
    leave_one_talker_out: tuple[float, float] | None = None  # beside ci_attributes where talkers are fewer than 10
    p_attribute_min: float = 0.0  # the smallest p_attribute that these talkers allow
    adjusted_over: str | None = None  # the family of p_adjusted, for example "13 states of one model"
    redrawn: int = 0  # degenerate resamples that were drawn again
    recipe: dict[str, Any] = field(default_factory=dict)  # what beside the weights fixes the embedding
    seconds: dict[str, float] = field(default_factory=dict)  # audio per set
    schema: int = SCHEMA
    kind: str = "bias"
    # Where they apply.
    step: int | None = None  # optimiser updates behind the model; 0: untrained
    run: dict[str, Any] | None = None  # of which training run: {"name", "recipe", "seed"} as far as they are known
    method: str | None = None  # pruned by: heads, rows or weights
    criterion: str | None = None  # by what it was chosen what goes: l1, random, bias ...
    criterion_seed: int | None = None
    remaining: float | None = None  # heads of all layers; FFN rows per layer, their mean where layers differ; values
    of: float | None = None  # the same before any cut
    parameters: int | None = None  # of the encoder; weights that pruning set to zero do not count
    parameters_removed: int | None = None  # by this method
    pruned_from: str | None = None  # the unpruned model: its sha256, or its name
    distilled_from: str | None = None  # the teacher: its sha256, or its name
    student_layers: int | None = None  # transformer layers of a student, and of its teacher
    teacher_layers: int | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the keys in the order of this class; fields that do not apply are left out."""
        return {key: value for key, value in asdict(self).items() if value is not None or key not in OPTIONAL}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "BiasResult":
        """Read one record; keys that a newer version added are ignored. TypeError for what is no whole record."""
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in record.items() if key in known}
        for pair in ("ci_attributes", "leave_one_talker_out"):
            if values.get(pair) is not None:
                values[pair] = tuple(values[pair])
        made = cls(**values)
        numbers = (made.d, made.p_value, made.p_attribute, made.p_min, made.confidence, made.ci_low, made.ci_high)
        if not all(isinstance(number, int | float) for number in (*numbers, *made.ci_attributes)):
            raise TypeError("a number is missing")
        if not all(name in field for field in (made.n, made.groups) for name in SETS):
            raise TypeError("n and groups name X, Y, A and B")
        if not (made.step is None or isinstance(made.step, int)) or not isinstance(made.run, dict | None):
            raise TypeError("step is a whole number, run an object")
        if not all(isinstance(getattr(made, name), int | float | None) for name in COUNTS):
            raise TypeError("sizes are numbers")
        if not all(isinstance(getattr(made, name), str | None) for name in WORDS):
            raise TypeError("how it was made smaller is said in words")
        stored = made.vectors
        if stored is not None and not (
            isinstance(stored, dict) and all(isinstance(stored.get(k), str) for k in STORED)
        ):
            raise TypeError("vectors have a path and a sha256")
        if not all(isinstance(clip, Mapping) for clip in made.skipped):
            raise TypeError("skipped lists rows")
        return made

    @property
    def associated(self) -> bool:
        """Whether both p_value and p_attribute are below alpha = 1 - confidence (contract: the rule of reports)."""
        return max(self.p_value, self.p_attribute) < round(1 - self.confidence, 12)

    @property
    def crop_seconds(self) -> float | None:
        """How much of each clip was heard, from its middle; None: all of it."""
        return self.recipe.get("crop_seconds")

    @property
    def called(self) -> str:
        """A checkpoint of a run by the run's name and its step, since all runs call theirs alike; else the model."""
        name = (self.run or {}).get("name")
        return self.model if not name or self.step is None else f"{name} step {self.step}"

    @property
    def pooling(self) -> str:
        """What became of a clip's frames: their ``mean``, or what the recipe says (``poolings``)."""
        return str(self.recipe.get("pooling", "mean"))

    @property
    def about(self) -> dict[str, str]:
        """What a record of another kind says so that it is known which measurement it is about (``about_of``)."""
        other = {} if self.pooling == "mean" else {"pooling": self.pooling}
        return {"model_sha256": self.model_sha256, "stimuli_sha256": self.stimuli_sha256, **other}

    @property
    def identity(self) -> str:
        """What makes two measurements the same: model, stimuli, layer, states and options. As a hash."""
        return identity(vars(self))

    @property
    def measurement(self) -> str:
        """``identity`` without the names of test, model and run: what a record of kind ``control`` is ``of``."""
        return identity(vars(self) | dict.fromkeys(NAMES))

    def __str__(self) -> str:
        """One measurement in a few lines for a terminal."""
        level = f"{100 * self.confidence:g} %"
        return (
            f"{self.test}: {self.model}, layer {self.layer}\n"
            f"  d = {self.d:+.2f}   {level} interval {self.ci_low:+.2f} to {self.ci_high:+.2f}\n"
            f"  X {self.groups['X']} ({self.n['X']})   Y {self.groups['Y']} ({self.n['Y']})   "
            f"A {self.groups['A']} ({self.n['A']})   B {self.groups['B']} ({self.n['B']})\n"
            f"  p = {self.p_value:.3g} ({self.design}, {self.p_method}): do X and Y differ?\n"
            f"  p_attribute = {self.p_attribute:.3g}: is the difference aligned with A against B?\n"
            f"  {'associated' if self.associated else 'not associated'} at alpha = {round(1 - self.confidence, 12):g}"
        )


@dataclass(frozen=True)
class PairedDifference:
    """d of one model less d of another on the same clips, from resamples that both share."""

    difference: float
    low: float | None  # None where a group is of one speaker, whose spread is unknown
    high: float | None
    p: float | None  # two-sided, that the difference is 0


@dataclass(frozen=True)
class Together:
    """One measurement judged together with others on the same clips, for example the steps of one run."""

    p_adjusted: float  # max-T over the family
    low: float  # of the band that holds all of the family at once
    high: float
    family: str  # for example "9 steps of one run"


def about_of(record: Mapping[str, Any]) -> tuple[str, str, str]:
    """Which measurement a record is about: hash of the model, of the stimuli, and the pooling.

    Of the measurement it is ``about_of(result.about)``.
    """
    return str(record.get("model_sha256")), str(record.get("stimuli_sha256")), str(record.get("pooling", "mean"))


IDENTITY = (
    *("test", "model", "model_sha256", "recipe", "stimuli_sha256", "layer", "states", "dtype", "num_states"),
    *("design", "alternative", "permutations", "resamples", "confidence", "ddof", "seed", "step", "run"),
)


_LONGEST = 1 << 16  # bytes of a line that are looked at
NAMES = ("test", "model", "step", "run")  # which a report may call otherwise


def identity(values: Mapping[str, Any]) -> str:
    """The hash of a measurement's identity, from the values of its fields."""
    return hashlib.sha256(_dump([values[name] for name in IDENTITY])).hexdigest()


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def read_records(path: Path | str) -> list[dict[str, Any]]:
    """Every record of a results file, of any kind, in order.

    Raises ``InputError`` where there is no such file, or a line is not a JSON object with a ``kind``.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = os_reason(error, otherwise="not UTF-8 text")
        raise InputError(f"{path} cannot be read as results ({why}). Give a file that `measure` wrote.") from None
    records = []
    for number, line in enumerate(io.StringIO(text), start=1):  # not splitlines: U+2028 may stand within a name
        try:
            record = json.loads(line)
            newer = record["schema"] > SCHEMA
            record["kind"]
        except (ValueError, TypeError, KeyError, RecursionError):  # ValueError: no JSON, or a number of 5000 digits
            raise InputError(f"{path}, line {number} is not a record. Give a file that `measure` wrote.") from None
        if newer:
            raise InputError(f"{path}, line {number} has schema {record['schema']}. Update speechbias to read it.")
        records.append(record)
    return records


def read_results(path: Path | str) -> list[BiasResult]:
    """The measurements (records of kind ``bias``) of a results file, in order. InputError where it is none."""
    path = Path(path)
    results = []
    for number, record in enumerate(read_records(path), start=1):
        if record["kind"] != "bias":
            continue
        try:
            results.append(BiasResult.from_json(record))
        except TypeError:
            raise InputError(
                f"{path}, line {number} is not a whole record of kind bias. Give a file that `measure` wrote."
            ) from None
    return results


def check_writable(path: Path | str) -> None:
    """Raise ``InputError`` now if results could not be written to ``path`` later; makes its folder."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is a folder or no plain file. Give -o the name of a results file (.jsonl).")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(13, "no permission to write")
        if path.exists():
            _check_first(path)
        with tempfile.TemporaryFile(dir=_follow(path).parent):
            pass
    except OSError as error:
        raise InputError(f"{path} cannot be written ({os_reason(error)}). Choose another place with -o.") from None


def _check_first(path: Path) -> None:
    """InputError where the first line is no record: a table that somebody named by mistake."""
    with path.open("rb") as file:
        line = file.readline(_LONGEST)
    if line.strip() and not line.lstrip().startswith(b"{"):
        raise InputError(f"{path}, line 1 is not a record. Give a file that `measure` wrote.")


def append_results(path: Path | str, results: Sequence[BiasResult]) -> int:
    """Add the results that the file does not hold yet; all of them or none. Returns how many were added.

    Raises ``OSError`` where the disk is full; the file is then as it was.
    """
    path = _follow(path)
    with _locked(path.parent):
        present = {result.identity for result in read_results(path)} if path.exists() else set()
        new = [result for result in results if result.identity not in present]
        if new:
            old = path.read_bytes() if path.exists() else b""
            old += b"" if old.endswith(b"\n") or not old else b"\n"  # an editor may have taken it
            write_whole(path, old + b"".join(_dump(result.to_json()) + b"\n" for result in new))
    return len(new)


def append_records(path: Path | str, records: Sequence[Mapping[str, Any]]) -> int:
    """Add records of other kinds that the file does not hold yet, byte by byte; all of them or none. Returns how many.

    Raises ``OSError`` where the disk is full; the file is then as it was.
    """
    path = _follow(path)
    with _locked(path.parent):
        if path.exists():
            read_records(path)  # refuses what is no results file
        old = path.read_bytes() if path.exists() else b""
        present = set(old.splitlines())
        lines = dict.fromkeys(_dump(record) for record in records)
        new = [line for line in lines if line not in present]
        if new:
            old += b"" if old.endswith(b"\n") or not old else b"\n"  # an editor may have taken it
            write_whole(path, old + b"".join(line + b"\n" for line in new))
    return len(new)


def remove_results(path: Path | str, unwanted: Callable[[BiasResult], bool]) -> int:
    """Take measurements back; all other lines stay as they are, byte by byte. Returns how many were taken."""
    path = _follow(path)
    with _locked(path.parent):
        read_results(path)  # refuses what is no results file
        lines = path.read_bytes().splitlines(keepends=True)
        records = [json.loads(line) for line in lines]
        kept = [
            line
            for line, record in zip(lines, records, strict=True)
            if record["kind"] != "bias" or not unwanted(BiasResult.from_json(record))
        ]
        if len(kept) < len(lines):
            write_whole(path, b"".join(kept))
    return len(lines) - len(kept)


def write_vectors(results: Path | str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Store pooled vectors beside the results, under a name that is their hash: the record's ``vectors`` entry."""
    results = Path(results)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    path = results.with_name(results.name + ".vectors") / f"{digest[:16]}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_whole(path, buffer.getvalue())
    return {"path": f"{path.parent.name}/{path.name}", "sha256": digest}


def file_sha256(path: Path) -> str:
    """The hash of a file's bytes, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file under a temporary name and rename it: readers see the old one or the new one, never a part.

    ``durable`` waits until the disk has it, so that it outlives a power cut too.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException as error:
        with suppress(OSError):
            Path(temporary).unlink()
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk names no file
        raise


def _follow(path: Path | str) -> Path:
    """The file that a link names, so that it is rewritten and the link stays."""
    path = Path(path)
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: two processes that append to one file wait for each other."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
