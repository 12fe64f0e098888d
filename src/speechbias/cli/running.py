"""The command line begun and ended: exit codes, and what is said where something is wrong."""

import io
import os
import sys

import typer
from rich.console import Console

from speechbias.cli.app import app
from speechbias.cli.said import mended
from speechbias.cli.usage import USAGE, answer
from speechbias.errors import InputError, JobsError, sentence

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


def _say(problem: str) -> None:
    """One line on standard error, as it is: no markup, no emoji of ``:abc:``, no wrapping."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
    console.print(f"speechbias: {sentence(problem)}")


def main() -> None:
    """Run the command line."""
    if os.environ.get("WORLD_SIZE", "1") != "1":  # of a rank that is gone the others say so in a line; torch in twenty
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files may be any bytes
    try:
        code = app(spread(sys.argv[1:]), standalone_mode=False)
    except InputError as error:
        for problem in error.problems:
            _say(problem)
        sys.exit(2)
    except USAGE as error:
        answer(error, _say)
        sys.exit(2)
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
    if code == INTERRUPTED:
        typer.echo("speechbias: interrupted. The same command goes on from here.", err=True)
        sys.exit(1)
    sys.exit(code)
