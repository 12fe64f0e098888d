"""Write the part of docs/results.md on controls, valence, poolings and several groups.

python docs/make_further.py RESULTS.jsonl ACCENTS.jsonl    # made by the commands that stand in the part
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from make_questions import called, of_kind
from make_results import PAGE, replaced

from speechbias.results import read_records

PART = "further"
Record = Mapping[str, Any]
SHOWN = ("mean", "max", "std")
TEXT = """\
## Controls, valence, poolings, accents

The same test again, and one of three accents of FSDD (four voices in all).

```
speechbias measure ../shared/models/whisper-tiny.en runs/*/checkpoints/last stft spectrogram mel mfcc \\
    --stimuli gender.csv --controls -o results.jsonl
speechbias valence results.jsonl -o results.jsonl
speechbias measure ../shared/models/whisper-tiny.en --stimuli gender.csv --pooling max -o results.jsonl    # and others
speechbias stimuli csv=../shared/data/speech/manifest.csv \\
    --x "corpus=FSDD,accent=USA/neutral" --y "corpus=FSDD,accent!=USA/neutral" \\
    --a "corpus=RAVDESS,valence=positive" --b "corpus=RAVDESS,valence=negative" -o accents.csv
speechbias measure ../shared/models/whisper-tiny.en --stimuli accents.csv -o accents.jsonl
speechbias groups accents.jsonl --stimuli accents.csv --by accent -o accents.jsonl
```

**Noise and twins.** *Noise*: d of speech against white noise of equal lengths and levels. *Twin*: d of the same
network with untrained weights, and the difference with its interval. Every model tells speech from noise; that
training made a difference to d is shown in none.

{controls}

**Predicted valence.** A ridge regression learns positive against negative from the RAVDESS clips, judged by talkers
that it has not heard, and is then asked about the targets: the gap is women less men, in SDs of its predictions.

{valence}

**Other poolings over time** of whisper-tiny.en, as SpEAT tried them:

{poolings}

None is associated; what d is hangs on the pooling.

**Three accents** of digits (15 clips of each voice, two voices of USA/neutral, one of each other):

{accents}

With one voice of an accent nothing can be shown, and the command says so."""


def main(results: Path, accents: Path) -> None:
    """Write the part."""
    records = read_records(results)
    part = TEXT.format(
        controls=controls(records),
        valence=valence(records),
        poolings=poolings(records),
        accents=groups(read_records(accents)),
    )
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), PART, part), encoding="utf-8")


def controls(records: Sequence[Record]) -> str:
    """A row per model."""
    made = {(each["of"], each["control"]): each for each in of_kind(records, "control") if "of" in each}
    names = {each["of"]: each for each in of_kind(records, "control") if each.get("control") == "noise"}
    bias = {each["model_sha256"]: each for each in of_kind(records, "bias")}
    lines = ["| model | noise, d | twin, d | d less the twin's |", "| --- | ---: | ---: | --- |"]
    for key, noise in names.items():
        twin = made.get((key, "twin"), {})
        cells = ("-", "-")
        if twin.get("twin"):
            less = twin["difference"]
            cells = (f"{twin['twin']['d']:+.2f}", f"{less['d']:+.2f} [{less['ci_low']:.2f}, {less['ci_high']:.2f}]")
        lines.append(f"| {called(bias[noise['model_sha256']])} | {noise['noise']['d']:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def valence(records: Sequence[Record]) -> str:
    """A row per model; no gap where the predictor guesses."""
    lines = [
        "| model | d | told apart by talkers not heard | p | gap | interval | p | attribute p |",
        "| --- | ---: | --- | ---: | ---: | --- | ---: | ---: |",
    ]
    bias = {each["model_sha256"]: each for each in of_kind(records, "bias")}
    for each in of_kind(records, "valence"):
        sure = f"{each['balanced_accuracy']:.2f} [{each['accuracy_low']:.2f}, {each['accuracy_high']:.2f}]"
        gap = ["guesses", "-", "-", "-"]
        if each["p_predictor"] < 1 - each["confidence"]:
            interval = f"{each['ci_low']:.2f}, {each['ci_high']:.2f}"
            gap = [f"{each['gap_sd']:+.2f}", interval, f"{each['p_value']:.2g}", f"{each['p_attribute']:.2g}"]
        name = called(bias[each["model_sha256"]])
        lines.append(f"| {name} | {each['d']:+.2f} | {sure} | {each['p_predictor']:.2g} | {' | '.join(gap)} |")
    return "\n".join(lines)


def poolings(records: Sequence[Record]) -> str:
    """A row per pooling of the Whisper encoder."""
    found = {
        each["recipe"].get("pooling", "mean"): each
        for each in of_kind(records, "bias")
        if each["family"] == "whisper" and each["layer"] == "mean"
    }
    lines = ["| over time | d | 95 % interval | p | attribute p |", "| --- | ---: | --- | ---: | ---: |"]
    for name in SHOWN:
        each = found[name]
        lines.append(
            f"| {name} | {each['d']:+.2f} | {each['ci_low']:+.2f} to {each['ci_high']:+.2f} "
            f"| {each['p_value']:.2g} | {each['p_attribute']:.2g} |"
        )
    return "\n".join(lines)


def groups(records: Sequence[Record]) -> str:
    """A row per comparison of the accents."""
    (found,) = of_kind(records, "groups")
    lines = ["| | d | p | adjusted | attribute p | adjusted |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for each in found["contrasts"]:
        ps = (each[name] for name in ("p_value", "p_adjusted", "p_attribute", "p_attribute_adjusted"))
        numbers = " | ".join(f"{p:.2g}" for p in ps)
        lines.append(f"| {each['first']} - {each['second']} | {each['d']:+.2f} | {numbers} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
