"""Synthetic voices with their phones, for the tiny recipe, the demo and tests: no data, no lexicon.

The voices of ``speechbias.synthetic`` speak syllables of which all phones are known. A sentence is said by many; all
who say it stand in one part: every sixth sentence is for dev, the one after it for the test.
"""

import csv
import io
from pathlib import Path

from speechbias.results import write_whole
from speechbias.synthetic import write_stimuli_sets
from speechbias.training.tables import read_table

SPOKEN = {"i": "IY1", "e": "EH1", "a": "AA1", "o": "OW1", "u": "UW1"}  # vowels; consonants are their own phones
PARTS = ("train", "train", "train", "train", "dev", "test")


def write_voices(folder: Path, *, voices: int = 12) -> Path:
    """A table of clips with their phones and parts, and the clips, always the same; what is there stays.

    ``voices`` in each set of the test that is written beside it.
    """
    table = folder / "phones.csv"
    if table.exists():
        return table
    rows: dict[str, dict[str, str]] = {}
    for test in write_stimuli_sets(folder, seed=0, voices=voices):
        rows |= {row["path"]: row for row in read_table(test)[0]}
    sentences = sorted({row["text"] for row in rows.values()})
    part = {text: PARTS[number % len(PARTS)] for number, text in enumerate(sentences)}
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(("path", "speaker", "part", "phones"))
    for path, row in rows.items():
        writer.writerow((path, row["speaker"], part[row["text"]], phones_of(row["text"])))
    write_whole(table, written.getvalue().encode())
    return table


def phones_of(text: str) -> str:
    """``simo, ta`` -> ``S IY1 M OW1 T AA1``."""
    return " ".join(SPOKEN.get(letter, letter.upper()) for letter in text if letter.isalpha())
