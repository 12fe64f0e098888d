"""Compiled loops work where nothing can be kept on disk."""

import numba

from speechbias import compiled


def double(x):
    return 2 * x


def test_without_a_cache_folder_the_loop_still_runs(monkeypatch):
    original = numba.njit

    def no_locator(*functions, **options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'double': no locator available")
        return original(*functions, **options)

    monkeypatch.setattr(numba, "njit", no_locator)
    assert compiled.compiled(double)(21) == 42
