"""How far a model is pruned: what is left of it in the numbering of its beginning, and what the next cut takes.

The same for a model in training and for one that is only cut. It counts units of all layers: heads, rows, or prunable
weights, and says of itself what ``models.pruning`` reads from a checkpoint.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from speechbias.checkpoint.content import Checkpoint
from speechbias.compress.criteria import Scores, What, head_scores, lowest, random_scores, row_scores
from speechbias.compress.events import Event
from speechbias.compress.masks import Masks, packed, prunable, random_masks, sparsity_of, unpacked, weight_masks
from speechbias.compress.schedule import Amount
from speechbias.compress.scoring import BiasCriterion
from speechbias.compress.surgery import Cut, cut_heads, cut_rows, uncut
from speechbias.models.config import EncoderConfig
from speechbias.models.fingerprint import weights_sha256
from speechbias.models.network import skeleton
from speechbias.training.pruning import PruneSection

Share = Callable[[Any], Any]  # a thing as the first of several ranks has it


@dataclass
class Pruned:
    """``kept`` of the model at the beginning of this run, ``cuts`` and ``of`` since it was first pruned.

    ``seed`` is that of the random criterion, ``bias`` the criterion of this name, given by who has the recipe;
    ``pruned_from`` the SHA-256 of the unpruned encoder.
    """

    section: PruneSection
    seed: int
    kept: Cut
    masks: Masks
    cuts: int
    of: int
    pruned_from: str
    earlier: tuple[Mapping[str, Any], ...] = ()  # what was pruned in other ways before, first to last
    bias: BiasCriterion | None = None

    @classmethod
    def begin(cls, section: PruneSection, seed: int, start: Checkpoint) -> Self:
        """A checkpoint before it is cut: perhaps one that was pruned before, in the same way or another.

        Zeros of weights that were pruned stay zeros, whatever is cut now. Units count from the model that was never
        pruned in this way.
        """
        earlier = _earlier(start)
        before = earlier[-1] if earlier and earlier[-1].get("method") == section.method else {}
        others = tuple(earlier[:-1] if before else earlier)
        masks = masks_of_zeros(start) if any(said.get("method") == "weights" for said in earlier) else {}
        origin = (earlier[0] if earlier else {}).get("pruned_from") or weights_sha256(start.config, start.tensors)
        of = before.get("of", size_of(start.config, section.method))
        return cls(section, seed, uncut(start.config), masks, before.get("cuts", 0), of, origin, others)

    @classmethod
    def load(cls, section: PruneSection, seed: int, config: EncoderConfig, state: Mapping[str, Any]) -> Self:
        """As ``state`` left it; ``config`` is that of the model as it is now."""
        heads, ffn = (tuple(counts) for counts in state["began"])
        kept_heads, kept_rows = (tuple(map(tuple, kept)) for kept in state["kept"])
        kept = Cut(replace(config, heads=heads, ffn=ffn), kept_heads, kept_rows)
        counts = state["cuts"], state["of"], state["pruned_from"]
        return cls(section, seed, kept, unpacked(state["masks"]), *counts, tuple(state.get("earlier", ())))

    def state(self) -> dict[str, Any]:
        """Plain containers and bytes."""
        began, kept = self.kept.before, [list(map(list, self.kept.heads)), list(map(list, self.kept.rows))]
        return {
            "began": [list(began.heads), list(began.ffn)],
            "kept": kept,
            "masks": packed(self.masks),
            "cuts": self.cuts,
            "of": self.of,
            "pruned_from": self.pruned_from,
            "earlier": [dict(said) for said in self.earlier],
        }

    @property
    def sparsity(self) -> float:
        """Share of prunable weights that are masked."""
        return sparsity_of(self.masks) if self.masks else 0.0

    @property
    def remaining(self) -> int:
        """Units that are left."""
        if self.section.method == "weights" and self.masks:
            return sum(int(mask.sum()) for mask in self.masks.values())
        return size_of(self.kept.config, self.section.method)

    def describe(self) -> dict[str, Any]:
        """``provenance["pruning"]`` of a checkpoint."""
        section = self.section
        said: dict[str, Any] = {"method": section.method, "criterion": section.criterion, "cuts": self.cuts}
        said |= {"seed": self.seed} if section.criterion == "random" else {}
        said |= self.bias.describe() if self.bias is not None else {}
        said |= {"earlier": [dict(each) for each in self.earlier]} if self.earlier else {}
        return {**said, "remaining": self.remaining, "of": self.of, "pruned_from": self.pruned_from}

    def next_masks(self, model: Any, target: Amount, step: int, *, share: Share = lambda thing: thing) -> Event:
        """Mask weights until a share ``target`` of them is; they are then ``masks``, installed nowhere."""
        made = self._masks(model, target)
        self.masks, self.cuts = unpacked(share(packed(made))), self.cuts + 1
        names = {name: int(mask.sum()) for name, mask in self.masks.items()}
        layers = [f"transformer.layers.{n}." for n in range(self.kept.config.num_layers)]
        left = {
            str(n): sum(count for name, count in names.items() if name.startswith(layer))
            for n, layer in enumerate(layers)
        }
        return self._event(step, target, left)

    def next_cut(
        self, model: Any, amount: Amount, step: int, *, share: Share = lambda thing: thing
    ) -> tuple[Cut, Event]:
        """Choose ``amount`` heads or rows of each layer, and count them as gone; the caller performs the cut."""
        heads, config = self.section.method == "heads", self.kept.config
        what: What = "heads" if heads else "rows"
        chosen = lowest(share(self._scores(model)), int(amount), what=what)
        cut = cut_heads(config, chosen) if heads else cut_rows(config, chosen)
        before = self.kept.heads if heads else self.kept.rows
        gone = {str(layer): [before[layer][i] for i in indices] for layer, indices in chosen.items()}
        self.kept, self.cuts = self.kept.then(cut), self.cuts + 1
        self.masks = {name: cut.apply(name, mask) for name, mask in self.masks.items()}
        return cut, self._event(step, amount, gone)

    def _masks(self, model: Any, target: Amount) -> Masks:
        if self.section.criterion == "random":
            return random_masks(model, target, seed=self.seed, previous=self.masks)
        return weight_masks(model, target, previous=self.masks)

    def _scores(self, model: Any) -> Scores:
        """By the criterion; what is lowest is cut."""
        what: What = "heads" if self.section.method == "heads" else "rows"
        if self.section.criterion == "random":
            return random_scores(model, what, seed=self.seed)
        if self.section.criterion == "bias":
            assert self.bias is not None, "given by who has the recipe"
            return self.bias.scores(model, what)
        return head_scores(model, out_proj=self.section.out_proj) if what == "heads" else row_scores(model)

    def _event(self, step: int, amount: Amount, cut: Mapping[str, Any]) -> Event:
        section = self.section
        return Event(step, section.method, amount, section.criterion, cut, self.remaining, self.of)


def _earlier(start: Checkpoint) -> list[Mapping[str, Any]]:
    """What a checkpoint says of its pruning, the ways of before first."""
    said = start.meta.provenance.get("pruning")
    if not isinstance(said, Mapping):
        return []
    before = said.get("earlier")
    return (
        [*(each for each in before or () if isinstance(each, Mapping)), said] if isinstance(before, list) else [said]
    )


def size_of(config: EncoderConfig, method: str) -> int:
    """Units of all layers that pruning counts: heads, rows, or prunable weights."""
    if method == "weights":
        shapes = skeleton(config).state_dict()
        return sum(shapes[name].numel() for name in prunable(config))
    return sum(config.heads if method == "heads" else config.ffn)


def masks_of_zeros(start: Checkpoint) -> Masks:
    """The masks of a model whose weights were pruned before: its zeros."""
    return {name: start.tensors[name] != 0 for name in prunable(start.config)}
