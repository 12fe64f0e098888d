"""`speechbias stimuli`: built, checked, split."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from speechbias.cli.app import app
from speechbias.cli.confounds import audit_clips, cache_beside, say_flags, show_audit
from speechbias.cli.options import SkipBad
from speechbias.cli.said import collect, warn
from speechbias.errors import InputError

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="CORPUS[:CATEGORY]=FOLDER...", help="Where targets and attributes come from.", show_default=False
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="FILE.csv", help="The stimulus file; of split a folder, of check results."),
]
Count = Annotated[int | None, typer.Option(min=2, help="Clips per set, by rule.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, help="Seed of draws that a rule makes.")]
RowsOfX = Annotated[str | None, typer.Option("--x", help="csv=: rows of X, COLUMN=VALUE[,COLUMN=VALUE].")]
RowsOfY = Annotated[str | None, typer.Option("--y", help="csv=: rows of Y.")]
RowsOfA = Annotated[str | None, typer.Option("--a", help="csv=: rows of A.")]
RowsOfB = Annotated[str | None, typer.Option("--b", help="csv=: rows of B.")]
Each = Annotated[str, typer.Option(metavar="COLUMN", help="csv=: --count targets of each value of this.")]
Share = Annotated[float, typer.Option(help="split: of the clips, the part by which something is chosen.")]
Audit = Annotated[bool, typer.Option("--audit/--no-audit", help="Say what else differs between the sets.")]
AsJson = Annotated[bool, typer.Option("--json", help="check: the audit as JSON lines, nothing else.")]
Workers = Annotated[int, typer.Option(min=1, help="Clips audited at a time, one core each.")]


@app.command()
def stimuli(
    corpora: Sources,
    out: Out = None,
    count: Count = None,
    seed: Seed = 0,
    x: RowsOfX = None,
    y: RowsOfY = None,
    a: RowsOfA = None,
    b: RowsOfB = None,
    each: Each = "",
    share: Share = 0.5,
    skip_bad: SkipBad = False,
    audit: Audit = True,
    as_json: AsJson = False,
    workers: Workers = 1,
) -> None:
    """Build a stimulus file from corpora on disk: counts, balance, durations.

    For example: speechbias stimuli accent-archive:gender=saa morgan=mess -o gender.csv

    `stimuli check FILE.csv` checks one, with the audit of its recordings (-o adds that to results); `stimuli split
    FILE.csv -o DIR` cuts one in two without a common speaker.
    """
    if corpora[0] == "check":
        _check_stimuli([Path(name) for name in corpora[1:]], out, audit=audit, as_json=as_json, workers=workers)
        return
    if corpora[0] == "split":
        _split_stimuli([Path(name) for name in corpora[1:]], out, share=share, seed=seed)
        return
    if out is None:
        raise InputError("Where shall the stimuli go? Name a file with -o, for example -o gender.csv.")
    from speechbias.corpora import build

    select = {name: rows for name, rows in (("X", x), ("Y", y), ("A", a), ("B", b)) if rows}
    built = build(corpora, name=out.stem, count=count, seed=seed, select=select, each=each)
    _write_stimuli(built, out, skip_bad=skip_bad, audit=audit, workers=workers)


def _write_stimuli(built: Any, out: Path, *, skip_bad: bool, audit: bool, workers: int) -> None:
    """What was built, without clips that are no good: written, summed up, audited."""
    from speechbias.stimuli import check_audio, summarise, write_stimuli

    check = check_audio([built.stimuli], sample_rate=16_000, min_samples=400, skip_bad=skip_bad)
    made = check.sets[0]
    write_stimuli(made, out)
    typer.echo(str(summarise(made, check.facts)))
    for note in built.notes:
        typer.echo(f"note: {note}")
    for clip in check.skipped[made.name]:
        typer.echo(f"left out: {clip['path']} {clip['why']}")
    warn((*made.warnings, *check.warnings[made.name]), set())
    if audit:
        say_flags([audit_clips(made, check.facts, workers=workers).record])
    typer.echo(f"\n{out}: {len(made.stimuli)} clips. Next: speechbias measure MODEL --stimuli {shlex.quote(str(out))}")


def _check_stimuli(files: list[Path], out: Path | None, *, audit: bool, as_json: bool, workers: int) -> None:
    """`stimuli check`: everything that `measure` would refuse or warn about, without a model, and the audit."""
    from speechbias.inference import Options
    from speechbias.measure import check_settings
    from speechbias.results import check_writable
    from speechbias.stimuli import check_audio, read_stimuli, summarise

    if not files:
        raise InputError("Which stimuli shall be checked? Name a CSV: speechbias stimuli check FILE.csv.")
    if out:
        check_writable(out)
    tests = collect(read_stimuli, files)
    check_settings(Options(), tests)  # a design of the permutation test must fit the speakers
    check = check_audio(tests, sample_rate=16_000, min_samples=400)
    for test in check.sets:
        if not as_json:
            typer.echo(f"{test.name}\n{summarise(test, check.facts)}")
        warn((*test.warnings, *check.warnings.get(test.name, ())), set())
        if audit or as_json or out:
            show_audit(audit_clips(test, check.facts, workers=workers, cache=cache_beside(out)), out, as_json=as_json)


def _split_stimuli(files: list[Path], folder: Path | None, *, share: float, seed: int) -> None:
    """`stimuli split`: two files for every one, by speaker: to choose something by, and to report."""
    from speechbias.stimuli import read_stimuli, split_stimuli, summarise, write_stimuli

    if not files or folder is None:
        raise InputError("What shall be split, and where to? For example: speechbias stimuli split FILE.csv -o DIR")
    halves = [half for test in collect(read_stimuli, files) for half in split_stimuli(test, share=share, seed=seed)]
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file. Name a folder with -o, for example -o halves.")
    folder.mkdir(parents=True, exist_ok=True)
    for half in halves:
        path = folder / f"{half.name}.csv"
        write_stimuli(half, path)
        typer.echo(f"{path}\n{summarise(half)}")
        warn(half.warnings, set())
