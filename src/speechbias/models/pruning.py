"""How an encoder was pruned: what its checkpoint says of it, and what a record says. No torch here.

A checkpoint counts units of the whole encoder: attention heads of all layers, FFN rows of all layers, or values of
the prunable set (weights and biases of q, k, v, out, fc1 and fc2 in all layers). A record counts as the paper's
Figure 2 does: heads of all layers (144 -> 12 for base), FFN rows per layer (3072 -> 512), values of the set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from speechbias.models.config import EncoderConfig

Method = Literal["heads", "rows", "weights"]


@dataclass(frozen=True)
class Pruning:
    """``provenance["pruning"]`` of a checkpoint. ``remaining`` and ``of``: units now, and before any cut."""

    method: Method
    criterion: str | None  # by what units were ranked: l1, random, bias ...; None: the file does not say
    seed: int | None  # of the criterion, where it draws
    cuts: int  # events so far
    remaining: int
    of: int
    pruned_from: str | None = None  # the unpruned model: its sha256, or its name

    @classmethod
    def read(cls, said: object) -> "Pruning | None":
        """What a checkpoint says; None where that is nothing, or not whole. Further keys do not matter."""
        if not isinstance(said, Mapping) or said.get("method") not in get_args(Method):
            return None
        counts = [each for key in ("cuts", "remaining", "of") if type(each := said.get(key)) is int]
        if len(counts) < 3:
            return None
        cuts, remaining, of = counts
        if min(cuts, remaining) < 0 or not remaining <= of > 0:
            return None
        criterion, seed, origin = (said.get(key) for key in ("criterion", "seed", "pruned_from"))
        texts = all(isinstance(text, str | None) for text in (criterion, origin))
        if not texts or not (seed is None or type(seed) is int):
            return None
        return cls(said["method"], criterion, seed, cuts, remaining, of, origin)

    def left(self, config: EncoderConfig) -> int:
        """Units that remain: those of the config, which a later cut by other means has made fewer; else as said."""
        return {"heads": sum(config.heads), "rows": sum(config.ffn)}.get(self.method, self.remaining)

    def removed(self, config: EncoderConfig) -> int:
        """Parameters that went with the units: of a head its q, k, v rows with biases and out columns, and so on."""
        of_one = {
            "heads": config.head_dim * (4 * config.dim + 3),
            "rows": 2 * config.dim + 1,
            "weights": 1,
        }
        return (self.of - self.left(config)) * of_one[self.method]

    def in_record(self, config: EncoderConfig) -> dict[str, Any]:
        """The fields of a ``BiasResult`` that say so, by name; none where the model has more than it ever had."""
        left, share = self.left(config), config.num_layers if self.method == "rows" else 1
        if left > self.of:
            return {}
        return {
            "method": self.method,
            "criterion": self.criterion,
            "criterion_seed": self.seed,
            "remaining": _whole(left / share),
            "of": _whole(self.of / share),
            "parameters_removed": self.removed(config),
            "pruned_from": self.pruned_from,
        }


def _whole(number: float) -> float:
    """As an integer where it is one: 512, not 512.0."""
    return int(number) if number == int(number) else number
