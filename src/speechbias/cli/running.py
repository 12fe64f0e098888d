"""The command line begun and ended: exit codes, and what is said where something is wrong."""

import io
import os
import sys

import typer
from rich.console import Console

from speechbias.cli.app import app
from speechbias.cli.said import mended
from speechbias.errors import InputError, JobsError

INTERRUPTED = 130  # the exit code by which typer answers Ctrl-C


def spread(arguments: list[str]) -> list[str]:
    """Let ``--stimuli`` take several files: ``--stimuli a.csv b.csv`` is ``--stimuli a.csv --stimuli b.csv``."""
    spread_out: list[str] = []
    taking = False
    for argument in arguments:
        if taking and spread_out[-1] != "--stimuli" and argument.lower().endswith((".csv", ".tsv")):
            spread_out.append("--stimuli")
        elif taking and spread_out[-1] != "--stimuli":
            taking = False
        taking = taking or argument == "--stimuli"
        spread_out.append(argument)
    return spread_out


def main() -> None:
    """Run the command line."""
    if os.environ.get("WORLD_SIZE", "1") != "1":  # of a rank that is gone the others say so in a line; torch in twenty
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files may be any bytes
    try:
        app(spread(sys.argv[1:]))
    except InputError as error:
        for problem in error.problems:
            Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(f"speechbias: {problem}")
        sys.exit(2)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            typer.echo("speechbias: interrupted. The same command goes on from here.", err=True)
            sys.exit(1)
        raise
    except JobsError as error:
        typer.echo(f"speechbias: {error}. The same command tries again.", err=True)
        sys.exit(1)
    except OSError as error:
        what = f"{error.strerror or error}: {error.filename or 'output'}"
        typer.echo(
            f"speechbias: {what}. Nothing that was written is lost; {mended(error)}, then the same command goes on.",
            err=True,
        )
        sys.exit(1)
