"""Arrays kept on disk: whole or nothing, and read by one thread at a time."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from speechbias.kept import read_kept


def test_what_was_kept_comes_back_and_what_is_damaged_does_not(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, front=np.arange(600, dtype=np.float32).reshape(3, 200))
    np.testing.assert_array_equal(read_kept(path, "front"), np.arange(600).reshape(3, 200))
    assert read_kept(path, "pooled") is None
    assert read_kept(tmp_path / "b.npz", "front") is None
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert read_kept(path, "front") is None


def test_headers_are_parsed_by_one_thread_at_a_time(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", front=np.ones(3))
    load, inside, most = np.load, [], []

    def slow(*arguments, **options):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        try:
            return load(*arguments, **options)
        finally:
            inside.pop()

    monkeypatch.setattr(np, "load", slow)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: read_kept(tmp_path / "a.npz", "front"), range(8)))
    assert all(array is not None for array in found)
    assert max(most) == 1
