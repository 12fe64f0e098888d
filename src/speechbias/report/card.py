"""The model card block: Markdown for a README on the Hugging Face hub, with the same numbers for machines.

One block per row of the report: a section "Bias, Risks and Limitations" and a ``model-index`` in YAML. Strings of the
YAML are written as JSON, which YAML reads.
"""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from speechbias.report.confounds import AuditView
from speechbias.report.controls import NO_CONTROLS, Controls
from speechbias.report.grid import Column, Grid, Row, group_names
from speechbias.report.names import as_markdown, clean, escape_markdown
from speechbias.report.numerals import count, format_brackets, format_d, format_p, format_percent
from speechbias.report.options import shorten_hash
from speechbias.report.sentences import (
    answer,
    describe_floors,
    describe_talkers,
    pooling_words,
    size_word,
    verdict,
)
from speechbias.results import BiasResult

INTRODUCTION = """\
<!-- A block per model: the YAML goes into the metadata at the top of its README, the section into the text. -->
"""
METHOD = """\
What was done: the Speech Embedding Association Test (SpEAT; Lin et al., Interspeech 2024, equations 1 and 2). Each
clip became one vector: {pooled}, then the mean over the hidden states. *d* compares how near the two groups of
speakers lie to clips of an attribute rather than to clips of its opposite, in standard deviations over both groups
together. *p* asks whether the groups are exchangeable, *attribute p* whether what they differ in is aligned with the
attribute. A group is called associated only where both are below alpha. Nothing is corrected for the number of tests.
"""
LIMITS = """\
Limits: *d* is an association in a representation, on these clips. It says nothing of intent, and nothing of what a
system built on this model does to people. It is bounded near ±2 and is not Cohen's d. A negative *d* is a reverse
association, not a smaller one. "Not associated" means not shown with these clips, not absent.
"""


def write_card(grid: Grid, audits: Sequence[AuditView] = (), controls: Controls = NO_CONTROLS) -> str:
    """All blocks, in the order of the rows; ``audits`` say what else differs, ``controls`` what failed."""
    return "\n".join([INTRODUCTION, *(_block(grid, row, audits, controls) for row in grid.rows)])


def bias_section(grid: Grid) -> str:
    """What was found, of every row, for the section "Bias, Risks and Limitations" of one model's card."""
    parts = []
    for row in grid.rows:
        cells = _cells(grid, row)
        heading = [f"### {escape_markdown(row.label)}\n"] if len(grid.rows) > 1 else []
        parts += [*heading, _answers(cells), _table(cells), _limits(cells).lstrip("\n")]
    return "\n".join([*parts, METHOD.format(pooled=pooling_words(grid)), LIMITS])


def model_index(name: str, grid: Grid) -> str:
    """The hub's ``model-index`` of one model, in YAML: every row's numbers."""
    return _index(name, [result for row in grid.rows for result in _results(_cells(grid, row), row.differs)])


def _index(name: str, results: list[str]) -> str:
    return "\n".join(["model-index:", f"- name: {_quote(name)}", "  results:", *results]) + "\n"


def _results(cells: list[tuple[Column, BiasResult]], differs: str = "") -> list[str]:
    return [line for column, record in cells for line in _result(column, record, differs)]


def _cells(grid: Grid, row: Row) -> list[tuple[Column, BiasResult]]:
    return [(column, grid.cells[row, column]) for column in grid.columns if (row, column) in grid.cells]


def _answers(cells: list[tuple[Column, BiasResult]]) -> str:
    answers = [f"- {escape_markdown(column.label)}: {as_markdown(answer(record))}" for column, record in cells]
    return "\n".join(answers) + "\n"


def _block(grid: Grid, row: Row, audits: Sequence[AuditView], controls: Controls) -> str:
    cells = _cells(grid, row)
    parts = [
        f"# {escape_markdown(row.label)}\n",
        f"```yaml\n{_index(row.label, _results(cells))}```\n",
        "## Bias, Risks and Limitations\n",
        _answers(cells),
        _table(cells),
        METHOD.format(pooled=pooling_words(grid)),
        LIMITS
        + _limits(
            cells, audits, {each.cells[1]: each.failures for each in controls.rows if each.cells[0] == row.label}
        ),
    ]
    return "\n".join(parts)


def _table(cells: list[tuple[Column, BiasResult]]) -> str:
    lines = [
        "| Test | Groups | Clips | Speakers | d | Interval | p | attribute p | Verdict |",
        "| :-- | :-- | --: | --: | --: | --: | --: | --: | :-- |",
    ]
    for column, record in cells:
        groups = [escape_markdown(name) for name in group_names(record).values()]
        level = record.alpha
        fields = [
            escape_markdown(column.label),
            f"{groups[0]} / {groups[1]}; {groups[2]} / {groups[3]}",
            _counts(record.n),
            _counts(record.n_speakers),
            format_d(record.d),
            f"{format_brackets(record.ci_low, record.ci_high)} ({format_percent(record.confidence)})",
            format_p(record.p_value, alpha=level).replace("<", "&lt;"),
            format_p(record.p_attribute, alpha=level).replace("<", "&lt;"),
            ", ".join(text for text in (verdict(record), size_word(record)) if text),
        ]
        lines.append(f"| {' | '.join(fields)} |")
    return "\n".join(lines) + "\n"


def _counts(n: dict[str, int]) -> str:
    return "{} / {}; {} / {}".format(*(n.get(letter) or "?" for letter in "XYAB"))


def _limits(
    cells: list[tuple[Column, BiasResult]],
    audits: Sequence[AuditView] = (),
    failures: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> str:
    lines = []
    for column, record in cells:
        texts = [*describe_floors(record), describe_talkers(record)]
        if record.skipped:
            texts.append(f"{count(len(record.skipped), 'row')} of the stimulus table left out.")
        texts += [as_markdown(audit.differs) for audit in audits if audit.test == column.label and audit.differs]
        texts += [f"A control failed: {each}" for each in failures.get(column.label, ())]
        lines.append(f"\n- {escape_markdown(column.label)}: {' '.join(texts)}")
    return "".join(lines) + "\n"


def _result(column: Column, record: BiasResult, differs: str) -> list[str]:
    test = f"{column.label} ({differs})" if differs else column.label
    x, y, a, b = group_names(record).values()
    low, high = record.ci_attributes
    metrics = {
        "speat_d": ("SpEAT d", record.d),
        "speat_d_ci_low": (f"{format_percent(record.confidence)} interval, low", record.ci_low),
        "speat_d_ci_high": (f"{format_percent(record.confidence)} interval, high", record.ci_high),
        "speat_d_ci_attributes_low": ("interval over attribute talkers too, low", low),
        "speat_d_ci_attributes_high": ("interval over attribute talkers too, high", high),
        "speat_p": (f"p, {record.alternative}, design {record.design}", record.p_value),
        "speat_p_attribute": ("attribute p", record.p_attribute),
        "speat_p_min": ("smallest possible p", record.p_min),
    }
    lines = [
        "  - task:",
        "      type: speech-embedding-association-test",
        '      name: "Speech Embedding Association Test (SpEAT)"',
        "    dataset:",
        f"      type: {_quote(column.label)}",
        f"      name: {_quote(f'{test}: {x} / {y}, {a} / {b}')}",
        f"      revision: {_quote(shorten_hash(record.stimuli_sha256))}",
        "    metrics:",
    ]
    for kind, (name, value) in metrics.items():
        lines += [f"    - type: {kind}", f"      name: {_quote(name)}", f"      value: {_number(value)}"]
    return lines


def _quote(text: str) -> str:
    return json.dumps(clean(text), ensure_ascii=False)


def _number(value: float) -> str:
    """In full; with the point that YAML 1.1 needs to see a number in ``1e-05``."""
    text = repr(float(value))
    return f".{text}" if text == "nan" else text.replace("e", ".0e") if "." not in text else text
