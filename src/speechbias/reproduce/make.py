"""One table or figure from results files: its files in a folder, and what a terminal shows of it."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from speechbias.errors import InputError
from speechbias.report import write_figure2, write_table4, write_tradeoff
from speechbias.reproduce.clips import of_one_set, sha256_of_test
from speechbias.reproduce.figures import figure1, figure3
from speechbias.reproduce.runs import RunOnDisk, without_unended
from speechbias.reproduce.table1 import is_speats, table1, table1_in_words, write_table1
from speechbias.reproduce.table2 import all_agree, table2, table2_in_words
from speechbias.reproduce.table3 import table3, table3_in_words, write_table3
from speechbias.results import BiasResult, read_records, read_results
from speechbias.stimuli import StimulusSet, read_stimuli

OF_ONE_SET = ("table3", "findings")  # items


@dataclass(frozen=True)
class Made:
    """``agrees`` is False where counts that have no noise are not the paper's."""

    paths: tuple[Path, ...]
    words: RenderableType | None = None
    agrees: bool = True


@dataclass(frozen=True)
class Records:
    """What results files hold: measurements by file, and records of other kinds."""

    measured: Mapping[Path, Sequence[BiasResult]]
    others: Sequence[Mapping[str, Any]]

    @property
    def all(self) -> list[BiasResult]:
        """Every measurement."""
        return [record for found in self.measured.values() for record in found]

    @property
    def places(self) -> dict[str, Path]:
        """By identity of a record, the folder of its results file."""
        return {record.identity: path.parent for path, found in self.measured.items() for record in found}


@dataclass(frozen=True)
class Chosen:
    """Measurements on one set of clips, ``final`` those of models whose training has ended; what was left aside."""

    records: Sequence[BiasResult]
    final: Sequence[BiasResult]
    notes: tuple[str, ...]


def choose(records: Sequence[BiasResult], *, stimuli: Sequence[Path] = (), runs: Sequence[RunOnDisk] = ()) -> Chosen:
    """What Table 3 and the findings are of, with a line for each set of clips and each run that is left aside."""
    kept, notes = of_one_set(records, stimuli)
    notes += [run.in_words() for run in runs if run.unended and any(map(run.has, kept))]
    return Chosen(kept, without_unended(kept, runs), tuple(notes))


def read_all(files: Sequence[Path]) -> Records:
    """Everything in some results files. InputError with the problems of all of them."""
    measured: dict[Path, Sequence[BiasResult]] = {}
    others: list[Mapping[str, Any]] = []
    problems: list[str] = []
    for file in files:
        try:
            measured[file] = read_results(file)
            others += [record for record in read_records(file) if record["kind"] != "bias"]
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    return Records(measured, others)


def find_results(out: Path) -> list[Path]:
    """The results files of what was carried out into ``out``."""
    patterns = ("results.jsonl", "runs/*/results.jsonl", "probed/*/results.jsonl")
    return sorted(path for pattern in patterns for path in out.glob(pattern))


def make(
    item: str, records: Records, out: Path, *, stimuli: Sequence[Path] = (), runs: Sequence[RunOnDisk] = ()
) -> Made:
    """The files of an item below ``out``. ``stimuli``: CSVs of the categories, as far as they are there.

    ``runs``: those of which records may be; the last step of one that has not ended is no row of Table 3.

    InputError where the records do not hold what it takes.
    """
    tests = [read_stimuli(path, skip_bad=True) for path in stimuli if path.exists()]
    if item == "table1":
        counted = table1(tests)
        return Made(write_table1(counted, out), table1_in_words(counted))
    if item == "table2":
        rows = table2()
        return Made((), table2_in_words(rows), all_agree(rows))
    if item in OF_ONE_SET:
        chosen = choose(records.all, stimuli=stimuli, runs=runs)
        return _table3(chosen, tests, out) if item == "table3" else _findings(chosen, records, out)
    return Made(_drawn(item, records, out))


def _table3(chosen: Chosen, tests: Sequence[StimulusSet], out: Path) -> Made:
    cells = table3(chosen.final, published=published(tests, chosen.final))
    return Made(write_table3(cells, out), table3_in_words(cells))


def _findings(chosen: Chosen, records: Records, out: Path) -> Made:
    from speechbias.reproduce.findings import Evidence, find_all  # noqa: PLC0415 (a second that a report needs not)
    from speechbias.reproduce.findings.write import findings_in_words, write_findings  # noqa: PLC0415

    ended = {record.identity for record in chosen.final}
    on_the_way = {record.identity for record in chosen.records} - ended
    found = find_all(Evidence(chosen.records, records.places, records.others, on_the_way))
    return Made(write_findings(found, out), findings_in_words(found))


def _drawn(item: str, records: Records, out: Path) -> tuple[Path, ...]:
    """The files of what has nothing for a terminal."""
    if item == "table4":
        return write_table4(records.others, out)
    if item in {"figure1", "figure3"}:
        return (figure1 if item == "figure1" else figure3)(records.measured, out)
    write = write_figure2 if item == "figure2" else write_tradeoff
    return write(records.all, out, others=records.others)


def published(tests: Sequence[StimulusSet], records: Sequence[BiasResult]) -> Collection[str]:
    """Hashes of those stimuli that are SpEAT's in full, as records that were measured on them have it.

    A hash takes in the audio, which is read only where a record asks for it. Clips that are not there any more were
    measured on by nobody who can show it.
    """
    asked = {record.test.casefold() for record in records}
    found: set[str] = set()
    for test in tests:
        if test.name.casefold() in asked and is_speats(test):
            with suppress(InputError):
                found.add(sha256_of_test(test))
    return found
