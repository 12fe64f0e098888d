"""The one exception that means: the user's input is wrong.

Every message says what is wrong, where, and the remedy. The command line prints it without a traceback and
exits with code 2; in Python it is a ``ValueError``.
"""


class InputError(ValueError):
    """One or several problems with the user's input, one line each, reported together."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class JobsError(RuntimeError):
    """Jobs on other processes or machines that ended without a result. One line; exit code 1."""
