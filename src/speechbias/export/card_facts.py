"""What a model card knows in tables: where the model is from, how large and fast it is, its phone error rates."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from speechbias.inspection import Description
from speechbias.inspection.table import in_words
from speechbias.report.names import clean, escape_markdown

if TYPE_CHECKING:
    from speechbias.checkpoint.content import Checkpoint


def table_of(pairs: Iterable[tuple[str, object]]) -> str:
    """A table of what is known; empty values are left out."""
    known = [(key, str(value)) for key, value in pairs if value is not None and str(value)]
    rows = [f"| {escape_markdown(key)} | {escape_markdown(clean(value))} |" for key, value in known]
    return "\n".join(["| | |", "| :-- | :-- |", *rows]) + "\n"


def provenance_of(described: Description, checkpoint: "Checkpoint", origin: str) -> Iterable[tuple[str, object]]:
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


def size_of(described: Description, difference: float | None) -> Iterable[tuple[str, object]]:
    """``difference``: of an ONNX file's states from the checkpoint's, over their largest value."""
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


def say_rates(rates: Sequence[Mapping[str, Any]], own: str) -> list[str]:
    """A section, or none; ``own``: the model's hash, where rates may be of what it was made from."""
    if not rates:
        return []
    lines = ["| Measured on | Split | Phone error rate | Utterances |", "| :-- | :-- | --: | --: |"]
    for record in rates:
        of = "this model" if record.get("model_sha256") == own else "the checkpoint that was exported"
        fields = (of, *(record.get(key, "") for key in ("split", "per", "n_utterances")))
        lines.append(f"| {' | '.join(escape_markdown(clean(str(field))) for field in fields)} |")
    note = "Of a probe on the frozen encoder, in the unit in which it was recorded."
    return ["## Phone error rate\n\n" + "\n".join([*lines, "", note, ""])]
