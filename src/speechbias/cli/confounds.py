"""`speechbias confounds`, and what other verbs say of the audit of recordings."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from speechbias.cli.app import app
from speechbias.cli.options import Resamples, Results
from speechbias.cli.said import note
from speechbias.errors import InputError


@app.command()
def confounds(
    results: Results,
    covariates: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="What is held equal, by its name in the audit.")
    ] = "duration,rate",
    caliper: Annotated[float, typer.Option(help="Largest difference in a matched pair, SDs within groups.")] = 0.25,
    permutations: Annotated[int, typer.Option(min=1, help="Permutations of residuals.")] = 10_000,
    resamples: Resamples = 10_000,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Records are added to this file.", show_default=False),
    ] = None,
) -> None:
    """Hold covariates equal: d by regression, and d of matched clips; from stored vectors, without a model.

    `measure` has stored the values of the clips with its audit. With -o RESULTS.jsonl the report shows raw and
    adjusted d beside each other.
    """
    from speechbias.adjusted import Adjustment, adjust_results
    from speechbias.report.confounds_tables import adjusted_table
    from speechbias.results import append_records, check_writable

    names = tuple(dict.fromkeys(name.strip() for name in covariates.split(",") if name.strip()))
    if not names:
        raise InputError("--covariates names nothing. Give names, for example --covariates duration,rate.")
    if out:
        check_writable(out)
    adjustment = Adjustment(names, caliper=caliper, permutations=permutations, resamples=resamples)
    records = [record for path in results for record in adjust_results(path, adjustment, note=note)]
    if not records:
        raise InputError("There is no measurement in these results. Measure first: speechbias measure MODEL ...")
    if out:
        append_records(out, records)
    typer.echo(f"held equal: {', '.join(names)}; matched: d (pairs within {caliper:g} SD)")
    Console().print(adjusted_table(records))
    if few := sum(record["p_value"] is None for record in records):
        note(f"{few} without a p: too few speakers or clips for so many covariates")


def audit_clips(test: Any, facts: Mapping[Path, Any], *, workers: int = 1, cache: Path | None = None) -> Any:
    """The audit of one test's clips."""
    from speechbias.confounds import audit_test, describe_clips

    files = [facts[clip.path] for clip in test.stimuli]
    return audit_test(test, facts, describe_clips(files, workers=workers, cache=cache, progress=True))


def cache_beside(out: Path | None) -> Path | None:
    """Where `measure` keeps what it computed for a results file."""
    return out.parent / f"{out.name}.cache" if out else None


def show_audit(audit: Any, out: Path | None, *, as_json: bool) -> None:
    """An audit as a table with sentences or as a line of JSON; into a results file too."""
    from speechbias.report.confounds import view_audit
    from speechbias.report.confounds_tables import audit_table
    from speechbias.report.names import as_plain
    from speechbias.results import append_records, check_writable, write_vectors

    record = audit.record
    if out:
        check_writable(out)
        record |= {"facts": write_vectors(out, audit.arrays)}
        append_records(out, [record])
    if as_json:
        typer.echo(json.dumps(record, ensure_ascii=False))
        return
    view = view_audit(record, label="mean per clip")
    Console().print(audit_table(view))
    for sentence in view.sentences:
        typer.echo(as_plain(sentence))
    _say_extra([record])


def say_flags(records: Iterable[Mapping[str, Any]]) -> None:
    """One line per test in which X and Y differ beyond the threshold, on standard error."""
    records = list(records)
    for record in records:
        flags = [each for each in record["covariates"] if each["targets"]["flagged"]]
        if flags:
            what = ", ".join(each["name"] for each in flags)
            note(f"confounds: {record['test']}: X and Y also differ in {what} (`stimuli check`, docs/confounds.md)")
    _say_extra(records)


def _say_extra(records: Iterable[Mapping[str, Any]]) -> None:
    from speechbias.confounds import EXTRA

    if any(record["left_out"] for record in records):
        note(EXTRA)
