"""The one exception that means: the user's input is wrong; and a name for what a disk cannot take.

Every message says what is wrong, where, and the remedy. The command line prints it without a traceback and
exits with code 2; in Python it is a ``ValueError``. It has one of two forms, ``What. Remedy.`` and ``what; remedy``,
and the command line ends either with a full stop.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BREAKS = str.maketrans({"\n": "\\n", "\r": "\\r"})  # the name of a file may hold them
COMMAND = re.compile(r": (torch\.save\(.*|(pip|speechbias|hf|git)[^;,]*)$")
REASONS: dict[type[BaseException], str] = {
    FileNotFoundError: "it does not exist",
    IsADirectoryError: "it is a folder",
    NotADirectoryError: "a part of its path is a file, not a folder",
    FileExistsError: "a file of this name is there",
}


class InputError(ValueError):
    """One or several problems with the user's input, one line each, reported together."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class JobsError(RuntimeError):
    """Jobs on other processes or machines that ended without a result. One line; exit code 1."""


def sentence(problem: str) -> str:
    """A problem as it is shown: on one line, with a full stop, but behind a command, which people copy."""
    line = problem.translate(BREAKS)
    return line if line.endswith((".", "?")) or COMMAND.search(line) else f"{line}."


def os_reason(error: BaseException, *, otherwise: str = "unknown error") -> str:
    """Why the system could not read or write, in the words of these messages; ``otherwise`` where it says nothing."""
    for kind, words in REASONS.items():
        if isinstance(error, kind):
            return words
    said: str | None = getattr(error, "strerror", None)
    return said.lower() if said else otherwise


def not_utf8(error: UnicodeDecodeError | OSError) -> str:
    """Why a file could not be read as text: which byte is none, or what the system says."""
    return f"byte {error.start + 1} is no text" if isinstance(error, UnicodeDecodeError) else os_reason(error)


@contextmanager
def naming(path: Path, *, written: Path | None = None) -> Iterator[None]:
    """An OSError that names no file names ``path``: that of a full disk names none.

    So does one that names something below ``written``, a temporary place of what is to be called ``path``.
    """
    try:
        yield
    except OSError as error:
        named = None if error.filename is None else Path(str(error.filename))
        if named is None:
            error.filename = str(path)
        elif written is not None and named.is_relative_to(written):
            error.filename = str(path / named.relative_to(written))
        raise
