"""The page: one HTML file without network, scripts from elsewhere, audio or names of people.

It begins with the answer, then says on whom and with what, then gives the numbers, the plots and how to read them.
The template is ``templates/page.html.jinja``; it gets texts, sentences with marked names and records, never markup
other than what ``names.as_html`` and ``style.inline`` escaped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from speechbias.report.comparisons import Compared, by_heading, levels
from speechbias.report.controls import HEADER
from speechbias.report.controls import NOTE as CONTROLS_NOTE
from speechbias.report.drivers import NONE
from speechbias.report.extras import Extras
from speechbias.report.grid import Column, Grid, Row
from speechbias.report.groups_figure import figure_note
from speechbias.report.heatmap import NOTE
from speechbias.report.layers import profiles, state_associated
from speechbias.report.layout import confidence_text
from speechbias.report.names import as_html, clean, redact
from speechbias.report.numerals import (
    count,
    format_d,
    format_interval,
    format_p,
    format_percent,
    format_rate,
    format_rates,
    format_small,
)
from speechbias.report.options import shorten_hash
from speechbias.report.population import collect_notices, describe_encoders, describe_populations, group_recipes
from speechbias.report.sentences import (
    answer,
    ask,
    describe_direction,
    describe_floors,
    flag_talkers,
    pooling_words,
    size_word,
    tally,
    verdict,
)
from speechbias.report.style import inline
from speechbias.report.utility import describe_speakers, shown_gaps
from speechbias.results import BiasResult

TEMPLATES = Path(__file__).parent / "templates"
NOTHING = Extras()
UNFOLDED = 8  # answers per test that are shown at once; more are folded below a sentence that counts them


@dataclass(frozen=True)
class Answer:
    """One sentence of the answer."""

    row: Row
    record: BiasResult
    verdict: str
    sentence: Markup


@dataclass(frozen=True)
class ColumnView:
    """What the page says of one test."""

    label: str
    question: Markup
    tally: Markup  # "" where the answers themselves are few enough
    answers: tuple[Answer, ...]
    limits: tuple[Markup, ...]
    populations: tuple[Any, ...]


def render_page(
    grid: Grid,
    figures: Mapping[str, bytes],
    *,
    title: str | None = None,
    captions: Mapping[str, str],
    extras: Extras = NOTHING,
) -> str:
    """Return the page; ``figures`` holds the SVG of ``forest`` and what else there is.

    ``captions`` of ``steps``, ``pruning``, ``students``, ``tradeoff``: empty where there is no such figure;
    ``extras`` have sections of their own.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= _filters()
    return environment.get_template("page.html.jinja").render(
        _context(grid, figures, title) | {"states_note": NOTE, **captions} | _extra(extras)
    )


def _extra(extras: Extras) -> dict[str, Any]:
    return {
        "audits": extras.audits,
        "adjusted": extras.adjusted,
        "compared": list(by_heading(extras.compared)),
        "compared_level": levels(extras.compared),
        "conclusion": _conclude(extras.compared),
        "utilities": extras.utilities,
        "utility_gaps": [(each, gap) for each in extras.utilities for gap in shown_gaps(each)],
        "more_gaps": sum(len(each.gaps) - len(shown_gaps(each)) for each in extras.utilities),
        "utility_speakers": describe_speakers(extras.utilities),
        "utility_tests": list(dict.fromkeys(column for each in extras.utilities for column in each.ds)),
        "drivers": extras.drivers,
        "questions": [(f"groups-{place}", each, figure_note(each)) for place, each in enumerate(extras.questions)],
        "slopes": extras.slopes,
        "valences": extras.valences,
        "valence_sentences": [as_html(sentence) for sentence in extras.valences.sentences],
        "told_apart": any(leak != NONE for each in extras.drivers for leak in each.leaks),
        "pooled_otherwise": any(each.poolings != NONE for each in extras.drivers),
        "controls": extras.controls,
        "controls_header": HEADER,
        "controls_note": CONTROLS_NOTE,
        "unfolded": UNFOLDED,
    }


def _conclude(compared: Sequence[Compared]) -> str:
    """What the comparisons come to, in a sentence."""
    found = sum(each.verdict == "differs" for each in compared)
    of = count(len(compared), "comparison")
    return f"A difference was shown in {found} of {of}." if found else f"No difference was shown in {of}."


def default_title(grid: Grid) -> str:
    """Name the model where there is one, else count."""
    models = list(dict.fromkeys(row.model for row in grid.rows))
    subject = models[0] if len(models) == 1 else count(len(models), "speech encoder")
    return f"Social associations in the representations of {subject}"


def _filters() -> dict[str, Any]:
    return {
        "d": format_d,
        "p": lambda p, record: format_p(p, alpha=record.alpha),
        "small": format_small,
        "interval": lambda pair: format_interval(*pair),
        "percent": format_percent,
        "hash": shorten_hash,
        "verdict": verdict,
        "marked": as_html,
        "rate": format_rate,
        "rates": format_rates,
        "word": size_word,
        "state_associated": state_associated,
    }


def _context(grid: Grid, figures: Mapping[str, bytes], title: str | None) -> dict[str, Any]:
    warnings, skipped = collect_notices(grid)
    measurements = grid.measurements()
    records = [record for _, _, record in measurements]
    return {
        "title": clean(title) if title else default_title(grid),
        "style": _source("page.css"),
        "script": _source("page.js"),
        "summary": _summarise(records),
        "tests": [_view_test(grid, column) for column in grid.columns],
        "encoders": describe_encoders(grid),
        "recipes": group_recipes(describe_encoders(grid)),
        "grid": grid,
        "measurements": measurements,
        "confidence": confidence_text(grid),
        "alphas": " or ".join(dict.fromkeys(f"{record.alpha:.6g}" for record in records)),
        "states": _list_states(grid),
        "figures": {name: _inline_figure(svg, name) for name, svg in figures.items()},
        "warnings": warnings,
        "skipped": skipped,
        "versions": _versions(records),
        "pooled": pooling_words(grid),
        "one_state": [row.label for row in grid.rows if not _has_states(grid, row)],
    }


def _source(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704 - a file of this package


def _summarise(records: list[BiasResult]) -> str:
    found = sum(record.associated for record in records)
    reverse = sum(record.associated and record.d < 0 for record in records)
    if len(records) == 1:
        return "An association was found." if found else "No association was found."
    text = f"An association was found in {found or 'none'} of {len(records)} measurements"
    ending = {0: "", 1: "; one of them is reversed"}.get(reverse, f"; {reverse} of them are reversed")
    return f"{text}{ending}."


def _view_test(grid: Grid, column: Column) -> ColumnView:
    cells = grid.column_cells(column)
    answers = [Answer(row, record, verdict(record), as_html(answer(record))) for row, record in cells]
    counted = tally([record for _, record in cells]) if len(answers) > UNFOLDED else ""
    limits: dict[str, None] = {}
    for _, record in cells:
        texts = (
            describe_direction(record),
            *describe_floors(record),
            flag_talkers(record),
        )
        limits |= dict.fromkeys(text for text in texts if text)
    return ColumnView(
        label=column.label,
        question=as_html(ask(cells[0][1])),
        tally=as_html(counted),
        answers=tuple(sorted(answers, key=lambda each: not each.record.associated) if counted else answers),
        limits=tuple(as_html(text) for text in limits),
        populations=tuple(describe_populations(grid, column)),
    )


def _list_states(grid: Grid) -> list[tuple[Column, Row, tuple[BiasResult, ...]]]:
    return [(column, row, records) for column, lines in profiles(grid).items() for row, records in lines]


def _has_states(grid: Grid, row: Row) -> bool:
    return any(row == other and len(records) > 1 for (other, _), records in grid.states.items())


def _inline_figure(svg: bytes, name: str) -> Markup:
    labels = {
        "forest": "Forest plot: d with its interval per test and encoder. The table below holds the same numbers.",
        "steps": "Curves: d against training steps, a panel per test. steps.svg and results.csv hold the same.",
        "steps-layers": "Map: d by hidden state and training step. results.csv holds the numbers.",
        "pruning": "Curves: d against parameters removed, a panel per test and way of pruning. results.csv has them.",
        "students": "Points: d of students and teachers, and differences, a panel per teacher. students.csv has them.",
        "tradeoff": "Points: d without its sign against phone error rate, a panel per test. tradeoff.csv has them.",
        "layers": "Profile: d with its interval per hidden state, a panel per test. A table below holds the numbers.",
    }
    label = labels.get(name, "Groups compared, a panel per encoder. The table below holds the numbers.")
    return Markup(inline(svg, name=name, label=str(escape(label))))  # noqa: S704 - our own drawing, escaped


def _versions(records: list[BiasResult]) -> list[tuple[str, str]]:
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for name, version in record.versions.items():
            found.setdefault(clean(name), {})[redact(str(version))] = None
    return [(name, ", ".join(versions)) for name, versions in found.items()]
