"""One split of a corpus: recordings with what was said in them as phones, who spoke, and the groups of the speaker.

Corpora are those of pre-training (``training.sources``). A table may have a column ``phones``, which goes before its
text, and columns of groups; for LibriSpeech SPEAKERS.TXT beside or above its folders tells the readers' sex. What
cannot be used is left out and said: no transcript, words that no lexicon has, files that cannot be read.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from speechbias.audio import Recording
from speechbias.audio.files import read_bytes
from speechbias.audio.members import located
from speechbias.corpora.corpus import suggest
from speechbias.corpora.librispeech import read_speakers
from speechbias.corpora.table import Filter, parse_filter
from speechbias.errors import InputError
from speechbias.probe.transcripts import Spoken, words_of
from speechbias.training.manifest import Manifest
from speechbias.training.scan import Depth
from speechbias.training.shards import is_shards
from speechbias.training.sources import open_corpus
from speechbias.training.tables import TABLE_SUFFIXES, read_table

PHONES = "phones"  # a column
SPEAKERS = "SPEAKERS.TXT"
SYNONYMS = {"sex": "gender"}
VALUES = {"gender": {"f": "female", "m": "male"}}


@dataclass(frozen=True)
class Utterance:
    """``samples`` at 16 kHz; ``sha256`` of the audio's bytes; ``sentence`` is the same where the same is said."""

    key: str  # its path as the source writes it
    path: Recording
    samples: int
    sha256: str
    phones: tuple[str, ...]
    sentence: str
    speaker: str  # blank: unknown
    groups: Mapping[str, str] = field(default_factory=dict)  # by column; none where it is not known


@dataclass(frozen=True)
class LeftOut:
    """What is not used: in which split, and why, as a predicate."""

    split: str
    key: str
    why: str


@dataclass(frozen=True)
class Split:
    """What of a corpus can be used, and what cannot; ``unknown`` counts words that no lexicon has."""

    name: str
    utterances: tuple[Utterance, ...]
    left_out: tuple[LeftOut, ...] = ()
    unknown: Counter[str] = field(default_factory=Counter)


class Reader(Protocol):
    """From what a row says to phones."""

    def text(self, text: str) -> Spoken:
        """Of a transcript."""

    def phones(self, phones: str, where: str) -> tuple[str, ...]:
        """Of a column ``phones``; ``where`` names the row in errors."""


@dataclass(frozen=True)
class Opening:
    """How corpora are opened."""

    scan: Depth = "whole"
    workers: int = 1
    cache: Path | None = None  # what a scan found out
    progress: bool = False
    groups: Sequence[str] = ()


def open_split(name: str, sources: Sequence[str], rows: str | None, reader: Reader, how: Opening) -> Split:
    """The utterances of a split in the order of its sources. InputError where none can be used."""
    parts = [_open_source(name, Path(source), rows, reader, how) for source in sources]
    whole = Split(
        name,
        tuple(each for part in parts for each in part.utterances),
        tuple(each for part in parts for each in part.left_out),
        sum((part.unknown for part in parts), Counter()),
    )
    if not whole.utterances:
        reasons = Counter(each.why.partition(":")[0] for each in whole.left_out)
        why = ", ".join(f"{reason}: {count}" for reason, count in reasons.most_common(3)) or "there are none"
        raise InputError(
            f"[probe] {name}: none of the recordings of {', '.join(sources)} can be used ({why}); give recordings "
            "with a transcript (a column text or phones, LibriSpeech's *.trans.txt)"
        )
    return whole


def _open_source(name: str, source: Path, rows: str | None, reader: Reader, how: Opening) -> Split:
    wanted = parse_filter(rows) if rows is not None else {}
    columns = _columns(source)
    where = f"[probe] {name}_rows"
    manifest = open_corpus(
        source,
        depth=how.scan,
        workers=how.workers,
        cache=how.cache,
        progress=how.progress,
        only=_matcher(where, source, wanted, columns) if wanted else None,
    )
    if not len(manifest):
        raise InputError(f"{where}: no recording of {source} has {rows}; relax the filter")
    columns = columns or _librispeech(source, manifest)
    left_out = [LeftOut(name, each.name, each.why) for each in manifest.unreadable]
    unknown: Counter[str] = Counter()
    said: list[tuple[int, tuple[str, ...], str]] = []
    for row in range(len(manifest)):
        key = manifest.key(row)
        spoken, sentence = _spoken(key, manifest.transcripts[row], columns.get(key, {}), source, reader)
        unknown.update(spoken.unknown)
        if spoken.phones:
            said.append((row, spoken.phones, sentence))
        else:
            left_out.append(LeftOut(name, key, _why(spoken)))
    hashes = _hashes([manifest.path(row) for row, _, _ in said], how.workers)
    made = (
        Utterance(
            manifest.key(row),
            manifest.path(row),
            int(manifest.num_samples[row]),
            sha256,
            phones,
            sentence,
            manifest.speakers[row],
            _groups(columns.get(manifest.key(row), {}), how.groups),
        )
        for (row, phones, sentence), sha256 in zip(said, hashes, strict=True)
    )
    return Split(name, tuple(made), tuple(left_out), unknown)


def _why(spoken: Spoken) -> str:
    if spoken.unknown:
        return f"has words that are in no lexicon: {' '.join(spoken.unknown)}"
    return "has no transcript"


def _spoken(key: str, text: str, row: Mapping[str, str], source: Path, reader: Reader) -> tuple[Spoken, str]:
    """Phones of one recording, and by what it is known that the same is said elsewhere."""
    if given := row.get(PHONES, ""):
        phones = reader.phones(given, f"{source}, {key}")
        return Spoken(phones), " ".join(phones)
    words = words_of(text)
    return (reader.text(text), " ".join(words)) if words else (Spoken(None), "")


def _columns(source: Path) -> dict[str, dict[str, str]]:
    """The row of every recording of a table, by its key; none for other sources."""
    if source.suffix not in TABLE_SUFFIXES or source.is_dir():
        return {}
    rows, file = read_table(source)
    return {row[file]: row | {"path": row[file]} for row in rows}


def _matcher(
    where: str, source: Path, wanted: Filter, columns: Mapping[str, Mapping[str, str]]
) -> Callable[[str], bool]:
    """Whether a recording is wanted, by its key. InputError for a column that the source does not have."""
    known = next(iter(columns.values())) if columns else {"path": ""}
    for column in wanted:
        if column not in known:
            raise InputError(f"{where}: {source} has no column `{column}`. {suggest(column, known)}")

    def matches(key: str) -> bool:
        row = columns.get(key, {}) if columns else {"path": key}
        return all(fnmatchcase(row.get(column, ""), value) for column, value in wanted.items())

    return matches


def _librispeech(source: Path, manifest: Manifest) -> dict[str, dict[str, str]]:
    """The sex of LibriSpeech's readers, by key, where SPEAKERS.TXT lies in the folder or up to two above it."""
    if not source.is_dir() or is_shards(source):
        return {}
    folder = source.absolute()
    found = next((each / SPEAKERS for each in (folder, *folder.parents[:2]) if (each / SPEAKERS).is_file()), None)
    if found is None:
        return {}
    sexes = read_speakers(found)
    rows = ((manifest.key(row), sexes.get(manifest.speakers[row])) for row in range(len(manifest)))
    return {key: {"gender": sex} for key, sex in rows if sex}


def _groups(row: Mapping[str, str], wanted: Sequence[str]) -> dict[str, str]:
    """The groups of one recording, by the columns that are asked for; an age in years is its decade."""
    named: dict[str, str] = {}
    for column, value in row.items():
        name = SYNONYMS.get(column.lower(), column.lower())
        named[name] = value.strip() or named.get(name, "")
    found = {}
    for column in wanted:
        name = SYNONYMS.get(column.lower(), column.lower())
        value = named.get(name, "")
        value = VALUES.get(name, {}).get(value.lower(), value)
        if name == "age" and value.isascii() and value.isdigit():
            value = f"{int(value) // 10 * 10}-{int(value) // 10 * 10 + 9}"
        if value:
            found[column] = value
    return found


def _hashes(paths: Iterable[Recording], workers: int) -> list[str]:
    def sha256(path: Recording) -> str:
        return hashlib.sha256(read_bytes(located(path))).hexdigest()

    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(sha256, paths))
