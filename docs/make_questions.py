"""Write the part of docs/results.md on what lies behind the d's of real speech, from results files.

python docs/make_questions.py RESULTS.jsonl REMOVED.jsonl    # made by the commands that stand in the part
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from make_results import PAGE, replaced

from speechbias.results import read_records

PART = "questions"
Record = Mapping[str, Any]
TEXT = """\
## Is it bias, or the recording?

The test of above, women and men of LibriSpeech against RAVDESS clips: what else differs between the groups, whether
models differ, what d hangs on, and what is left of it when what tells the groups apart is removed.

```
speechbias measure ../shared/models/whisper-tiny.en runs/*/checkpoints/last stft spectrogram mel mfcc \\
    random:melhubert-small --stimuli gender.csv -o results.jsonl
speechbias explain results.jsonl -o results.jsonl
speechbias leakage results.jsonl -o results.jsonl
speechbias compare results.jsonl -o results.jsonl
speechbias controls results.jsonl -o results.jsonl
speechbias confounds results.jsonl --covariates duration,rate -o results.jsonl
speechbias report results.jsonl -o report
```

**The recordings.** Difference of the groups' means in SDs within groups, with its interval over speakers:

{audit}

With five speakers a side intervals are wide; that women's voices are higher is what the groups are. The negative
clips are louder, so being near to *positive* may in part be being quiet.

**d with duration and rate held equal, and what it hangs on.** `half of it`: how few dimensions make up half of the
difference of means; `told apart`: balanced accuracy of a linear probe on speakers that it has not heard, 0.5 by
guessing.

{drivers}

The untrained model stands there as a control: what its d is needs no training. Would an association be found with
these clips? One of d = 1.5, planted in the vectors, is found in {planted} of {models} models (`speechbias controls`):
p cannot go below 0.0079 with 5 + 5 speakers, and attribute p is hardly small with 4 talkers. **None found says little
here.**

**Do models differ?** Paired differences to whisper-tiny.en, p by Holm over all: {compared}. With 5 + 5 speakers
nothing can be told.

**Removal.** LEACE fitted on {fitted} clips of {speakers} speakers (`stimuli split` makes the halves), measured on the
other speakers:

```
speechbias stimuli split gender.csv -o split
speechbias remove MODEL --fit split/gender-scored.csv -o without/NAME
speechbias measure MODEL without/NAME --stimuli split/gender-held-back.csv -o removed.jsonl
speechbias leakage removed.jsonl -o removed.jsonl
```

{removed}

{verdict}"""


def main(results: Path, removed: Path) -> None:
    """Write the part."""
    records, others = read_records(results), read_records(removed)
    compared = [each for each in records if each["kind"] == "comparison"]
    planted = [each for each in of_kind(records, "control") if each.get("planted")]
    least, most = min(each["p_holm"] for each in compared), max(each["p_holm"] for each in compared)
    erased = [each["recipe"] for each in of_kind(others, "bias") if "removal" in each["recipe"]]
    facts = erased[0]["removal"]
    before, after = leaks_of(others, erased=False), leaks_of(others, erased=True)
    lower = sum(after[name] < before[name] for name in before)
    part = TEXT.format(
        audit=audit(of_kind(records, "confounds")[0]),
        drivers=drivers(records),
        planted=sum(each["planted"]["associated"] for each in planted),
        models=len(planted),
        compared=f"{least:.2g}" if least == most else f"{least:.2g} to {most:.2g}",
        fitted=sum(facts["classes"].values()),
        speakers=facts["speakers"],
        removed=removals(others),
        verdict=(
            f"The linear probe tells the groups less well in {lower} of {len(before)} models. Fitted on so few\n"
            "speakers, LEACE removes what tells *these* apart; that it removes what tells women and men apart\n"
            "is not shown here. With many voices it does (tests/test_leakage.py, made up)."
        ),
    )
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), PART, part), encoding="utf-8")


def of_kind(records: Iterable[Record], kind: str) -> list[Record]:
    """Records of one kind."""
    return [each for each in records if each["kind"] == kind]


def audit(record: Record) -> str:
    """A row per covariate."""
    groups = record["groups"]
    lines = [f"| | {groups['X']} - {groups['Y']} | {groups['A']} - {groups['B']} |", "| --- | --- | --- |"]
    for each in record["covariates"]:
        cells = [side_text(each[side]) for side in ("targets", "attributes")]
        lines.append(f"| {each['label']} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "\\* beyond 0.5"])


def side_text(side: Record) -> str:
    """A difference with its interval, marked where it is flagged."""
    if side["difference"] is None:
        return "-"
    interval = "" if side["low"] is None else f" [{side['low']:.2f}, {side['high']:.2f}]"
    return f"{side['difference']:+.2f}{interval}{' *' if side['flagged'] else ''}"


def bounds(side: Record) -> str:
    """An interval, or nothing."""
    low, high = side.get("ci_low"), side.get("ci_high")
    return "-" if low is None or high is None else f"{low:.2f}, {high:.2f}"


def drivers(records: Sequence[Record]) -> str:
    """A row per model."""
    adjusted = {each["model_sha256"]: each for each in of_kind(records, "adjusted") if each["layer"] == "mean"}
    why = {each["model_sha256"]: each for each in of_kind(records, "explanation")}
    leaks = {each["model_sha256"]: each for each in of_kind(records, "leakage") if each["probe"] == "linear"}
    lines = [
        "| model | d | adjusted | p | centred | standardised | half of it | without a speaker | told apart |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for each in of_kind(records, "bias"):
        if each["layer"] != "mean":
            continue
        key = each["model_sha256"]
        held, how, told = adjusted[key], why[key], leaks[key]
        low, high = how["leave_one_speaker_out"]
        lines.append(
            f"| {called(each)} | {each['d']:+.2f} | {held['d_adjusted']:+.2f} [{bounds(held)}] "
            f"| {held['p_value']:.2g} "
            f"| {how['alternatives']['centred']:+.2f} | {how['alternatives']['standardised']:+.2f} "
            f"| {how['half_by']} of {how['dim']} | {low:+.2f} to {high:+.2f} | {accuracy(told)} |"
        )
    return "\n".join(lines)


def removals(records: Sequence[Record]) -> str:
    """A row per model, before and after."""
    lines = ["| model | d | 95 % interval | told apart | by a perceptron |", "| --- | ---: | --- | --- | --- |"]
    leaks = {(each["model_sha256"], each["probe"]): each for each in of_kind(records, "leakage")}
    for each in sorted(of_kind(records, "bias"), key=lambda each: (called(each), "removal" in each["recipe"])):
        name = f"{called(each)}, gender removed" if "removal" in each["recipe"] else called(each)
        told = [accuracy(leaks[each["model_sha256"], kind]) for kind in ("linear", "mlp")]
        interval = f"{each['ci_low']:+.2f} to {each['ci_high']:+.2f}"
        lines.append(f"| {name} | {each['d']:+.2f} | {interval} | {told[0]} | {told[1]} |")
    return "\n".join(lines)


def leaks_of(records: Sequence[Record], *, erased: bool) -> dict[str, float]:
    """Balanced accuracy of the linear probe by model, before or after."""
    bias = {each["model_sha256"]: each for each in of_kind(records, "bias")}
    return {
        called(bias[each["model_sha256"]]): each["balanced_accuracy"]
        for each in of_kind(records, "leakage")
        if each["probe"] == "linear" and ("removal" in bias[each["model_sha256"]]["recipe"]) == erased
    }


def called(record: Record) -> str:
    """A run's checkpoint by its run, any other model by its name."""
    return str((record.get("run") or {}).get("name") or record["model"])


def accuracy(record: Record) -> str:
    """With its interval."""
    return f"{record['balanced_accuracy']:.2f} [{record['ci_low']:.2f}, {record['ci_high']:.2f}]"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
