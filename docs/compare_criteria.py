"""Cut one model by L1, at random and by the effect on |d| to equal sizes; what is left of d and of the loss.

    python docs/compare_criteria.py RUN/checkpoints/last --stimuli gender.csv --audio FOLDER -o rows.jsonl
    python docs/compare_criteria.py --tables rows.jsonl    # those of docs/compression.md

The stimuli are split by speaker (``--splits`` times): one half scores, the other is held back. No weight is trained
between cuts, and each is scored anew; random cuts are ``--seeds`` series. ``--audio`` is a corpus that the run has not
seen, of which the loss of its pre-training is taken, with masks of a fixed seed.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from speechbias.checkpoint import read_checkpoint
from speechbias.checkpoint.content import Checkpoint
from speechbias.compress import (
    bias_scores,
    head_scores,
    lowest,
    measure_influence,
    random_scores,
    remove_heads,
    remove_rows,
    row_scores,
)
from speechbias.measure import measure_bias
from speechbias.models.batch import Batch
from speechbias.models.freeze import freeze
from speechbias.speat import effect_size
from speechbias.stimuli import StimulusSet, read_stimuli, split_stimuli
from speechbias.tracking.clips import Clips
from speechbias.training.beginning import Beginning
from speechbias.training.corpus import open_training_corpus
from speechbias.training.examples import Examples
from speechbias.training.recipe import read_recipe
from speechbias.training.windows import sampler_of

REMOVE = {"heads": remove_heads, "rows": remove_rows}
L1 = {"heads": head_scores, "rows": row_scores}
BALANCES = (0.5, 1.0)
UPDATE = 10**6  # wav2vec 2.0's temperature at the end of training
MAY_LOSE = 1.05  # a chosen point's loss, over the whole model's
PROBED = 12  # units of a layer that are really removed, one at a time


@dataclass(frozen=True)
class Row:
    """One cut model on one half of the stimuli; ``split`` says which halves, ``seed`` which series of random cuts."""

    model: str
    what: str
    left: int  # heads or rows per layer
    criterion: str
    seed: int
    split: int
    half: str  # scored, held-back
    d: float
    low: float
    high: float
    loss: float


class Comparison:
    """One checkpoint, halves of the stimuli, and batches of audio that it was not trained on."""

    def __init__(
        self, name: str, checkpoint: Checkpoint, stimuli: StimulusSet, batches: Sequence[Batch], *, splits: int
    ) -> None:
        self.name, self.stats, self.batches = name, checkpoint.meta.mel_stats, batches
        self.whole: Any = checkpoint.objective()
        halves = [split_stimuli(stimuli, seed=seed) for seed in range(splits)]
        self.scored, self.held_back = ([Clips([pair[half]]) for pair in halves] for half in (0, 1))
        self.clips = Clips([replace(each, name=f"{each.name}-{n}") for n, pair in enumerate(halves) for each in pair])

    def rows(self, what: str, lefts: Sequence[int], *, seeds: int) -> Iterator[Row]:
        """Every criterion at every size."""
        config = self.whole.encoder.config
        largest = (config.heads if what == "heads" else config.ffn)[0]
        yield from self.measured(self.whole, what, largest, "whole")
        yield from self.series(what, lefts, "l1", L1[what])
        for seed in range(seeds):
            draw: Any = partial(random_scores, what=what, seed=seed)
            yield from self.series(what, lefts, "random", draw, seed=seed)
        for balance in BALANCES:
            for split, clips in enumerate(self.scored):
                by: Any = partial(bias_scores, clips=clips, what=what, balance=balance, mel_stats=self.stats)
                yield from self.series(what, lefts, f"bias {balance:g}", by, split=split)

    def series(
        self, what: str, lefts: Sequence[int], criterion: str, score: Callable[[Any], Any], **which: int
    ) -> Iterator[Row]:
        """Cut after cut, scored anew each time."""
        model = self.whole
        for left in lefts:
            scores = score(model)
            model = REMOVE[what](model, lowest(scores, len(scores[0]) - left))
            yield from self.measured(model, what, left, criterion, **which)

    def measured(
        self, model: Any, what: str, left: int, criterion: str, *, seed: int = 0, split: int | None = None
    ) -> Iterator[Row]:
        """The loss, and d on every half, or on those of one split."""
        loss = loss_of(model, self.batches)
        for number, embeddings in enumerate(self.clips.embed(self._frozen(model), workers=1)):
            if split in {None, number // 2}:
                r = measure_bias(embeddings, permutations=1_000, resamples=2_000)
                half = ("scored", "held-back")[number % 2]
                which = (criterion, seed, number // 2, half)
                yield Row(self.name, what, left, *which, r.d, r.ci_low, r.ci_high, loss)

    def agreement(self, what: str) -> dict[str, Any]:
        """Rank correlations of foretold changes of |d|, means over layers and splits.

        ``halves``: with those foretold on the other half; ``found``: with what |d| of the scored half did when some
        units were removed, each alone.
        """
        halves, found = [], []
        for scored, held_back in zip(self.scored, self.held_back, strict=True):
            ours, theirs = (measure_influence(self.whole, c, mel_stats=self.stats)[0] for c in (scored, held_back))
            pairs = zip(ours.of_removal(what), theirs.of_removal(what), strict=True)
            halves += [spearmanr(one, other).statistic for one, other in pairs]
            for layer, foretold in enumerate(ours.of_removal(what)):
                units = np.random.default_rng(layer).permutation(len(foretold))[:PROBED]
                sizes = [abs(self._d(REMOVE[what](self.whole, {layer: [int(unit)]}), scored)) for unit in units]
                found.append(spearmanr(foretold[units], sizes).statistic)
        means = {"halves": float(np.mean(halves)), "found": float(np.mean(found))}
        return {"model": self.name, "what": what, **means}

    def _frozen(self, model: Any) -> Any:
        return freeze(self.name, model.encoder, mel_stats=self.stats)

    def _d(self, model: Any, clips: Clips) -> float:
        (embeddings,) = clips.embed(self._frozen(model), workers=1)
        return effect_size(*(members.mean(1, dtype=np.float64) for members in embeddings.sets().values()))


def loss_of(model: Any, batches: Iterable[Batch]) -> float:
    """The loss of pre-training per masked frame."""
    with torch.inference_mode():
        losses = [model(batch, update=UPDATE) for batch in batches]
    return float(sum(loss.total for loss in losses)) / sum(loss.masked for loss in losses)


def batches_of(run: Path, checkpoint: Checkpoint, audio: Path) -> list[Batch]:
    """One epoch of a corpus as a run would see it, its labels from the run's own centres."""
    recipe = read_recipe(run / "recipe.toml", data=[str(audio)])
    units = recipe.units and replace(recipe.units, labels=None, quantiser=str(run / "units"))
    recipe = replace(recipe, units=units, data=replace(recipe.data, min_seconds=0.0))
    begin, data = Beginning(checkpoint.config, checkpoint.meta.mel_stats), recipe.data
    with tempfile.TemporaryDirectory() as folder:
        corpus = open_training_corpus(recipe, begin, Path(folder))
        rows = corpus.selection.rows
        by = {"seconds": data.seconds, "utterances": data.utterances, "crop_seconds": data.crop}
        examples = Examples(
            corpus.manifest,
            sampler_of(corpus.manifest, rows, **by),
            checkpoint.config,
            recipe.masking,
            labels=corpus.labels,
            mel_stats=corpus.mel_stats,
        )
        return [examples[number] for number in range(len(examples))]


def tables(rows: Sequence[Row], agreements: Iterable[dict[str, Any]]) -> str:
    """Everything as Markdown: a row per model and size, then the chosen points, then the correlations."""
    sizes = list(dict.fromkeys((r.model, r.what, r.left, r.criterion) for r in rows))
    parts = [
        "| model | left per layer | criterion | loss | \\|d\\| scored | \\|d\\| held back | d held back, by split |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for model, what, left, criterion in sizes:
        some = [r for r in rows if (r.model, r.what, r.left, r.criterion) == (model, what, left, criterion)]
        means = [np.mean([abs(r.d) for r in some if r.half == half]) for half in ("scored", "held-back")]
        splits = sorted({r.split for r in some})
        held = [np.mean([r.d for r in some if r.half == "held-back" and r.split == split]) for split in splits]
        loss = np.mean([r.loss for r in some])
        parts.append(
            f"| {model} | {left} {what} | {criterion} | {loss:.3f} | {means[0]:.2f} | {means[1]:.2f} "
            f"| {' '.join(f'{d:+.2f}' for d in held)} |"
        )
    return "\n".join([*parts, "", *chosen_table(rows), "", *agreement_table(agreements)])


def chosen_table(rows: Sequence[Row]) -> list[str]:
    """Of each split and criterion the point of least |d| on the scored half, the loss allowed; d on the other."""
    parts = [
        "| model | split | criterion | chosen | loss | d scored | d held back | whole: d held back |",
        "| --- | ---: | --- | --- | ---: | ---: | --- | --- |",
    ]
    for model, split in sorted({(r.model, r.split) for r in rows}):
        own = [r for r in rows if (r.model, r.split) == (model, split)]
        whole = next(r for r in own if r.criterion == "whole" and r.half == "held-back")
        for criterion in dict.fromkeys(r.criterion for r in own if r.criterion != "whole"):
            allowed = [r for r in own if r.criterion == criterion and r.loss <= MAY_LOSE * whole.loss]
            if not allowed:
                parts.append(f"| {model} | {split} | {criterion} | none | | | | {interval(whole)} |")
                continue
            best = min((r for r in allowed if r.half == "scored"), key=lambda r: abs(r.d))
            held = next(r for r in allowed if replace(best, half="held-back", d=r.d, low=r.low, high=r.high) == r)
            parts.append(
                f"| {model} | {split} | {criterion} | {best.left} {best.what} | {best.loss:.3f} | {best.d:+.2f} "
                f"| {interval(held)} | {interval(whole)} |"
            )
    return parts


def interval(r: Row) -> str:
    """The d of a row with its interval."""
    return f"{r.d:+.2f} ({r.low:+.2f} to {r.high:+.2f})"


def agreement_table(agreements: Iterable[dict[str, Any]]) -> list[str]:
    """Rank correlations."""
    parts = ["| model | units | scored half with the other | foretold with found |", "| --- | --- | ---: | ---: |"]
    parts += [f"| {a['model']} | {a['what']} | {a['halves']:+.2f} | {a['found']:+.2f} |" for a in agreements]
    return parts


def main() -> None:
    """Measure, or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="in a run folder, beside which its units lie")
    parser.add_argument("--name")
    parser.add_argument("--stimuli", type=Path)
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--heads", type=int, nargs="*", default=[], help="left in each layer, size after size")
    parser.add_argument("--rows", type=int, nargs="*", default=[])
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("-o", "--out", type=Path, help="rows are added to this file")
    parser.add_argument("--tables", type=Path, nargs="+")
    given = parser.parse_args()
    if given.tables:
        lines = [json.loads(line) for path in given.tables for line in path.read_text(encoding="utf-8").splitlines()]
        rows = [Row(**line) for line in lines if "criterion" in line]
        print(tables(rows, [line for line in lines if "criterion" not in line]))
        return
    checkpoint = read_checkpoint(given.checkpoint)
    run = given.checkpoint.absolute().parents[1]
    batches = batches_of(run, checkpoint, given.audio)
    name, stimuli = given.name or run.name, read_stimuli(given.stimuli)
    comparison = Comparison(name, checkpoint, stimuli, batches, splits=given.splits)
    with given.out.open("a", encoding="utf-8") as out:
        for what, lefts in (("heads", given.heads), ("rows", given.rows)):
            if lefts:
                for row in comparison.rows(what, lefts, seeds=given.seeds):
                    print(json.dumps(asdict(row)), file=out, flush=True)
                print(json.dumps(comparison.agreement(what)), file=out, flush=True)


if __name__ == "__main__":
    main()
