"""Any CSV or TSV with a row per clip: rows are put into sets by filters, `--x "gender=female"`.

A filter is COLUMN=VALUE, several joined by commas (and); COLUMN!=VALUE takes rows with another value, not blank ones.
The audio stands in the column path, file, filename or clip, relative to the table or to ``clips`` beside it, as Common
Voice has it; the speaker in speaker, speaker_id, client_id, talker or actor. All other columns are carried along.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from speechbias.corpora.corpus import Clip, Corpus, Part, Request, abbreviate, read_rows, spread, suggest
from speechbias.errors import InputError

PATH_COLUMNS = ("path", "file", "filename", "clip")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id", "talker", "actor")
_OWN = ("set", "group", "speaker", "pair", "path")  # columns that the stimulus list fills itself

NOT = "!"  # behind the name of a column: another value

Filter = dict[str, str]  # column (with NOT) -> value


def select(request: Request) -> Part:
    """The sets that have a filter; with ``count`` at most so many clips each, spread over speakers.

    With ``each`` X and Y have at most so many of every value of that column, and none of rows where it is blank.
    """
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
        matching = [clip for clip, row in zip(clips, rows, strict=True) if matches(row, wanted)]
        chosen = _draw(table.name, key, matching, request)
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


def matches(row: Mapping[str, str], wanted: Filter) -> bool:
    """Whether a row has these values, and of a column with ``NOT`` another one that is not blank."""
    return all(
        row[column.removesuffix(NOT)] not in {value, ""} if column.endswith(NOT) else row[column] == value
        for column, value in wanted.items()
    )


def _draw(name: str, key: str, clips: Sequence[Clip], request: Request) -> list[Clip]:
    if request.count is None or not request.each or key in "AB":
        return list(clips) if request.count is None else spread(clips, request.count, request.rng)
    kinds: dict[str, list[Clip]] = {}
    for clip in clips:
        if request.each not in clip.columns:
            raise InputError(f"{name} has no column `{request.each}` (--each). {suggest(request.each, clip.columns)}")
        kinds.setdefault(clip.columns[request.each], []).append(clip)
    drawn = (spread(of, request.count, request.rng) for kind, of in sorted(kinds.items()) if kind)
    return [clip for each in drawn for clip in each]


def _find_delimiter(table: Path) -> str:
    with table.open(encoding="utf-8-sig", errors="replace") as lines:
        header = lines.readline()
    return max(",\t;", key=header.count)


def _make_clip(table: Path, row: Mapping[str, str]) -> Clip:
    path, speaker = _find_column(table.name, row, PATH_COLUMNS), next((c for c in SPEAKER_COLUMNS if c in row), "")
    columns = {column: value for column, value in row.items() if column not in (*_OWN, path, speaker)}
    audio = table.parent / row[path]
    in_clips = table.parent / "clips" / row[path]
    return Clip(
        in_clips if in_clips.is_file() and not audio.is_file() else audio, row.get(speaker, ""), columns=columns
    )


def _find_column(name: str, row: Mapping[str, str], wanted: Sequence[str]) -> str:
    for column in wanted:
        if column in row:
            return column
    raise InputError(f"{name} has no column {' or '.join(wanted)}. Name the column with the audio `path`.")


def _check_filter(name: str, key: str, wanted: Filter, rows: Sequence[Mapping[str, str]]) -> None:
    for key_column, value in wanted.items():
        column = key_column.removesuffix(NOT)
        if column not in rows[0]:
            raise InputError(f"{name} has no column `{column}` (--{key.lower()}). {suggest(column, rows[0])}")
        if value not in (values := sorted({row[column] for row in rows})):
            raise InputError(f"{name}: no row has {column}={value} (--{key.lower()}). {suggest(value, values[:20])}")
    if not any(matches(row, wanted) for row in rows):
        conditions = abbreviate(f"{column}={value}" for column, value in wanted.items())
        raise InputError(f"{name}: no row has {conditions} together (--{key.lower()}). Relax the filter.")


def _name_group(key: str, filters: Mapping[str, Filter]) -> str:
    """The values that tell a set from its counterpart: female, not female target."""
    other = filters.get({"X": "Y", "Y": "X", "A": "B", "B": "A"}[key], {})
    mine = filters[key]
    values = {column: f"not {value}" if column.endswith(NOT) else value for column, value in mine.items()}
    return " ".join(value for column, value in values.items() if other.get(column) != mine[column]) or " ".join(
        values.values()
    )


CORPUS = Corpus(
    name="csv",
    about="any CSV or TSV with a row per clip",
    source="your own recordings",
    licence="yours",
    categories={"rows": select},
    default="rows",
)
