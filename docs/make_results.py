"""Write docs/results.md: a part on synthetic voices that any machine can make, and one on real recordings.

``--check`` makes only the synthetic part and fails if the file says otherwise. The real part needs the folder that
SPEECHBIAS_SHARED names (../shared by default) and is left as it stands where that is missing. ``--runs DIR`` writes
the part on pre-training alone, from the folders of the three runs of recipes/real. Other parts are
written by make_pruning.py, make_compressed.py (students, phone error rates) and make_questions.py.
"""

import argparse
import difflib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from speechbias.demo import run_demo
from speechbias.results import BiasResult, read_results

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
SHARED = Path(os.environ.get("SPEECHBIAS_SHARED", ROOT.parent / "shared"))
SYNTHETIC, REAL, TRAINED = "synthetic", "real", "pretraining"
ROWS = {
    "--x": "corpus=LibriSpeech test-other,gender=female",
    "--y": "corpus=LibriSpeech test-other,gender=male",
    "--a": "corpus=RAVDESS,valence=positive",
    "--b": "corpus=RAVDESS,valence=negative",
}


def table(results: Iterable[BiasResult]) -> str:
    """One row per model and test, to the digits that every machine agrees on."""
    lines = [
        "| test | model | d | 95 % interval | with attributes | p_value | p_attribute | associated |",
        "| --- | --- | ---: | --- | --- | ---: | ---: | --- |",
    ]
    for r in results:
        low, high = r.ci_attributes
        lines.append(
            f"| {r.test} | {r.model} | {r.d:+.2f} | {r.ci_low:+.2f} to {r.ci_high:+.2f} | {low:+.2f} to {high:+.2f} "
            f"| {r.p_value:.2g} | {r.p_attribute:.2g} | {'yes' if r.associated else 'no'} |"
        )
    return "\n".join(lines)


def profile(results: Sequence[BiasResult], model: str) -> str:
    """One row per state of one model."""
    lines = [
        "| state | d | 95 % interval | p_value | p_adjusted (max-T) | p_attribute |",
        "| ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for r in results:
        if r.model == model and r.layer != "mean":
            interval = f"{r.ci_low:+.2f} to {r.ci_high:+.2f}"
            lines.append(
                f"| {r.layer} | {r.d:+.2f} | {interval} | {r.p_value:.2g} | {r.p_adjusted:.2g} | {r.p_attribute:.2g} |"
            )
    return "\n".join(lines)


SYNTHETIC_TEXT = """\
## Synthetic voices

Command: `make demo`. In the test `planted`, group-1 speaks by habit in the way that everybody does when positive, and
group-2 as when negative: an engineered positive control, whose size says nothing about real speech. In `null`, X and Y
are the same voices saying the same sentences: what is found there is chance. Mean over states.

{table}"""

REAL_TEXT = """\
## Real speech: women and men of LibriSpeech, positive and negative RAVDESS clips

{n[X]} clips of {speakers[X]} women and {n[Y]} of {speakers[Y]} men (LibriSpeech test-other, CC BY 4.0) against
{n[A]} positive and {n[B]} negative clips of {talkers} talkers (RAVDESS, CC BY-NC-SA 4.0).

```
speechbias stimuli csv=../shared/data/speech/manifest.csv \\
    --x "corpus=LibriSpeech test-other,gender=female" --y "corpus=LibriSpeech test-other,gender=male" \\
    --a "corpus=RAVDESS,valence=positive" --b "corpus=RAVDESS,valence=negative" -o gender.csv
speechbias measure ../shared/models/whisper-tiny.en stft spectrogram mel mfcc \\
    --stimuli gender.csv --per-layer --workers 2 -o results.jsonl
speechbias report results.jsonl -o report
```

{table}

Design `{design}`: {speakers[X]} + {speakers[Y]} speakers can be split in few ways, so no p_value can go below
{p_min:.2g} whatever the clips say. With {talkers} attribute talkers, the interval that resamples them
too is a rough guide.

whisper-tiny.en by state (0 is the embedding with positions, 4 the output after the final norm):

{profile}"""


def synthetic_part() -> str:
    """The demo's numbers."""
    with tempfile.TemporaryDirectory() as folder:
        results = run_demo(Path(folder) / "demo", workers=2).results
    return SYNTHETIC_TEXT.format(table=table(r for r in results if r.layer == "mean"))


def real_part() -> str | None:
    """Whisper tiny.en and the features on real recordings; None where these are not at hand."""
    speech, whisper = SHARED / "data" / "speech" / "manifest.csv", SHARED / "models" / "whisper-tiny.en"
    if not (speech.is_file() and whisper.is_dir()):
        return None
    with tempfile.TemporaryDirectory() as folder:
        stimuli, out = str(Path(folder) / "gender.csv"), str(Path(folder) / "results.jsonl")
        run("stimuli", f"csv={speech}", *(part for rows in ROWS.items() for part in rows), "-o", stimuli)
        models = (str(whisper), "stft", "spectrogram", "mel", "mfcc")
        run("measure", *models, "--stimuli", stimuli, "--per-layer", "--workers", "2", "-o", out)
        results = read_results(out)
    first = results[0]
    return REAL_TEXT.format(
        n=first.n,
        speakers=first.n_speakers,
        talkers=first.attribute_talkers,
        design=first.design,
        p_min=first.p_min,
        table=table(r for r in results if r.layer == "mean"),
        profile=profile(results, "whisper-tiny.en"),
    )


TRAINED_TEXT = """\
## Pre-training on real speech

The reduced shapes of recipes/real (3 layers of 256, {channels} channels in a front end) on 3.2 hours of read English
speech, batches of 32 s. One core each, on the machine of docs/benchmarks.md, which had much other work; times
count from the first update, so neither the scan nor k-means.

```
speechbias pretrain recipes/real/pretrain-wav2vec2.toml --out runs/wav2vec2 --workers 2
speechbias pretrain recipes/real/pretrain-hubert.toml --out runs/hubert --workers 2
speechbias pretrain recipes/real/pretrain-melhubert.toml --out runs/melhubert --workers 2
speechbias measure runs/*/checkpoints/* --stimuli gender.csv --per-layer -o results.jsonl
speechbias reproduce figure1 results.jsonl -o figures
python docs/make_results.py --runs runs
```

{losses}

`loss` is in nats per masked frame (of wav2vec 2.0 `contrastive` alone, of HuBERT `cross_entropy`), `correct` the share
of masked frames told right, by chance 1/101, 1/100 and 1/512; means over 10 updates.

![d of gender against updates, a line per model](figures/{curves})

![d by hidden state and update](figures/{maps})

{bias}

The same test as above. One run of each: bands and intervals are over stimuli, not over training runs."""

FIGURES = ROOT / "docs" / "figures"
DRAWN = {"figure1.svg": "pretraining-steps.svg", "figure1-layers.svg": "pretraining-steps-layers.svg"}
MARKS = (10, 100, 200, 500, 1000, 1500)
MAIN_LOSS = {"wav2vec2": "contrastive", "hubert": "cross_entropy", "melhubert": "cross_entropy"}


def trained_part(runs: Path) -> str:
    """Losses and bias of the three real runs, from their folders."""
    rows = ["| model | update | loss | correct | audio, h | minutes |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for family, part in MAIN_LOSS.items():
        log = [json.loads(line) for line in (runs / family / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        audio = minutes = 0.0
        for line in log:
            audio += line["audio_seconds"] / 3600
            minutes += line["audio_seconds"] / line["audio_seconds_per_second"] / 60
            if line["step"] in MARKS:
                rows.append(
                    f"| {family} | {line['step']} | {line[part]:.2f} | {100 * line['correct']:.1f} % | {audio:.1f} "
                    f"| {minutes:.0f} |"
                )
    with tempfile.TemporaryDirectory() as folder:
        stimuli, out = str(Path(folder) / "gender.csv"), str(Path(folder) / "results.jsonl")
        speech = SHARED / "data" / "speech" / "manifest.csv"
        run("stimuli", f"csv={speech}", *(part for rows_ in ROWS.items() for part in rows_), "-o", stimuli)
        models = [str(path) for family in MAIN_LOSS for path in sorted((runs / family / "checkpoints").glob("step-*"))]
        run("measure", *models, "--stimuli", stimuli, "--per-layer", "--workers", "2", "-o", out)
        run("reproduce", "figure1", out, "-o", folder)
        FIGURES.mkdir(exist_ok=True)
        for made, kept in DRAWN.items():
            shutil.copyfile(Path(folder) / made, FIGURES / kept)
        whole = [r for r in read_results(out) if r.layer == "mean"]
        results = [replace(r, model=f"{r.family} {Path(r.model).name}") for r in whole]
    curves, maps = DRAWN.values()
    return TRAINED_TEXT.format(channels=64, losses="\n".join(rows), bias=table(results), curves=curves, maps=maps)


def run(*arguments: str) -> None:
    """Run the command line as a user does."""
    subprocess.run([sys.executable, "-m", "speechbias", *arguments], check=True, stdout=subprocess.DEVNULL)


def replaced(page: str, name: str, part: str) -> str:
    """The page with one marked part replaced."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{part}\n{end}{rest.split(end)[1]}"


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the synthetic part differs; write nothing")
    parser.add_argument("--runs", type=Path, help="folder of the runs of recipes/real; write their part alone")
    given = parser.parse_args()
    check = given.check
    old = PAGE.read_text(encoding="utf-8")
    if given.runs is not None:
        PAGE.write_text(replaced(old, TRAINED, trained_part(given.runs)), encoding="utf-8")
        return 0
    new = replaced(old, SYNTHETIC, synthetic_part())
    if check:
        difference = list(
            difflib.unified_diff(old.splitlines(), new.splitlines(), "docs/results.md", "now", lineterm="")
        )
        print("\n".join(difference) or "docs/results.md: the synthetic part is what the code gives")
        return 1 if difference else 0
    if real := real_part():
        new = replaced(new, REAL, real)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
