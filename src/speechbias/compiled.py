"""Numeric loops compiled by numba; the machine code is kept on disk where there is a place for it."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function on its first call. A read-only installation without a home folder compiles in every run."""
    try:
        return numba.njit(cache=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # numba finds no folder to keep the code in
        return numba.njit(function)  # type: ignore[no-any-return]
