"""The model card of an export: Markdown with the metadata of the Hugging Face hub, what the model is and where from.

Everything in it is read from what was written and from records of it; what is not known is said to be unknown. The
last line is a hash of the others, so that a card that somebody has edited is never written over.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechbias.errors import InputError
from speechbias.inspection import Description, describe_model
from speechbias.inspection.table import in_words
from speechbias.models.huggingface.hub import is_hub_id
from speechbias.report.card import bias_section, model_index
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
FAMILY_NAMES = {"wav2vec2": "wav2vec 2.0", "hubert": "HuBERT", "melhubert": "MelHuBERT"}
WHAT = {
    "hf": "as a folder that `transformers` loads",
    "onnx": "as an ONNX file in float32",
    "int8": "as an ONNX file whose linear layers are quantised to 8 bits",
    "speechbias": "as a checkpoint of speechbias",
}
USE = """\
It gives one vector per frame of speech. Intended for research: as input of a recogniser or classifier of one's own,
and for studies of what such models represent.

Not intended to judge, rank or identify people, or to infer their gender, age, origin, health or feelings. What a
system built on this model does to people has to be tested in that system, on the speech of those it will meet; no
number in this card stands in for that. The model hears 16 kHz mono speech, and its training data decide which speech
it knows.
"""
TRANSFORMERS_USE = """\
```python
import numpy as np
import torch
from transformers import AutoFeatureExtractor, {kind}

extractor = AutoFeatureExtractor.from_pretrained("FOLDER")
model = {kind}.from_pretrained("FOLDER")
wave = np.zeros(16_000, np.float32)  # one utterance: mono, 16 kHz, in [-1, 1]
with torch.no_grad():
    given = model(**extractor(wave, sampling_rate=16_000, return_tensors="pt"), output_hidden_states=True)
# given.last_hidden_state: (1, frames, dim); given.hidden_states: one per layer, and one before the first
```
"""
NOT_MEASURED = """\
Not measured. That is no sign of absence: representations of speech models have been found associated with the groups
of speakers that were looked at. Measure this model on recordings of your own:

```
speechbias measure {model} --stimuli FILE.csv -o results.jsonl
```
"""
OF_THE_ORIGIN = {
    "onnx": "These numbers are of the checkpoint that was exported. This file computes the same up to rounding.",
    "int8": "These numbers are of the checkpoint before it was quantised. This file's own may differ: measure it.",
    "hf": "These numbers are of the checkpoint that was exported, which holds the same weights.",
    "speechbias": "These numbers are of the checkpoint that was exported, which holds the same weights.",
}


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
        _introduction(described, form),
        "## How to use\n\n" + _usage(described, form, file=model.name),
        "## Provenance\n\n" + _rows(_provenance(described, checkpoint, origin)),
        "## Size and speed\n\n" + _rows(_size(described, difference)),
        *_rates(rates, described.sha256),
        "## Bias, Risks and Limitations\n\n" + _bias(grid, form, own=own, file=model.name),
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


def _introduction(described: Description, form: str) -> str:
    norm = "pre" if described.pre_norm else "post"
    kind = "distilled student" if described.student else "speech encoder"
    return (
        f"A {FAMILY_NAMES[described.family]} {kind}, {WHAT[form]}: {described.num_layers} transformer layers "
        f"({norm}-norm), hidden states of {described.dim} numbers every {1000 * described.frame_shift:g} ms.\n"
    )


def _usage(described: Description, form: str, *, file: str) -> str:
    measure = "```\nspeechbias measure FOLDER --stimuli FILE.csv -o results.jsonl\n```\n"
    if form == "hf":
        kind = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel"}[described.family]
        return TRANSFORMERS_USE.format(kind=kind)
    if form == "speechbias":
        return f'```python\nimport speechbias\n\nencoder = speechbias.load_encoder("FOLDER")\n```\n\n{measure}'
    feed = (
        '{"wave": wave[None]}' if described.recipe.get("mel_stats", "") is not None else '{"features": frames[None]}'
    )
    given = (
        "wave = np.zeros(16_000, np.float32)  # one utterance: mono, 16 kHz, in [-1, 1], of any length"
        if "wave" in feed
        else f"frames = np.zeros((50, {_width(described)}), np.float32)  # log-mel, normalised per bin, stacked"
    )
    return (
        "```python\nimport numpy as np\nimport onnxruntime\n\n"
        f"session = onnxruntime.InferenceSession({json.dumps(file)})\n{given}\n"
        f"states, last = session.run(None, {feed})\n"
        "# states: (hidden states, frames, dim), state 0 is before the first layer\n"
        "# last: (frames, dim), the last of them\n"
        "```\n\nThe file's metadata say the rest: `session.get_modelmeta().custom_metadata_map`.\n"
    )


def _width(described: Description) -> int:
    """Of a frame of stacked log-mel."""
    front = described.front_end
    return int(str(front["bins"])) * int(str(front["stack"]))


def _rows(pairs: Iterable[tuple[str, object]]) -> str:
    """A table of what is known; empty values are left out."""
    known = [(key, str(value)) for key, value in pairs if value is not None and str(value)]
    rows = [f"| {escape_markdown(key)} | {escape_markdown(clean(value))} |" for key, value in known]
    return "\n".join(["| | |", "| :-- | :-- |", *rows]) + "\n"


def _provenance(described: Description, checkpoint: "Checkpoint", origin: str) -> Iterable[tuple[str, object]]:
    """What the checkpoint says of itself, the recipe and the cuts among it, and the hashes."""
    meta, run = checkpoint.meta, checkpoint.meta.run or {}
    said = dict(meta.provenance)
    yield "Exported from", checkpoint.name
    yield "Encoder's sha256", origin
    if described.sha256 != origin:
        yield "This file's sha256", described.sha256
    yield "Updates", "" if meta.step is None else f"{meta.step:,}"
    yield "Run", run.get("name")
    yield "Recipe's hash", said.pop("recipe_sha256", None) or run.get("recipe")
    yield "Seed", said.pop("seed", run.get("seed"))
    for key, value in said.items():
        if key != "run":
            yield from _rows_of(key.replace("_", " "), value)


def _rows_of(name: str, value: object) -> Iterable[tuple[str, object]]:
    """A value in a row, an object (how it was pruned, whom it learnt from) in one for each of its parts."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _rows_of(f"{name}: {str(key).replace('_', ' ')}", part)
    else:
        yield name, None if value is None else in_words(value)


def _size(described: Description, difference: float | None) -> Iterable[tuple[str, object]]:
    macs, timing = described.macs, described.timing
    yield "Parameters", f"{described.parameters:,}"
    if described.sparsity:
        yield "of them not zero", f"{described.nonzero:,}"
    yield "Heads per layer", _each(layer.heads for layer in described.layers)
    yield "Feed-forward width per layer", _each(layer.ffn for layer in described.layers)
    yield "Multiply-accumulates", f"{macs.total / 1e6:,.4g} M per second of audio" if macs else ""
    yield "Weights on disk", f"{described.bytes_on_disk:,} bytes"
    yield (
        "Latency",
        "not measured"
        if timing is None
        else (
            f"{timing.median:.3g} s of CPU time for {timing.clip:g} s of audio (median of {timing.runs} runs, "
            f"{timing.lowest:.3g} to {timing.highest:.3g}), one thread of {timing.machine}, run by "
            f"{described.recipe.get('engine', 'torch')}"
        ),
    )
    if difference is not None:
        yield (
            "Difference from the checkpoint",
            (f"at most {difference:.2g} of the largest value, in every hidden state of a second of noise"),
        )


def _each(numbers: Iterable[int]) -> str:
    """One number where all layers have the same."""
    found = list(numbers)
    return ", ".join(map(str, found if len(set(found)) > 1 else found[:1]))


def _rates(rates: Sequence[Mapping[str, Any]], own: str) -> list[str]:
    if not rates:
        return []
    lines = ["| Measured on | Split | Phone error rate | Utterances |", "| :-- | :-- | --: | --: |"]
    for record in rates:
        of = "this model" if record.get("model_sha256") == own else "the checkpoint that was exported"
        fields = (of, *(record.get(key, "") for key in ("split", "per", "n_utterances")))
        lines.append(f"| {' | '.join(escape_markdown(clean(str(field))) for field in fields)} |")
    note = "Of a probe on the frozen encoder, in the unit in which it was recorded."
    return ["## Phone error rate\n\n" + "\n".join([*lines, "", note, ""])]


def _bias(grid: Grid | None, form: str, *, own: bool, file: str) -> str:
    if grid is None:
        return NOT_MEASURED.format(model=shlex.quote(file) if form in {"onnx", "int8"} else "FOLDER")
    return ("" if own else OF_THE_ORIGIN[form] + "\n\n") + bias_section(grid)
