"""Shared fixtures: where the real recordings and models lie, when they lie anywhere."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Speed is never a test: on a busy machine a slow example is no fault.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # as the command line does for processes of several ranks
SHARED = Path(os.environ.get("SPEECHBIAS_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real speech, corpora's metadata and a real Whisper encoder; its absence skips the test."""
    if not SHARED.is_dir():
        pytest.skip(f"no folder {SHARED.name} with real speech beside the repository")
    return SHARED


@pytest.fixture(scope="module")
def pair():
    """Two ranks, kept for a file of tests."""
    from rank_processes import Pair  # noqa: PLC0415 (most of the package)

    made = Pair()
    yield made
    made.close()


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny models gain nothing from two threads, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
