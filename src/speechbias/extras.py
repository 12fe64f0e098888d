"""What is said where an optional extra is not installed; a kind of its own, for who can go on without one."""

from speechbias.errors import InputError


class MissingExtraError(InputError):
    """An optional extra that is not installed. The line names what needs it, and how to install it."""
