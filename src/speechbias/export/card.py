"""The model card of an export: Markdown with the metadata of the Hugging Face hub, what the model is and where from.

Everything in it is read from what was written and from records of it; what is not known is said to be unknown. The
last line is a hash of the others, so that a card that somebody has edited is never written over.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechbias.errors import InputError
from speechbias.export.card_facts import provenance_of, say_rates, size_of, table_of
from speechbias.export.card_words import USE, introduce, say_bias, say_usage
from speechbias.inspection import Description, describe_model
from speechbias.models.huggingface.hub import is_hub_id
from speechbias.report.card import model_index
from speechbias.report.grid import Grid, arrange
from speechbias.report.names import clean, escape_markdown
from speechbias.results import BiasResult, read_records, read_results

if TYPE_CHECKING:
    from speechbias.checkpoint.content import Checkpoint

CARD = "README.md"
UNKNOWN = "unknown"  # a value that the hub knows for licences
OF_ANY_RUN = re.compile(r"step-\d+|last")
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")  # the hub's identifiers look like this
SEAL = "<!-- speechbias export; sha256 of the lines above: {} -->\n"
SEALED = re.compile(re.escape(SEAL).replace(r"\{\}", "([0-9a-f]{64})"))
LIBRARIES = {"hf": "transformers", "onnx": "onnx", "int8": "onnx", "speechbias": "speechbias"}


@dataclass(frozen=True)
class CardOptions:
    """What is asked of a card: files with records of the model, its licence, and whether its latency is measured."""

    results: tuple[Path, ...] = ()
    license: str = UNKNOWN
    latency: bool = True

    def check(self) -> None:
        """InputError for what can be seen to be wrong before anything is written."""
        if not LICENSE.fullmatch(self.license):
            raise InputError(
                f"licence {self.license[:60]!r} is no identifier of the hub; write for example apache-2.0"
            )
        for path in self.results:
            read_results(path)

    def records(self, sha256s: Sequence[str], names: Iterable[str]) -> tuple[list[BiasResult], list[dict[str, Any]]]:
        """Bias records of the first of these hashes that has any, and error rates of any of them (or by name).

        InputError where files were given that hold nothing of the kind.
        """
        measured = [record for path in self.results for record in read_results(path)]
        others = [record for path in self.results for record in read_records(path) if record["kind"] == "per"]
        of = ([record for record in measured if record.model_sha256 == sha256] for sha256 in sha256s)
        bias = _once(next(filter(None, of), []))
        called = set(names)
        rates = [r for r in others if r.get("model_sha256") in sha256s or _by_name_alone(r, called)]
        if self.results and not bias and not rates:
            files = ", ".join(map(str, self.results))
            raise InputError(f"{files}: no record is of this model (sha256 {sha256s[0][:16]}); measure it first")
        return bias, rates


def _once(records: Iterable[BiasResult]) -> list[BiasResult]:
    """One measurement of the same weights once: a checkpoint and its exports are one model under several names."""
    found: dict[str, BiasResult] = {}
    for record in records:
        found.setdefault(replace(record, model="", step=None, run=None).identity, record)
    return list(found.values())


def _by_name_alone(record: Mapping[str, Any], names: set[str]) -> bool:
    """Whether a record that has no hash bears one of the names; every run has checkpoints of the same names."""
    name = str(record.get("model"))
    return not record.get("model_sha256") and name in names and not OF_ANY_RUN.fullmatch(name)


def write_card(
    path: Path,
    model: Path,
    checkpoint: "Checkpoint",
    options: CardOptions,
    *,
    form: str,
    origin: str | None = None,
    difference: float | None = None,
) -> None:
    """Write the card of ``model``, a folder or file just written in the format ``form``, to ``path``.

    ``origin``: hash of what was exported, where that is more than the checkpoint. ``difference``: of an ONNX file's
    states from the checkpoint's, over their largest value.
    """
    from speechbias.models.fingerprint import weights_sha256  # noqa: PLC0415 (torch: seconds)

    described = describe_model(model, latency=options.latency)
    origin = origin or weights_sha256(checkpoint.config, checkpoint.tensors)
    hashes = list(dict.fromkeys((described.sha256, origin)))
    bias, rates = options.records(hashes, [checkpoint.name])
    grid = arrange(bias) if bias else None
    own = bool(bias) and bias[0].model_sha256 == described.sha256
    name = _title(checkpoint)
    shown = grid if own or form != "int8" else None  # numbers of another model have no place in the metadata
    body = [
        f"# {escape_markdown(name)}{', int8' if form == 'int8' else ''}\n",
        introduce(described, form),
        "## How to use\n\n" + say_usage(described, form, file=model.name),
        "## Provenance\n\n" + table_of(provenance_of(described, checkpoint, origin)),
        "## Size and speed\n\n" + table_of(size_of(described, difference)),
        *say_rates(rates, described.sha256),
        "## Bias, Risks and Limitations\n\n" + say_bias(grid, form, own=own, file=model.name),
        "## Intended use\n\n" + USE,
    ]
    text = _front_matter(described, checkpoint, options, form, shown) + "\n" + "\n".join(body) + "\n"
    path.write_text(text + SEAL.format(_hash(text)), encoding="utf-8")


def is_edited(path: Path) -> bool:
    """Whether a file is there that is not a card as it was written here."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, UnicodeDecodeError):
        return True
    above, _, seal = text[:-1].rpartition("\n")
    found = SEALED.fullmatch(f"{seal}\n")
    return found is None or found[1] != _hash(f"{above}\n")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _front_matter(
    described: Description, checkpoint: "Checkpoint", options: CardOptions, form: str, grid: Grid | None
) -> str:
    """YAML, its strings written as JSON, which YAML reads."""
    tags = ["speech", "speech-representations", "speechbias", described.family]
    tags += ["onnx"] * (form in {"onnx", "int8"}) + ["int8"] * (form == "int8")
    tags += ["pruned"] * (checkpoint.meta.pruning is not None) + ["distilled"] * described.student
    lines = [f"license: {options.license}", f"library_name: {LIBRARIES[form]}", "pipeline_tag: feature-extraction"]
    if is_hub_id(checkpoint.name):
        lines += [f"base_model: {json.dumps(checkpoint.name)}"]
        lines += ["base_model_relation: quantized"] * (form == "int8")
    lines += ["tags:", *(f"- {tag}" for tag in tags)]
    index = "" if grid is None else model_index(_title(checkpoint), grid)
    return "---\n" + "\n".join(lines) + f"\n{index}---\n"


def _title(checkpoint: "Checkpoint") -> str:
    """A checkpoint of a run by the run's name, since all runs call theirs alike."""
    meta = checkpoint.meta
    is_of_run = meta.run is not None and meta.step is not None and OF_ANY_RUN.fullmatch(checkpoint.name)
    return clean(f"{meta.run['name']} step {meta.step}" if is_of_run and meta.run else checkpoint.name)
