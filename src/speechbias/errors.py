"""The one exception that means: the user's input is wrong; and a name for what a disk cannot take.

Every message says what is wrong, where, and the remedy. The command line prints it without a traceback and
exits with code 2; in Python it is a ``ValueError``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(ValueError):
    """One or several problems with the user's input, one line each, reported together."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class JobsError(RuntimeError):
    """Jobs on other processes or machines that ended without a result. One line; exit code 1."""


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
