"""`speechbias explain`, `leakage`, `valence`, `controls`: what drives the d's of a file, what its vectors can tell."""

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from speechbias.cli.app import app
from speechbias.cli.options import PerLayer, RecordsOut, Results

POOLED, ACCURACY = "pooled otherwise", "A told from B"
LEFT_OUT = ("without a speaker", "without a talker")
FOLDED = {POOLED, ACCURACY, *LEFT_OUT, "interval"}  # columns of several numbers
OF_DRIVERS = (
    "half by: so many of all dimensions make up half of d. cosine: the mean one of two different clips. "
    "centred, scaled: d of the same clips centred, or standardised. without a speaker, a talker: the range of d"
)


@app.command()
def explain(
    results: Results,
    out: RecordsOut = None,
    per_layer: PerLayer = False,
) -> None:
    """Say what drives each d: mean cosines, dimensions, states, people, and what it is in other geometries.

    From the vectors beside the results; no model is loaded. `report` shows the records that -o writes.
    """
    from speechbias.explain import explain as explained

    asked = _asked(results, per_layer=per_layer)
    made = _written(partial(explained, beside=[result for result, _ in asked]), asked, out)
    Console().print(_drivers([record for _, record in made], [_named(result) for result, _ in made]))


class Probe(StrEnum):
    """What is asked."""

    linear = "linear"
    mlp = "mlp"


@app.command()
def leakage(
    results: Results,
    out: RecordsOut = None,
    probe: Annotated[Probe, typer.Option(help="Logistic regression, or a perceptron of one layer.")] = Probe.linear,
    per_layer: PerLayer = False,
    seed: Annotated[int, typer.Option(min=0, help="Of folds, weights and intervals.")] = 0,
) -> None:
    """Ask a probe whether a clip is of X or of Y, of speakers that it has not heard; from the vectors beside results.

    Balanced accuracy, 0.5 by guessing. What tells groups apart need not be aligned with A against B: that is d.
    """
    from speechbias.leakage import measure_leakage

    asked = _asked(results, per_layer=per_layer)
    made = _written(partial(measure_leakage, kind=probe.value, seed=seed), asked, out)
    table = _columns("test", "model", "balanced accuracy", "95 % interval", "speakers", "d")
    for result, each in made:
        interval = f"{each['ci_low']:.2f} to {each['ci_high']:.2f}"
        people = f"{each['n_speakers']['X']} + {each['n_speakers']['Y']}"
        table.add_row(
            each["test"], _named(result), f"{each['balanced_accuracy']:.2f}", interval, people, f"{each['d']:+.2f}"
        )
    Console().print(table)


@app.command()
def valence(
    results: Results,
    out: RecordsOut = None,
    trained_on: Annotated[
        Path | None,
        typer.Option(metavar="OTHER.jsonl", help="Train on A and B of the same models there.", show_default=False),
    ] = None,
    per_layer: PerLayer = False,
    shuffles: Annotated[int, typer.Option(min=1, help="Shuffles of A and B, each trained anew.")] = 10_000,
) -> None:
    """Train a valence predictor on the clips of A and B, and say how far X and Y differ in it; no model is loaded.

    What is predicted is a property of the predictor. A gap of one that guesses on talkers not heard means nothing.
    """
    from speechbias.cli.said import warn
    from speechbias.valence import AT_CHANCE, measure_valence

    asked = _asked(results, per_layer=per_layer)
    others = None if trained_on is None else _asked([trained_on], per_layer=True)
    made = _written(partial(measure_valence, trained_on=others, shuffles=shuffles), asked, out)
    table = _columns("test", "model", "d", "gap (SD)", "interval", "p", "p attr.", ACCURACY, "p")
    warned: set[str] = set()
    for result, each in made:
        gap = [f"{each['gap_sd']:+.2f}", f"{each['ci_low']:+.2f} to {each['ci_high']:+.2f}"]
        gap += [f"{each[key]:.3g}" for key in ("p_value", "p_attribute")]
        if AT_CHANCE in each["warnings"]:
            gap = ["(it guesses)", *[""] * 3]
        table.add_row(
            each["test"],
            _named(result),
            f"{each['d']:+.2f}",
            *gap,
            f"{each['balanced_accuracy']:.2f} ({each['accuracy_low']:.2f} to {each['accuracy_high']:.2f})",
            f"{each['p_predictor']:.3g}",
        )
        warn((f"{each['test']}, {_named(result)}: {text}" for text in each["warnings"]), warned)
    Console().print(table)


@app.command()
def controls(
    results: Results,
    out: RecordsOut = None,
    planted: Annotated[float, typer.Option(help="Size of the d that is planted.")] = 1.5,
    seed: Annotated[int, typer.Option(min=0, help="Of relabellings.")] = 0,
) -> None:
    """Check that a test finds a planted association and none along shuffled attributes, on the vectors beside results.

    `report` says on top where a control failed.
    """
    from speechbias.controls import control

    asked = _asked(results, per_layer=False)
    made = _written(partial(control, planted=planted, seed=seed), asked, out)
    table = _columns("test", "model", "planted: p", "p attr.", "shuffled: p", "both", "control")
    for result, each in made:
        found, shuffled = each["planted"], each["shuffled"]
        numbers = ["-" if found[key] is None else f"{found[key]:.3g}" for key in ("p_value", "p_attribute")]
        shares = [f"{100 * shuffled[key]:.0f} %" for key in ("p_value", "associated")]
        passed = "passed" if each["passed"] else "FAILED"
        table.add_row(each["test"], _named(result), *numbers, *shares, passed)
    Console().print(table)


def _asked(results: list[Path], *, per_layer: bool) -> list[tuple[Any, Path]]:
    """The measurements of some results files, each with the folder of its file."""
    from speechbias.cli.said import collect
    from speechbias.errors import InputError
    from speechbias.results import read_results

    found = collect(read_results, results)
    asked = [
        (result, path.parent)
        for path, measured in zip(results, found, strict=True)
        for result in measured
        if per_layer or result.layer == "mean"
    ]
    if not asked:
        raise InputError("no measurement of the mean over states is here; add --per-layer, or measure first")
    return asked


def _written(
    make: Callable[[Any, Path], dict[str, Any]], asked: list[tuple[Any, Path]], out: Path | None
) -> list[tuple[Any, dict[str, Any]]]:
    """Each measurement and its record, added to a file if one is named.

    What cannot be made of one measurement (a probe where all speak in both groups) is said, and is no reason to go
    without the others; InputError where nothing can be made.
    """
    from speechbias.cli.said import note
    from speechbias.errors import InputError
    from speechbias.results import append_records, check_writable

    if out is not None:
        check_writable(out)
    made: list[tuple[Any, dict[str, Any]]] = []
    problems: list[str] = []
    for result, folder in asked:
        try:
            made.append((result, make(result, folder)))
        except InputError as error:
            problems += error.problems
    if not made:
        raise InputError(*dict.fromkeys(problems))
    for problem in dict.fromkeys(problems):
        note(f"left out: {problem}")
    if out is not None:
        append_records(out, [record for _, record in made])
    return made


def _named(result: Any) -> str:
    name = str(result.called) if result.pooling == "mean" else f"{result.called}, {result.pooling} over time"
    return name if result.layer == "mean" else f"{name}, state {result.layer}"


def _columns(*names: str, caption: str | None = None) -> Table:
    """Numbers stay whole: what a terminal has no room for is folded in the names, and in what is ``FOLDED``."""
    style: dict[str, Any] = {"pad_edge": False, "padding": (0, 1, 0, 0)}
    table = Table(box=SIMPLE_HEAD, caption=caption, caption_justify="left", **style)
    for name in names:
        is_text = name in {"test", "model", "control", *FOLDED}
        least = 6 if name == "test" else 8 if is_text else None
        side: Any = "left" if is_text else "right"
        table.add_column(name, justify=side, overflow="fold", no_wrap=not is_text, min_width=least)
    return table


def _drivers(records: list[dict[str, Any]], names: list[str]) -> Table:
    pooled = any("poolings" in each for each in records)
    numbers = ("d", "half by", "cosine", "centred", "scaled", *LEFT_OUT)
    table = _columns("test", "model", *numbers, *([POOLED] if pooled else []), caption=OF_DRIVERS)
    for name, each in zip(names, records, strict=True):
        others = each["alternatives"]
        assert isinstance(others, dict)
        table.add_row(
            str(each["test"]),
            name,
            f"{each['d']:+.2f}",
            f"{each['half_by']}/{each['dim']}",
            f"{each['anisotropy']:.2f}",
            *(_d(others.get(name)) for name in ("centred", "standardised")),
            *(_range(each[f"leave_one_{who}_out"]) for who in ("speaker", "talker")),
            *([", ".join(f"{k} {_d(d)}" for k, d in each.get("poolings", {}).items()) or "-"] if pooled else []),
        )
    return table


def _d(d: object) -> str:
    return f"{d:+.2f}" if isinstance(d, float) else "-"


def _range(bounds: object) -> str:
    return f"{_d(bounds[0])} to {_d(bounds[1])}" if isinstance(bounds, list) else "-"
