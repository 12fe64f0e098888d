"""Which hidden states of our network count: S3PRL's list, transformers', or SpEAT's (contract: "States").

S3PRL's wav2vec 2.0 and HuBERT begin with the encoder's input (after positions, and after the norm in post-norm
models); its MelHuBERT and its distilled students with the projection alone. In pre-norm models the final norm belongs
to the last state, which transformers 5 leaves out. S3PRL's wrapper of a distilled student goes on behind the last
layer with what its heads predict; here that is a convention of its own, "s3prl-heads".
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from speechbias.encoder import WITH_HEADS, check_convention, refuse_heads
from speechbias.errors import InputError
from speechbias.models.config import EncoderConfig
from speechbias.models.transformer import Point, Read

IN_WORDS = {"projection": "input projection", "input": "encoder input", "output": "after the final norm"}


def state_points(name: str, config: EncoderConfig, states: str) -> tuple[Point, ...]:
    """Where each state is read, state 0 first; heads have none. InputError for what has no meaning for this model."""
    check_convention(states)
    if not config.student:
        refuse_heads(name, states)
    blocks: list[Point] = list(range(1, config.num_layers + 1))
    if states in {"s3prl", WITH_HEADS}:
        first: Point = "projection" if config.family == "melhubert" or config.student else "input"
        return (first, *blocks[:-1], "output")
    if config.family == "melhubert" or config.student:
        kind = "MelHuBERT" if config.family == "melhubert" else "a distilled student"
        raise InputError(f"{name}: the states {states!r} are not defined for {kind}; use --states s3prl")
    if states == "hf":
        return ("input", *blocks)
    # SpEAT (2023) takes fairseq's layer_results, which are before the final norm; for HuBERT it asks for layer 0,
    # which never matches, so fairseq hands back the last block.
    return ("projection" if config.family == "wav2vec2" else blocks[-1], *blocks)


def at_points(points: Sequence[Point], take: Callable[[int, Tensor], None]) -> Read:
    """What a network calls at every point: ``take`` gets number and content of each state that is read there."""

    def read(point: Point, hidden: Tensor) -> None:
        for state, wanted in enumerate(points):
            if wanted == point:
                take(state, hidden)

    return read


def then_heads(
    read: Read, heads: Callable[[Tensor], Tensor], take: Callable[[int, Tensor], None], *, first: int
) -> Read:
    """``read``, and each prediction of ``heads`` (..., targets, dim) as a state from number ``first`` on."""

    def reading(point: Point, hidden: Tensor) -> None:
        read(point, hidden)
        if point == "output":  # what heads were trained on
            for number, predicted in enumerate(heads(hidden).unbind(-2)):
                take(first + number, predicted)

    return reading


def in_words(point: Point, config: EncoderConfig) -> str:
    """A point as the record says it."""
    if point == config.num_layers or (point == "output" and not config.pre_norm):
        return "last block"
    return IN_WORDS[point] if isinstance(point, str) else f"block {point}"
