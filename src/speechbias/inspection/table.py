"""Descriptions side by side for a terminal: a row per property, a column per model; equal layers share a row.

A row stands only where some model has something to say in it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from speechbias.inspection.description import Description, Layer, Macs

CLIP = 10  # seconds
HASH = 16  # figures of a hash that are shown
SHA256 = re.compile(r"\b[0-9a-f]{64}\b")
LAYER_CELLS = "A layer's heads x size of a head, feed-forward width, parameters."
STATED_ELSEWHERE = {"sparsity"}


def terminal_table(descriptions: Sequence[Description]) -> Group:
    """Models side by side, and their layers below."""
    shown: list[RenderableType] = [_properties(descriptions)]
    if any(description.layers for description in descriptions):
        shown += [_layers(descriptions), Text(LAYER_CELLS, style="italic")]
    return Group(*shown)


def _table(title: str, descriptions: Sequence[Description]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(title, overflow="fold", min_width=8)
    for description in descriptions:
        table.add_column(Text(description.name), overflow="fold")
    return table


def _properties(descriptions: Sequence[Description]) -> Table:
    table = _table("", descriptions)
    for name, cell in ROWS.items():
        cells = [cell(description) for description in descriptions]
        if any(cells):
            table.add_row(name, *map(Text, cells))  # text: what files say of themselves is no markup
    return table


def _layers(descriptions: Sequence[Description]) -> Table:
    """A row per run of layers that are equal in every model."""
    table = _table("layer", descriptions)
    most = max(len(description.layers) for description in descriptions)
    rows = [tuple(_layer(description, index) for description in descriptions) for index in range(most)]
    for cells, run in groupby(range(most), key=rows.__getitem__):
        numbers = [index + 1 for index in run]
        first, last = numbers[0], numbers[-1]
        table.add_row(str(first) if first == last else f"{first}-{last}", *cells)
    return table


def _layer(description: Description, index: int) -> str:
    if index >= len(description.layers):
        return ""
    layer: Layer = description.layers[index]
    return f"{layer.heads} x {layer.head_dim}  {layer.ffn:>4}  {layer.parameters:,}"


def _integer(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _network(description: Description) -> str:
    if description.pre_norm is None:
        return str(description.num_layers or "")
    return f"{description.num_layers}, {'pre' if description.pre_norm else 'post'}-norm"


def _front(description: Description) -> str:
    front = description.front_end
    match front.get("kind"):
        case "log-mel":
            return f"log-mel, {front['bins']} bins x {front['stack']}"
        case "convolutions":
            bias = ", bias" if front["bias"] else ""
            return f"{len(_tuple(front['channels']))} convolutions, {front['norm']} norm{bias}"
    return _said(description.recipe, "input")


def _tuple(value: object) -> tuple[int, ...]:
    assert isinstance(value, tuple)
    return value


def _sizes(name: str) -> Callable[[Description], str]:
    """A row of one number per convolution; one number where all are equal."""

    def cell(description: Description) -> str:
        sizes = _tuple(description.front_end.get(name, ()))
        return " ".join(map(str, sizes if len(set(sizes)) > 1 else sizes[:1]))

    return cell


def _normalisation(description: Description) -> str:
    """How the input is normalised, and whether the statistics that this needs are there."""
    recipe = description.recipe
    if "mel_stats" in recipe:
        return "per mel bin, statistics carried" if recipe["mel_stats"] else "per mel bin, needs --mel-stats"
    return str(recipe.get("normalisation", recipe.get("cmvn", "")))


def _said(recipe: Mapping[str, object], name: str) -> str:
    """A setting, where there is one and it is not "none"."""
    value = str(recipe.get(name, ""))
    return "" if value == "none" else value


def _positions(description: Description) -> str:
    if not description.positions:
        return ""
    return f"kernel {description.positions['kernel']}, {description.positions['groups']} groups"


def _states(description: Description) -> str:
    by_count = groupby(description.states, key=description.states.__getitem__)
    return "; ".join(f"{count} ({', '.join(names)})" for count, names in by_count)


def _macs(part: str | None = None) -> Callable[[Description], str]:
    """A row of the operations, all or of one part."""

    def cell(description: Description) -> str:
        macs: Macs | None = description.macs
        if macs is None or (part is not None and part not in macs.parts):
            return ""
        count = macs.total if part is None else macs.parts[part]
        return f"{count / 1e6:,.{0 if count >= 1e7 else 2}f} M" if count else "0"

    return cell


def _latency(description: Description) -> str:
    """Of one thread: how much faster than real time, median and range of the runs, where it was timed."""
    timing = description.timing
    if timing is None:
        return ""
    speed = f"{timing.clip / timing.median:.1f} x real time"
    return f"{speed}\n{timing.median:.3g} s ({timing.lowest:.3g} to {timing.highest:.3g}, {timing.runs} runs)"


def _timed_on(description: Description) -> str:
    return f"{CLIP} s on one thread of {description.timing.machine}" if description.timing else ""


def _size(description: Description) -> str:
    return (
        ""
        if description.bytes_on_disk is None
        else f"{description.bytes_on_disk / 1e6:,.{1 if description.bytes_on_disk > 1e6 else 3}f} MB"
    )


def _provenance(description: Description) -> str:
    said = {key: value for key, value in description.provenance.items() if key not in STATED_ELSEWHERE}
    return "\n".join(f"{key}: {SHA256.sub(_shortened, in_words(value))}" for key, value in said.items())


def _shortened(found: re.Match[str]) -> str:
    return found[0][:HASH]


def _settings(description: Description) -> str:
    """What a feature is made of; a model's recipe stands in rows of its own."""
    if description.family != "features":
        return ""
    said = {key: value for key, value in description.recipe.items() if key not in {"cmvn", "sample_rate"}}
    return "\n".join(f"{key}: {in_words(value)}" for key, value in said.items())


def in_words(value: object) -> str:
    """A JSON value as a line of text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {in_words(part)}" for key, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


ROWS: Mapping[str, Callable[[Description], str]] = {
    "family": lambda it: f"{it.family}, distilled student" if it.student else it.family,
    "dim": lambda it: str(it.dim),
    "layers": _network,
    "parameters": lambda it: _integer(it.parameters),
    "with objective": lambda it: _integer(it.parameters_with_objective),
    "not zero": lambda it: _integer(it.nonzero) if it.sparsity else "",
    "sparsity": lambda it: "" if it.sparsity is None else f"{100 * it.sparsity:.4g} %",
    "front end": _front,
    "  channels": _sizes("channels"),
    "  kernels": _sizes("kernels"),
    "  strides": _sizes("strides"),
    "frame shift": lambda it: f"{1000 * it.frame_shift:g} ms",
    "normalisation": _normalisation,
    "padding": lambda it: _said(it.recipe, "padding"),
    "settings": _settings,
    "positions": _positions,
    "states": _states,
    "  first of s3prl": lambda it: _said(it.recipe, "state_0"),
    "  last of s3prl": lambda it: _said(it.recipe, "last_state"),
    "MACs / s of audio": _macs(),
    "  front end": _macs("front_end"),
    "  proj., positions": _macs("projection_positions"),
    "  attention": _macs("attention"),
    "  feed-forward": _macs("feed_forward"),
    "speed": _latency,
    "  timed": _timed_on,
    "weights on disk": _size,
    "step": lambda it: _integer(it.step),
    "provenance": _provenance,
    "sha256": lambda it: it.sha256[:HASH],
}
