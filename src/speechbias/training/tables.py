"""Lists of recordings in files: CSV, TSV and JSON lines with named columns, and fairseq's ``.tsv``.

Columns go by the names that are in use (Common Voice, NeMo, datasets, S3PRL). Lengths in such a table are not used:
they are rounded, of another sample rate, or of the file before it was cut, and the scan knows better. So does it of
fairseq's frame counts; who scans no further than headers takes them for samples at 16 kHz.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechbias.errors import InputError, not_utf8

PATH_COLUMNS = ("file", "path", "audio", "file_path", "audio_filepath", "audio_path", "filename", "wav", "clip")
TEXT_COLUMNS = ("text", "transcript", "transcription", "sentence")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id", "talker", "actor")
LONGEST_COUNT = 15  # digits: more samples than there is audio
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json")


@dataclass(frozen=True, eq=False)
class Listing:
    """What a source names, before anything is opened. ``num_samples``: as the source says, where it does.

    ``missed``: name and why (a predicate) of what could not be looked into on the way.
    """

    folder: Path
    keys: list[str]
    transcripts: list[str]
    speakers: list[str]
    num_samples: NDArray[np.int64] | None = None
    missed: tuple[tuple[str, str], ...] = ()

    def select(self, numbers: Sequence[int]) -> "Listing":
        """Some of the recordings, in this order."""
        keys, transcripts, speakers = (
            [column[number] for number in numbers] for column in (self.keys, self.transcripts, self.speakers)
        )
        samples = None if self.num_samples is None else self.num_samples[list(numbers)]
        return Listing(self.folder, keys, transcripts, speakers, samples, self.missed)


def list_table(path: Path) -> Listing:
    """The rows of a table file; its kind by suffix and first lines."""
    text = _read_text(path)
    if path.suffix == ".tsv" and _is_fairseq(text):
        return _list_fairseq(path, text)
    rows, file = _rows(path, text)
    header = {column: None for row in rows for column in row}
    text_column, speaker = _find_column(header, TEXT_COLUMNS), _find_column(header, SPEAKER_COLUMNS)
    return Listing(path.parent, _column(rows, file), _column(rows, text_column), _column(rows, speaker))


def tsv(rows: Iterable[Sequence[object]]) -> bytes:
    """Rows as lines with tabs between their fields; a tab or a line break within a name is written by its escape."""
    marks = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})
    lines = ("\t".join(str(field).translate(marks) for field in row) + "\n" for row in rows)
    return "".join(lines).encode(errors="surrogateescape")


def read_table(path: Path) -> tuple[list[dict[str, str]], str]:
    """All columns of the same rows, and which of them names the files; fairseq's ``.tsv`` has no other."""
    text = _read_text(path)
    if path.suffix == ".tsv" and _is_fairseq(text):
        return [{"path": key} for key in _list_fairseq(path, text).keys], "path"
    return _rows(path, text)


def _rows(path: Path, text: str) -> tuple[list[dict[str, str]], str]:
    rows = _json_rows(path, text) if path.suffix.startswith(".json") else _csv_rows(path, text)
    if not rows:
        raise InputError(f"{path} has no rows. It needs a header and a row per recording.")
    file = _find_column({column: None for row in rows for column in row}, PATH_COLUMNS)
    if file is None:
        raise InputError(f"{path} has no column {' or '.join(PATH_COLUMNS[:4])}. Name the column of the files `path`.")
    if blank := [number for number, row in enumerate(rows, start=1) if not row.get(file)]:
        raise InputError(f"{path}: `{file}` is blank in recording {blank[0]} ({len(blank)} in all). Remove the row.")
    return rows, file


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist. Give a folder of audio, a table, or fairseq's .tsv.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text ({not_utf8(error)}). Save it as UTF-8 text.") from None


def _is_fairseq(text: str) -> bool:
    """First line: a folder, no column of paths; then ``path<TAB>frames``, or what must be told apart from that."""
    first, *rest = text.split("\n", 2)
    second = rest[0].rstrip("\r") if rest else ""
    names = (name.strip() for name in first.replace(";", ",").split(","))
    return "\t" not in first and (not second or ("\t" in second and _find_column(names, PATH_COLUMNS) is None))


def _list_fairseq(path: Path, text: str) -> Listing:
    first, *lines = text.splitlines() or [""]
    rows = [line.split("\t") for line in lines if line]
    for number, row in enumerate(rows, start=2):
        if len(row) != 2 or not row[1].isascii() or not row[1].isdigit() or len(row[1]) > LONGEST_COUNT:
            said = repr("<TAB>".join(row)[:80])
            raise InputError(f"{path}, line {number}: not `path<TAB>frames` but {said}. Write the manifest again.")
    if not rows:
        raise InputError(f"{path} names no recordings. Write the manifest again.")
    blank = [""] * len(rows)
    frames = np.array([int(row[1]) for row in rows], np.int64)
    return Listing(path.parent / first, [row[0] for row in rows], blank, blank, frames)


def _csv_rows(path: Path, text: str) -> list[dict[str, str]]:
    delimiter = max(",\t;", key=text.split("\n", 1)[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="")
    try:
        return [{key.strip(): (value or "").strip() for key, value in row.items() if key} for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}. Save it as UTF-8 text again.") from None


def _json_rows(path: Path, text: str) -> list[dict[str, str]]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: not one JSON object. Write an object per line.")
        rows.append({key: str(value) for key, value in row.items() if value is not None})
    return rows


def _find_column(header: Iterable[str], names: Iterable[str]) -> str | None:
    columns = {column.lower(): column for column in header}
    return next((columns[name] for name in names if name in columns), None)


def _column(rows: list[dict[str, str]], name: str | None) -> list[str]:
    def value(row: Mapping[str, str]) -> str:
        return row.get(name, "") if name else ""

    return [value(row) for row in rows]
