"""Write the parts of docs/results.md on students and on phone error rates, from folders of runs on real speech.

python docs/make_compressed.py students RUNS STUDENTS    # run folders of recipes/real/pretrain-* and distill*
python docs/make_compressed.py probe PROBE RESULTS.jsonl # the folder of `speechbias probe`; d of the same models
"""

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from make_pruning import losses, minutes, spread_of
from make_results import FIGURES, PAGE, ROWS, SHARED, replaced, run

from speechbias.results import read_records, read_results

STUDENTS_TEXT = """\
## Students of real models

Students of 2 and of 1 of their teacher's 3 layers (recipes/real/distill.toml, distill-1.toml): 400 updates of 32 s,
targets the second and the third layer. One core each, on a machine with much other work; {minutes} minutes for a run.

```
speechbias distill recipes/real/distill.toml --model runs/melhubert/checkpoints/last --out students/melhubert-2
speechbias distill recipes/real/distill-1.toml --model runs/melhubert/checkpoints/last --out students/melhubert-1
speechbias measure runs/*/checkpoints/last students/*/checkpoints/last --stimuli gender.csv -o results.jsonl
speechbias reproduce figure3 results.jsonl -o figures
```

![d of teachers and their students, and the differences](figures/students.svg)

{table}

Intervals are over stimuli; a difference says that two models differ, of one training run each. {verdict}

The recipe does not carry over to Whisper's encoder: a student copies its teacher's front end and first layers into
this package's network, which has no place for Whisper's fixed positions and its convolutions over mel frames.
`distill` says so in a line (docs/compression.md)."""

PROBE_TEXT = """\
## Phone error rates of real models

A probe on frozen states, as in the paper's Table 4, on what lies at hand: the a-prompts of CMU ARCTIC as one woman
read them for training ({n_train} utterances) and for choosing rate and update ({n_dev}), {n_test} b-prompts for the
test; 39 phones of the dictionary in the `pocketsphinx` wheel. Every model: the same rates, the same batches, at most
{updates} updates.

```
speechbias probe recipes/real/probe.toml --model mel --model mfcc --model ../shared/models/whisper-tiny.en \\
    --model runs/melhubert/checkpoints/last --model pruned/heads/checkpoints/last ... --out probe
```

{table}

`rate`: the learning rate that dev chose of {rates}. One speaker read all of it: **no
gap between groups can be claimed from this table**, and no interval over speakers can be given. Models trained for
minutes on 3.2 hours stand beside one trained on hundreds of thousands of hours with their texts.
{best} Pruned models were trained on for 240 or 300 updates between and after the
cuts, and students for 400, so a rate below the base's is not for being smaller.

![|d| of gender against phone error rate](figures/tradeoff.svg)

|d| of the test above against these rates (`speechbias reproduce tradeoff results.jsonl probe/results.jsonl`); with ten
speakers, intervals of d overlap throughout.

As the paper's Table 4 (`speechbias reproduce table4 probe/results.jsonl`):

{table4}"""


def students_part(runs: Path, students: Path) -> str:
    """D of real teachers and students, and their differences."""
    with tempfile.TemporaryDirectory() as folder:
        stimuli, out = str(Path(folder) / "gender.csv"), str(Path(folder) / "results.jsonl")
        speech = SHARED / "data" / "speech" / "manifest.csv"
        run("stimuli", f"csv={speech}", *(part for rows_ in ROWS.items() for part in rows_), "-o", stimuli)
        teachers = [str(runs / name / "checkpoints" / "last") for name in ("wav2vec2", "hubert", "melhubert")]
        folders = sorted(path for path in students.iterdir() if (path / "log.jsonl").is_file())
        run(
            "measure",
            *teachers,
            *(str(each / "checkpoints" / "last") for each in folders),
            "--stimuli",
            stimuli,
            "-o",
            out,
        )
        run("reproduce", "figure3", out, "-o", folder)
        FIGURES.mkdir(exist_ok=True)
        shutil.copyfile(Path(folder) / "figure3.svg", FIGURES / "students.svg")
        table = (Path(folder) / "figure3.md").read_text(encoding="utf-8").strip()
        found = [result for result in read_results(out) if result.distilled_from]
    ends = ", ".join(f"{each.name} {list(losses(each).values())[-1]:.2f}" for each in folders)
    associated = sum(result.associated for result in found)
    verb = "is" if associated == 1 else "are"
    verdict = f"Losses at the end: {ends}. Of the {len(found)} students {associated or 'none'} {verb} associated."
    return STUDENTS_TEXT.format(minutes=spread_of([minutes(each) for each in folders]), table=table, verdict=verdict)


def probe_part(probe: Path, measured: Path) -> str:
    """Phone error rates of real models, best first; ``measured``: results of the same models."""
    records = [each for each in read_records(probe / "results.jsonl") if each["kind"] == "per"]
    first = records[0]
    lines = [
        "| model | what | parameters | PER, dev | PER, test | rate | best update |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        *(row(each) for each in sorted(records, key=lambda each: each["per"])),
    ]
    best = min(records, key=lambda each: each["per"])
    with tempfile.TemporaryDirectory() as folder:
        run("reproduce", "table4", str(probe / "results.jsonl"), "-o", folder)
        run("reproduce", "tradeoff", str(measured), str(probe / "results.jsonl"), "-o", folder)
        shutil.copyfile(Path(folder) / "tradeoff.svg", FIGURES / "tradeoff.svg")
        table4 = (Path(folder) / "table4.md").read_text(encoding="utf-8").strip()
    rates = ", ".join(f"{each['learning_rate']:g}" for each in first["tried"])
    return PROBE_TEXT.format(
        n_train=first["n_train"],
        n_dev=first["n_dev"],
        n_test=first["n_utterances"],
        updates=max(each["updates"] for record in records for each in record["tried"]),
        rates=rates,
        table="\n".join(lines),
        table4=table4,
        best=f"{name_of(best)} is best, with {100 * best['per']:.1f} % of the test's phones wrong.",
    )


def row(record: Mapping[str, Any]) -> str:
    """One model."""
    size = f"{record['parameters']:,}" if record.get("parameters") else "-"
    rates = f"{100 * record['dev_per']:.1f} % | {100 * record['per']:.1f} %"
    chosen = f"{record['learning_rate']:g} | {record['best_update']}"
    return f"| {name_of(record)} | {what(record)} | {size} | {rates} | {chosen} |"


def name_of(record: Mapping[str, Any]) -> str:
    """A run's checkpoint by its family, any other model by its name."""
    return str(record["family"] if record["model"].startswith("step-") else record["model"])


def what(record: Mapping[str, Any]) -> str:
    """Whether and how a model was made smaller."""
    if record["dtype"] == "int8":
        return "exported, int8"
    if record.get("method"):
        left = (
            f"{1 - record['remaining'] / record['of']:.0%} zeros"
            if record["method"] == "weights"
            else f"{record['remaining']:g} of {record['of']:g}"
        )
        by = "" if record.get("criterion") == "l1" else f", {record['criterion']}"
        return f"{record['method']}{by}: {left}"
    if record.get("distilled_from"):
        return f"student, {record['student_layers']} of {record['teacher_layers']} layers"
    if record.get("step") is not None:
        return f"{record['step']} updates"
    return "feature" if record["family"] == "features" else "as published"


def main(arguments: Sequence[str]) -> None:
    """Write one part of the page."""
    name, *folders = arguments
    part = {"students": students_part, "probe": probe_part}[name](*map(Path, folders))
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), name, part), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
