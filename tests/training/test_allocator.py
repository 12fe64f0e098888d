"""Keeping freed memory: it stays with the process where glibc is, and nothing is done where it is not."""

import platform
import subprocess
import sys

import pytest

from speechbias.training import allocator

FREED = """
import sys
from pathlib import Path
import torch
from speechbias.training.allocator import keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

assert sys.argv[1] == "default" or keep_freed_memory()
before = resident()
torch.ones(50_000_000)
print((resident() - before) * 4096)
"""


def left_after_freeing(setting):
    """Bytes by which a process is larger after it made and freed 200 MB."""
    command = [sys.executable, "-c", FREED, setting]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_freed_memory_stays_with_the_process():
    assert left_after_freeing("default") < 20e6
    assert left_after_freeing("kept") > 190e6


def test_elsewhere_it_does_nothing_and_says_so(monkeypatch):
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: pytest.fail("asked a library that is not glibc"))
    assert not allocator.keep_freed_memory()
