"""What the reader of options finds wrong, in one line like any other: it says ``Invalid value``, in four lines."""

import re
from collections.abc import Callable
from typing import Any, cast

import typer

USAGE: type[Exception] = cast(
    "Any", typer.BadParameter.__mro__[1]
)  # UsageError, of the click that typer uses: its own, or the package
WORDS = (
    (r"^Invalid value( for |: )", ""),
    (r"Value error, ", ""),
    (r"(Input should be|is not) a valid integer\b.*", "give a whole number"),
    (r"(Input should be|is not) a valid (number|float)\b.*", "give a number"),
    (r"Input should be greater than or equal to (\S+)", r"give \1 or more"),
    (r"Input should be less than or equal to (\S+)", r"give \1 or less"),
    (r"'(-[\w-]+)'", r"\1"),  # options as people type them
    (r"^Got unexpected extra argument(\(s\)|s)? \((.*)\)", r"\2: this takes no more arguments"),
)


def in_a_line(error: Any) -> str:
    """What is wrong, and where to look it up."""
    said = " ".join(error.format_message().split())
    for pattern, words in WORDS:
        said = re.sub(pattern, words, said)
    if re.match(r"[A-Z][a-z]", said):
        said = said[0].lower() + said[1:]
    verb = f" {error.ctx.info_name}" if error.ctx is not None and error.ctx.parent is not None else ""
    said = said.rstrip(".")
    return f"{said}{' S' if said.endswith('?') else '; s'}ee speechbias{verb} --help"


def answer(error: Any, say: Callable[[str], None]) -> None:
    """Say what is wrong; where nothing was asked for, the help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        say(in_a_line(error))
