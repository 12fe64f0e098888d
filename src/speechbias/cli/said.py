"""What verbs say on standard error, and how they gather what is wrong."""

import errno
from collections.abc import Iterable
from typing import Any

import typer

from speechbias.errors import BREAKS, InputError


def note(text: str) -> None:
    """A line that is no result."""
    typer.echo(text, err=True)


def say_device(device: str) -> None:
    """Say what ``auto`` picks."""
    if device == "auto":
        from speechbias.models.device import picked_in_words

        typer.echo(picked_in_words(), err=True)


def collect(read: Any, files: Iterable[Any]) -> list[Any]:
    """Read every file, and report the problems of all of them together."""
    found: list[Any] = []
    problems: list[str] = []
    for file in files:
        try:
            found.append(read(file))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return found


def warn(warnings: Iterable[str], already: set[str]) -> None:
    """Each warning once: those that were given are ``already``."""
    for warning in warnings:
        if warning not in already:
            already.add(warning)
            typer.echo(f"warning: {warning.translate(BREAKS)}", err=True)


def mended(error: OSError) -> str:
    """What to do about a file that could not be written or read."""
    return "make room on that disk" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "mend that"
