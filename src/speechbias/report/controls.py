"""What a report says of its controls: records of kind ``control``, on top those that failed, and a table of them all.

``vectors``: a planted association, shuffled attributes; ``noise``: speech against it; ``twin``: the untrained model.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechbias.report.grid import FEATURES, Grid
from speechbias.report.names import clean, escape_markdown, model_name, redact
from speechbias.report.numerals import count, format_d, format_interval, format_p_equation
from speechbias.results import BiasResult

Record = Mapping[str, Any]
VECTORS, NOISE, TWIN = "vectors", "noise", "twin"
MISSED = "a planted association would not have been found with these clips, so none found says nothing."
ALARMED = "shuffled attributes are called associated too often: do not trust a small p here."
DEAF = "embeddings do not tell speech from noise, so no d of them means much."
BORN = "no difference from the untrained twin was shown, so this d need not come of training."
COLUMN_OF = {MISSED: 2, ALARMED: 3, DEAF: 5, BORN: 7}  # of ``HEADER``
FAILURES = tuple(COLUMN_OF)
NONE = "-"
NAMED = 4  # encoders that a sentence on a failure names
HEADER = ("Encoder", "Test", "Planted", "Shuffled", "d of shuffles", "Noise, d", "Twin, d", "d less the twin's")
NOTE = (
    "Planted: whether an association that is put into the vectors of X and Y is found. Shuffled: of relabellings of "
    "the attribute's clips within talkers, how many have both p's small (in parentheses the first p alone); d that "
    "all but alpha of them stay below. Noise: d of speech against noise of equal lengths and levels. Twin: d of the "
    "same network with untrained weights, one draw; the difference with its interval from resamples that both share."
)


@dataclass(frozen=True)
class ControlRow:
    """One measurement: the texts of its row, in the order of ``HEADER``; what failed, and in which columns."""

    cells: tuple[str, ...]
    failures: tuple[str, ...]

    @property
    def failed(self) -> set[int]:
        """Columns of the controls that failed."""
        return {COLUMN_OF[failure] for failure in self.failures}


@dataclass(frozen=True)
class Controls:
    """What the page says: a sentence ("" where nothing was made), what failed, what is not there, the rows."""

    sentence: str = ""
    failed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    rows: tuple[ControlRow, ...] = ()


NO_CONTROLS = Controls()


@dataclass(frozen=True)
class _Of:
    """One measurement of the table with the records of its controls."""

    label: str
    test: str
    result: BiasResult
    records: Mapping[str, Record]

    def made(self, which: str) -> Record | None:
        """The record of a control that could be made."""
        record = self.records.get(which)
        return record if record and record.get("passed") is not None else None

    @property
    def failures(self) -> Iterator[str]:
        """A sentence for each control that failed."""
        for which, said in ((NOISE, DEAF), (TWIN, BORN)):
            if (record := self.made(which)) and not record["passed"]:
                yield said
        if (record := self.made(VECTORS)) and not record["passed"]:
            yield ALARMED if record["planted"]["associated"] else MISSED


def find_controls(grid: Grid, others: Sequence[Record]) -> Controls:
    """The controls of the measurements in the table; of several records of one control the last counts."""
    known: dict[object, dict[str, Record]] = defaultdict(dict)
    for each in others:
        if each.get("kind") == "control":
            known[_key(each)][str(each.get("control", VECTORS))] = each
    every = [
        _Of(row.label, column.label, result, known.get(result.measurement) or known.get(_old_key(result), {}))
        for row, column, result in grid.measurements()
    ]
    made = [each for each in every if any(map(each.made, (VECTORS, NOISE, TWIN)))]
    return Controls(
        sentence=_summarise(every),
        failed=tuple(_failures(made)),
        missing=tuple(_missing(every)),
        rows=tuple(ControlRow(_cells(each), tuple(each.failures)) for each in made),
    )


def _key(record: Record) -> object:
    return record.get("of") or tuple(str(record.get(name)) for name in OLD)


OLD = ("model_sha256", "stimuli_sha256", "layer", "design")  # of records that do not say of what they are


def _old_key(result: BiasResult) -> object:
    return tuple(str(getattr(result, name)) for name in OLD)


def _summarise(every: Sequence[_Of]) -> str:
    parts = []
    if found := [record for each in every if (record := each.made(VECTORS))]:
        planted = sum(bool(each["planted"]["associated"]) for each in found)
        alone, both = (max(each["shuffled"][key] for each in found) for key in ("p_value", "associated"))
        size = abs(float(found[0]["planted"].get("target") or found[0]["planted"]["d"] or 0))
        parts.append(
            f"a planted association of d = {size:.3g} was found in {planted} of {count(len(found), 'measurement')}; "
            f"with the attribute's clips shuffled, both p values were small in at most {100 * both:.0f} % of the "
            f"shuffles, the first p alone in up to {100 * alone:.0f} %"
        )
    if found := [record for each in every if (record := each.made(NOISE))]:
        parts.append(f"speech was told from noise in {sum(bool(each['passed']) for each in found)} of {len(found)}")
    if found := [record for each in every if (record := each.made(TWIN))]:
        differ = sum((each["difference"]["p_value"] or 1.0) < each["alpha"] for each in found)
        parts.append(f"d differs from that of an untrained twin in {differ} of {len(found)}")
    return f"Controls: {'; '.join(parts)}." if parts else ""


def _failures(made: Sequence[_Of]) -> Iterator[str]:
    """One sentence for each test and way of failing, which names its encoders."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in made:
        for failure in each.failures:
            found[each.test, failure].append(each.label)
    for (test, failure), labels in sorted(found.items(), key=lambda item: FAILURES.index(item[0][1])):
        more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
        yield f"{test} ({', '.join(labels[:NAMED])}{more}): {failure}"


def _missing(every: Sequence[_Of]) -> Iterator[str]:
    """What was not made, why, and the command that makes it."""
    tried = [each.records[VECTORS] for each in every if VECTORS in each.records]
    if lost := [record for record in tried if record.get("passed") is None]:
        why = redact(str(lost[0].get("why", ""))).rstrip(".")
        yield f"Controls could not be made for {len(lost)} of {count(len(every), 'measurement')}. The first: {why}."
    if len(tried) < len(every):
        yield (
            f"No association was planted and nothing shuffled for {len(every) - len(tried)} of "
            f"{count(len(every), 'measurement')}; speechbias report RESULTS.jsonl does it."
        )
    lacking = {
        "speech against noise": sum(_can_be_asked(each.result) and NOISE not in each.records for each in every),
        "an untrained twin": sum(_can_have_twin(each.result) and TWIN not in each.records for each in every),
    }
    if any(lacking.values()):
        which = ", ".join(f"{name} ({lacks} of {len(every)})" for name, lacks in lacking.items() if lacks)
        yield f"Controls that were not made: {which}; speechbias measure MODEL --stimuli CSV --controls does it."


def _can_be_asked(result: BiasResult) -> bool:
    return result.family != "embeddings"


def _can_have_twin(result: BiasResult) -> bool:
    untrained = result.step == 0 or result.model.startswith("random:")
    return _can_be_asked(result) and result.family != FEATURES and not untrained


def _cells(each: _Of) -> tuple[str, ...]:
    planted = shuffled = reached = noise = twin = difference = NONE
    if record := each.made(VECTORS):
        found = record["planted"]
        planted = "found" if found["associated"] else "missed" if found["d"] is not None else "could not be planted"
        shares = (100 * record["shuffled"][key] for key in ("associated", "p_value"))
        shuffled = "{:.0f} % ({:.0f} %)".format(*shares)
        reached = format_d(record["shuffled"]["d"]) if "d" in record["shuffled"] else NONE
    if record := each.made(NOISE):
        noise = "failed" if record["noise"]["d"] is None else format_d(record["noise"]["d"])
    if record := each.made(TWIN):
        twin = format_d(record["twin"]["d"])
        difference = difference_text(record["difference"])
    return each.label, clean(each.test), planted, shuffled, reached, noise, twin, difference


def difference_text(difference: Record) -> str:
    """``-0.31 (-0.60 to -0.02)``; no parentheses where there is no interval."""
    if difference["ci_low"] is None:
        return format_d(difference["d"])
    return f"{format_d(difference['d'])} ({format_interval(difference['ci_low'], difference['ci_high'])})"


def write_controls(controls: Controls) -> str:
    """The same in GitHub's Markdown; "" where nothing is to be said."""
    if not (controls.rows or controls.missing):
        return ""
    said = [f"- **Failed.** {escape_markdown(each)}" for each in controls.failed]
    said += [f"- {escape_markdown(each)}" for each in (controls.sentence, *controls.missing) if each]
    lines = ["## Controls", "", *said, ""]
    if controls.rows:
        lines += [f"| {' | '.join(HEADER)} |", f"| {' | '.join([':--'] * 3 + ['--:'] * 5)} |"]
        lines += [_markdown_row(row) for row in controls.rows]
        lines += ["", f"{NOTE} Bold: failed.", ""]
    return "\n".join(lines)


def _markdown_row(row: ControlRow) -> str:
    cells = (escape_markdown(cell) for cell in row.cells)
    return f"| {' | '.join(f'**{cell}**' if k in row.failed else cell for k, cell in enumerate(cells))} |"


def in_words(records: Sequence[Record]) -> Iterator[str]:
    """A line for a terminal on each control that a model was needed for."""
    for record in records:
        is_noise = record["control"] == NOISE
        if record["family"] == FEATURES and not is_noise:
            continue  # nothing that could be trained
        said = _noise_in_words(record) if is_noise else _twin_in_words(record)
        failed = f"; FAILED: {DEAF if is_noise else BORN}" if record["passed"] is False else ""
        yield f"{record['test']}, {model_name(str(record['model']))}: {said}{failed}"


def _noise_in_words(record: Record) -> str:
    noise = record["noise"]
    if noise is None or noise["d"] is None:
        return f"no d of speech against noise: {record['why']}"
    p = format_p_equation(noise["p_value"], alpha=noise["alpha"])
    return f"speech against noise: d {format_d(noise['d'])}, {p}"


def _twin_in_words(record: Record) -> str:
    if record["twin"] is None:
        return f"no untrained twin: {record['why']}"
    less = difference_text(record["difference"])
    return f"untrained twin: d {format_d(record['twin']['d'])}, d less the twin's {less}"
