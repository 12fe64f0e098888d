"""How heads and rows leave a model: tensors shrink, the config says so, and what was kept is known (Section 2.3).

A head leaves with its rows of q, k and v (weights and biases) and its columns of the output projection, whose bias
stays; head size and scaling do not change. A row leaves fc1 with its bias, and fc2's column with it; fc2's bias stays.
The output is that of the model with these columns of ``out_proj`` or ``fc2`` at zero. Public counterpart:
nervjack2/Speech-SSL-Compression, whose indices are also those of the moment, not of the model at the beginning.

A ``Cut`` is made of a config alone. It takes any tensor that goes by a weight's name, an optimiser's moments too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import index

import torch
from torch import Tensor

from speechbias.compress.criteria import What, too_many
from speechbias.compress.subjects import ENCODER, Subject, config_of, remade
from speechbias.errors import InputError
from speechbias.models.config import EncoderConfig

Indices = tuple[int, ...]
Removed = Mapping[int, Sequence[int]]  # {layer: indices}, layers and indices from 0


@dataclass(frozen=True)
class Cut:
    """What stays of each layer of a config: ``heads`` and ``rows`` are sorted indices in the numbering before."""

    before: EncoderConfig
    heads: tuple[Indices, ...]
    rows: tuple[Indices, ...]

    @cached_property
    def config(self) -> EncoderConfig:
        """The config after the cut."""
        return replace(self.before, heads=tuple(map(len, self.heads)), ffn=tuple(map(len, self.rows)))

    @cached_property
    def kept(self) -> Mapping[str, tuple[int, Tensor]]:
        """(axis, indices that stay) by the name, as in ``Network.state_dict()``, of every parameter that shrinks."""
        found: dict[str, tuple[int, Tensor]] = {}
        for layer, (heads, rows) in enumerate(zip(self.heads, self.rows, strict=True)):
            name = f"transformer.layers.{layer}."
            if len(heads) < self.before.heads[layer]:
                places = torch.arange(self.before.head_dim) + self.before.head_dim * torch.tensor(heads)[:, None]
                for part in ("q_proj", "k_proj", "v_proj"):
                    found |= dict.fromkeys(_weight_and_bias(f"{name}attention.{part}"), (0, places.flatten()))
                found[f"{name}attention.out_proj.weight"] = (1, places.flatten())
            if len(rows) < self.before.ffn[layer]:
                found |= dict.fromkeys(_weight_and_bias(f"{name}fc1"), (0, torch.tensor(rows)))
                found[f"{name}fc2.weight"] = (1, torch.tensor(rows))
        return found

    def apply(self, name: str, tensor: Tensor) -> Tensor:
        """What stays of a tensor of this name and shape: a weight, its gradient, or a moment of an optimiser.

        Names are those of the network, or an objective's, which begin with ``encoder.``; what no cut concerns comes
        back itself.
        """
        axis, places = self.kept.get(name.removeprefix(ENCODER), (0, None))
        return tensor if places is None else tensor.index_select(axis, places.to(tensor.device))

    def then(self, later: "Cut") -> "Cut":
        """This cut and a later one as one; the later one counts as this one leaves it. ValueError if they do not fit.

        What a series of cuts kept, in the numbering of the model at its beginning, is ``heads`` and ``rows`` of the
        whole: ``functools.reduce(Cut.then, cuts)``.
        """
        if later.before != self.config:
            raise ValueError("the later cut is of another config than the earlier one leaves")
        return Cut(self.before, _of_kept(self.heads, later.heads), _of_kept(self.rows, later.rows))


def uncut(config: EncoderConfig) -> Cut:
    """The cut that takes nothing away."""
    return Cut(config, _all(config.heads), _all(config.ffn))


def cut_heads(config: EncoderConfig, heads: Removed) -> Cut:
    """Take heads away, {layer: indices}.

    InputError, one line, for a layer or head that is not there, one named twice, and a layer that would have none.
    """
    return replace(uncut(config), heads=_without(config.heads, heads, "heads"))


def cut_rows(config: EncoderConfig, rows: Removed) -> Cut:
    """Take feed-forward rows away, {layer: indices}. InputError as from ``cut_heads``."""
    return replace(uncut(config), rows=_without(config.ffn, rows, "rows"))


def remove_heads(encoder: Subject, heads: Removed) -> Subject:
    """A new encoder, checkpoint, network or objective without these heads, {layer: indices}.

    A loaded encoder keeps its states, dtype, device and mel statistics, a checkpoint its objective too; the name says
    what is left, and neither is a step of a run any more. InputError as from ``cut_heads``.
    """
    return perform(encoder, cut_heads(config_of(encoder), heads))


def remove_rows(encoder: Subject, rows: Removed) -> Subject:
    """A new encoder, checkpoint, network or objective without these feed-forward rows; as ``remove_heads``."""
    return perform(encoder, cut_rows(config_of(encoder), rows))


def perform(encoder: Subject, cut: Cut, *, share: bool = False) -> Subject:
    """The encoder, checkpoint, network or objective after a cut.

    With ``share``, weights that no cut concerns stay where they are in memory, and the argument is to be let go.
    InputError where the cut is of another config.
    """
    if cut.before != config_of(encoder):
        raise InputError("the cut is of another config than this encoder has; make it of the encoder's own")
    return remade(encoder, cut.config, cut.apply, named=lambda name: _named(name, cut), share=share)


def _named(name: str, cut: Cut) -> str:
    """A name that says how many heads or rows are left, instead of how many were left before."""
    after = cut.config
    for what, before, left in (("heads", cut.before.heads, after.heads), ("rows", cut.before.ffn, after.ffn)):
        if left != before:
            name = f"{name.removesuffix(f'-{what}-{sum(before)}')}-{what}-{sum(left)}"
    return name


def _weight_and_bias(name: str) -> tuple[str, str]:
    return f"{name}.weight", f"{name}.bias"


def _all(counts: Iterable[int]) -> tuple[Indices, ...]:
    return tuple(tuple(range(count)) for count in counts)


def _of_kept(earlier: tuple[Indices, ...], later: tuple[Indices, ...]) -> tuple[Indices, ...]:
    return tuple(tuple(first[i] for i in second) for first, second in zip(earlier, later, strict=True))


def _without(counts: tuple[int, ...], removed: Removed, what: What) -> tuple[Indices, ...]:
    gone = {layer: set(_checked(counts, layer, indices, what)) for layer, indices in removed.items()}
    return tuple(tuple(i for i in range(count) if i not in gone.get(layer, ())) for layer, count in enumerate(counts))


def _checked(counts: tuple[int, ...], layer: int, indices: Sequence[int], what: What) -> list[int]:
    if layer not in range(len(counts)):
        raise InputError(f"there is no layer {layer}; layers are 0 to {len(counts) - 1}")
    count = counts[layer]
    try:
        numbers = [index(i) for i in indices]
    except TypeError:
        raise InputError(
            f"layer {layer}: {what} go by whole numbers, not by {indices!r}; give their indices"
        ) from None
    if strange := [i for i in numbers if i not in range(count)]:
        raise InputError(f"layer {layer} has no {what[:-1]} {strange[0]}; its {what} are 0 to {count - 1}")
    if len(set(numbers)) < len(numbers):
        twice = next(i for i in numbers if numbers.count(i) > 1)
        raise InputError(f"layer {layer}: {what[:-1]} {twice} is named twice; name it once")
    if len(numbers) >= count:
        raise InputError(too_many(layer, count, what))
    return numbers
