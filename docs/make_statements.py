"""Write the part of docs/results.md on the paper's statements, from records of the real models.

python docs/make_statements.py MODELS.jsonl    # made by the commands that stand in the part
"""

import csv
import sys
import tempfile
from pathlib import Path

from make_results import PAGE, replaced, run

PART = "statements"
TEXT = """\
## The paper's statements on real models

On the pre-trained, pruned and distilled models of above, which are small and had minutes of training, on Gender alone:

```
speechbias measure stft spectrogram mel mfcc runs/*/checkpoints/step-* pruned/*/checkpoints/step-* \\
    students/*/checkpoints/last --stimuli gender.csv -o models.jsonl
speechbias reproduce findings models.jsonl -o findings
python docs/make_statements.py models.jsonl
```

{findings}"""


def main(models: Path) -> None:
    """Write the part."""
    part = TEXT.format(findings=findings(models))
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), PART, part), encoding="utf-8")


def findings(models: Path) -> str:
    """A row per statement that was measured, as the command writes it, and how many were not."""
    with tempfile.TemporaryDirectory() as folder:
        run("reproduce", "findings", str(models), "-o", folder)
        with (Path(folder) / "findings.csv").open(encoding="utf-8") as file:
            found = list(csv.DictReader(file))
    lines = ["| section | statement | on | effect [95 %] | verdict |", "| --- | --- | --- | ---: | --- |"]
    for each in found:
        if each["says"] == "not measured":
            continue
        interval = f" [{float(each['low']):+.2f}, {float(each['high']):+.2f}]" if each["low"] else ""
        over = "" if each["over"] == "stimuli" else " (over runs)"
        effect = f"{float(each['effect']):+.2f}{interval}"
        statement = each["statement"].replace("|", r"\|")
        lines.append(f"| {each['section']} | {statement}{over} | {each['on']} | {effect} | {each['says']} |")
    absent = sum(each["says"] == "not measured" for each in found)
    return "\n".join([*lines, "", f"The other {absent} of {len(found)} take tests or models that are not here."])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
