"""Any CSV or TSV with a row per clip: rows are put into sets by filters, `--x "gender=female"`.

A filter is COLUMN=VALUE, several joined by commas (and). The audio stands in the column path, file, filename or clip,
relative to the table; the speaker in speaker, speaker_id, talker or actor. All other columns are carried along.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from speechbias.corpora.corpus import Clip, Corpus, Part, Request, abbreviate, read_rows, spread, suggest
from speechbias.errors import InputError

PATH_COLUMNS = ("path", "file", "filename", "clip")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "talker", "actor")
_OWN = ("set", "group", "speaker", "pair", "path")  # columns that the stimulus list fills itself

Filter = dict[str, str]


def select(request: Request) -> Part:
    """The sets that have a filter; with ``count`` at most so many clips each, spread over speakers."""
    table = request.folder
    if not table.is_file():
        raise InputError(f"{table} is no file. Give a CSV or TSV with a row per clip: csv=FILE.")
    rows = read_rows(table, delimiter=_find_delimiter(table))
    if not rows:
        raise InputError(f"{table.name} has no rows. It needs a header and a row per clip.")
    if not request.select:
        raise InputError(
            f'Which rows of {table.name}? Give filters, for example --x "gender=female" --y "gender=male".'
        )
    filters = {key: parse_filter(text) for key, text in request.select.items()}
    clips = [_make_clip(table, row) for row in rows]
    stimuli, notes = [], []
    for key, wanted in filters.items():
        _check_filter(table.name, key, wanted, rows)
        matching = [clip for clip, row in zip(clips, rows, strict=True) if _matches(row, wanted)]
        chosen = matching if request.count is None else spread(matching, request.count, request.rng)
        group = _name_group(key, filters)
        stimuli += [clip.place(key, group) for clip in chosen]
        notes.append(f"{key} {group}: {len(chosen)} of {len(matching)} rows with {request.select[key]}")
    return Part(tuple(stimuli), tuple(notes))


def parse_filter(text: str) -> Filter:
    """``gender=female,role=target`` -> {"gender": "female", "role": "target"}."""
    conditions = [part.partition("=") for part in text.split(",") if part.strip()]
    if not conditions or any(not column.strip() or not mark for column, mark, _ in conditions):
        raise InputError(f"The filter {text!r} is not COLUMN=VALUE[,COLUMN=VALUE]. Write for example gender=female.")
    return {column.strip(): value.strip() for column, _, value in conditions}


def _find_delimiter(table: Path) -> str:
    with table.open(encoding="utf-8-sig", errors="replace") as lines:
        header = lines.readline()
    return max(",\t;", key=header.count)


def _make_clip(table: Path, row: Mapping[str, str]) -> Clip:
    path, speaker = _find_column(table.name, row, PATH_COLUMNS), next((c for c in SPEAKER_COLUMNS if c in row), "")
    columns = {column: value for column, value in row.items() if column not in (*_OWN, path, speaker)}
    return Clip(table.parent / row[path], row.get(speaker, ""), columns=columns)


def _find_column(name: str, row: Mapping[str, str], wanted: Sequence[str]) -> str:
    for column in wanted:
        if column in row:
            return column
    raise InputError(f"{name} has no column {' or '.join(wanted)}. Name the column with the audio `path`.")


def _matches(row: Mapping[str, str], wanted: Filter) -> bool:
    return all(row[column] == value for column, value in wanted.items())


def _check_filter(name: str, key: str, wanted: Filter, rows: Sequence[Mapping[str, str]]) -> None:
    for column, value in wanted.items():
        if column not in rows[0]:
            raise InputError(f"{name} has no column `{column}` (--{key.lower()}). {suggest(column, rows[0])}")
        if value not in (values := sorted({row[column] for row in rows})):
            raise InputError(f"{name}: no row has {column}={value} (--{key.lower()}). {suggest(value, values[:20])}")
    if not any(_matches(row, wanted) for row in rows):
        conditions = abbreviate(f"{column}={value}" for column, value in wanted.items())
        raise InputError(f"{name}: no row has {conditions} together (--{key.lower()}). Relax the filter.")


def _name_group(key: str, filters: Mapping[str, Filter]) -> str:
    """The values that tell a set from its counterpart: female, not female target."""
    other = filters.get({"X": "Y", "Y": "X", "A": "B", "B": "A"}[key], {})
    mine = filters[key]
    return " ".join(value for column, value in mine.items() if other.get(column) != value) or " ".join(mine.values())


CORPUS = Corpus(
    name="csv",
    about="any CSV or TSV with a row per clip",
    source="your own recordings",
    licence="yours",
    categories={"rows": select},
    default="rows",
)
