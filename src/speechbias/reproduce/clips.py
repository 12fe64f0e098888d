"""Which clips a table is of: stimuli that were changed leave measurements of two sets under one name of a test."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from speechbias.audio import inspect_audio
from speechbias.errors import InputError
from speechbias.reproduce.rows import column_of
from speechbias.results import BiasResult
from speechbias.stimuli import StimulusSet, read_stimuli, stimuli_sha256


def clips_sha256(path: Path) -> str | None:
    """What records call the stimuli of a CSV; None where it, or a clip of it, is not there to be compared."""
    try:
        return _sha256_of(path, path.stat().st_mtime_ns)
    except (InputError, OSError):
        return None


@cache
def _sha256_of(path: Path, _changed: int) -> str:
    """The hash of a test's clips: seconds for hundreds of them, so once while the CSV stays as it is."""
    return sha256_of_test(read_stimuli(path))


def sha256_of_test(test: StimulusSet) -> str:
    """What records call its stimuli. The audio is read; InputError where a clip is not there."""
    return stimuli_sha256(test, {clip.path: inspect_audio(clip.path).sha256 for clip in test.stimuli})


def of_one_set(records: Sequence[BiasResult], stimuli: Iterable[Path] = ()) -> tuple[list[BiasResult], list[str]]:
    """The records without those of Age, Native or Gender on other clips than the rest; a line per test that had some.

    Kept are those on the ``stimuli`` (CSVs) as they are now, else on those that were measured last: of several files
    the last one. Records of other tests stay.
    """
    asked: dict[str, dict[str, int]] = {}
    for record in records:
        if column := column_of(record):
            counted = asked.setdefault(column, {})
            counted[record.stimuli_sha256] = counted.pop(record.stimuli_sha256, 0) + 1  # the last measured last
    several = {column: counted for column, counted in asked.items() if len(counted) > 1}
    now = _as_they_are(several, stimuli)
    kept: dict[str, str] = {}
    lines: list[str] = []
    for column, counted in several.items():
        as_now = now.get(column)
        last, which = list(counted)[-1], "that were measured last"
        if as_now is not None and as_now in counted:
            last, which = as_now, "as they are now"
        kept[column] = last
        shown = counted[kept[column]]
        lines.append(
            f"{column}: shown {'is 1 measurement' if shown == 1 else f'are {shown} measurements'} on the stimuli "
            f"{which}; left aside: "
            f"{sum(counted.values()) - shown} on other clips, which stay in their files"
        )
    return [
        record for record in records
        if (column := column_of(record)) not in kept or record.stimuli_sha256 == kept[column]
    ], lines  # fmt: skip


def _as_they_are(columns: Iterable[str], stimuli: Iterable[Path]) -> Mapping[str, str | None]:
    """Of these tests the hashes of the CSVs that are called after them."""
    named = {path.stem.casefold(): path for path in stimuli}
    return {name: clips_sha256(named[name.casefold()]) for name in columns if name.casefold() in named}
