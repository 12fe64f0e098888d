"""A command line typed into a shell, as far as documents need one: without a new interpreter, in a folder."""

import contextlib
import io
import itertools
import os
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from speechbias.cli import main


def call(words: list[str], *, out: io.StringIO, err: io.StringIO, width: int = 100) -> int:
    """The whole command line in this process, and its exit code; what it says goes to ``out`` and ``err``."""
    with contextlib.ExitStack() as stack:
        for context in (
            mock.patch.object(sys, "argv", words),
            mock.patch.dict(os.environ, {"COLUMNS": str(width)}),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            stack.enter_context(context)
        try:
            main()
        except SystemExit as end:
            return end.code or 0
    return 0


def run(command: str, folder: Path) -> SimpleNamespace:
    """Run ``speechbias VERB ...`` in a folder: what it says (``said``), and ``exit_code``."""
    said = io.StringIO()
    with contextlib.chdir(folder):
        code = call(expand(command), out=said, err=said)
    return SimpleNamespace(exit_code=code, said=said.getvalue())


def expand(command: str) -> list[str]:
    """Words of a command; those with ``*`` become the paths that match, in order, if any do."""
    words = []
    for word in shlex.split(command):
        if word == "...":  # and more of the same
            continue
        words += sorted(map(str, Path().glob(word))) or [word] if "*" in word else [word]
    return words


def outputs(command: str) -> list[str]:
    """What a command is told to write: behind ``-o`` or ``--out``."""
    words = shlex.split(command)
    return [value for option, value in itertools.pairwise(words) if option in {"-o", "--out"}]
