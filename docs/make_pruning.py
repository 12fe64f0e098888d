"""Write the part of docs/results.md on pruning, from the folders of the runs of recipes/real/prune-*.toml.

python docs/make_pruning.py RUNS    # a folder of run folders; the recordings as in make_results.py
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from make_results import FIGURES, PAGE, ROWS, SHARED, replaced, run

from speechbias.results import BiasResult, read_results

PRUNED = "pruning"
PRUNED_TEXT = """\
## Pruning on real speech

Models of the runs above ({models}), pruned by the shortened ladders of recipes/real on the same speech: 60 updates of
{batch} from one cut to the next, and after the last. One core each, on a machine with much other work; {minutes}
minutes for a run.

```
{commands}
```

![d of gender against parameters removed](figures/{figure})

{rows}

`loss` is that of pre-training, in nats per masked frame, the mean over the 10 updates before the checkpoint;
`at random`: the lowest and highest d and loss of the same amounts cut at random and trained on alike ({seeds} seeds).
Intervals are over stimuli, not over training runs; p_value and p_attribute are not adjusted for the number of sizes.
{verdict}"""
COMMANDS = """\
speechbias prune recipes/real/prune-heads.toml --model runs/melhubert/checkpoints/last --out pruned/heads
speechbias prune recipes/real/prune-heads.toml --model runs/melhubert/checkpoints/last --out pruned/heads-random-1 \\
    --criterion random --seed 1                                        # and rows, weights, wav2vec2, seed 2
speechbias measure runs/*/checkpoints/last pruned/*/checkpoints/step-* --stimuli gender.csv -o results.jsonl
speechbias reproduce figure2 results.jsonl -o figures
python docs/make_pruning.py pruned"""


def pruned_part(runs: Path) -> str:
    """Write d and loss by size of the pruned real models, from the folders of their runs."""
    with tempfile.TemporaryDirectory() as folder:
        stimuli, out = str(Path(folder) / "gender.csv"), str(Path(folder) / "results.jsonl")
        speech = SHARED / "data" / "speech" / "manifest.csv"
        run("stimuli", f"csv={speech}", *(part for rows_ in ROWS.items() for part in rows_), "-o", stimuli)
        folders = sorted(path for path in runs.iterdir() if (path / "events.jsonl").is_file())
        models = [str(path) for each in folders for path in sorted((each / "checkpoints").glob("step-*"))]
        run("measure", *models, "--stimuli", stimuli, "--workers", "2", "-o", out)
        run("reproduce", "figure2", out, "-o", folder)
        FIGURES.mkdir(exist_ok=True)
        shutil.copyfile(Path(folder) / "figure2.svg", FIGURES / PRUNING_FIGURE)
        found = read_results(out)
    logs = {each.name: losses(each) for each in folders}
    chosen = [result for result in found if result.criterion == "l1"]
    lines = [
        "| model | cut | left | loss | d | 95 % interval | p_value | p_attribute | at random: d | loss |",
        "| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | --- | --- |",
    ]
    lines += [pruned_row(result, found, logs) for result in chosen]
    associated = sum(result.associated for result in chosen)
    verdict = (
        f"{associated or 'None'} of the {len(chosen)} measurements of models cut by L1 "
        f"{'is' if associated <= 1 else 'are'} associated."
    )
    seeds = len({result.criterion_seed for result in found if result.criterion == "random"})
    return PRUNED_TEXT.format(
        models=", ".join(sorted({result.family for result in chosen})),
        batch="4 utterances (wav2vec 2.0: 12)",
        minutes=spread_of([minutes(each) for each in folders]),
        commands=COMMANDS,
        figure=PRUNING_FIGURE,
        rows="\n".join(lines),
        seeds=seeds,
        verdict=verdict,
    )


PRUNING_FIGURE = "pruning.svg"


def pruned_row(result: BiasResult, found: Sequence[BiasResult], logs: Mapping[str, Mapping[int, float]]) -> str:
    """One size of a model cut by L1, and what random cuts of the same amount gave."""
    same = [
        other
        for other in found
        if (other.criterion, other.family, other.method, other.step)
        == ("random", result.family, result.method, result.step)
    ]
    loss = [logs[each.run["name"]].get(each.step) for each in same if each.run]
    left = f"{1 - result.remaining / result.of:.0%} zeros" if result.method == "weights" else f"{result.remaining:.0f}"
    assert result.run is not None
    own = logs[result.run["name"]].get(result.step)
    return (
        f"| {result.family} | {result.method} | {left} | {'' if own is None else f'{own:.2f}'} | {result.d:+.2f} "
        f"| {result.ci_low:+.2f} to {result.ci_high:+.2f} | {result.p_value:.2g} | {result.p_attribute:.2g} "
        f"| {spread_of([each.d for each in same], '+.2f')} | {spread_of([x for x in loss if x is not None], '.2f')} |"
    )


def spread_of(values: Sequence[float], form: str = ".0f") -> str:
    """Lowest to highest."""
    if not values:
        return ""
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def losses(run_folder: Path) -> dict[int, float]:
    """The loss of each line of a log, by update."""
    lines = [json.loads(line) for line in (run_folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {line["step"]: line.get("contrastive", line["loss"]) for line in lines if "loss" in line}


def minutes(run_folder: Path) -> float:
    """How long its updates took."""
    lines = [json.loads(line) for line in (run_folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return sum(line["audio_seconds"] / line["audio_seconds_per_second"] for line in lines if "loss" in line) / 60


if __name__ == "__main__":
    PAGE.write_text(
        replaced(PAGE.read_text(encoding="utf-8"), PRUNED, pruned_part(Path(sys.argv[1]))), encoding="utf-8"
    )
