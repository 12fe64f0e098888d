"""One sandbox for all pages; what its commands would spend their time on is made short."""

import pytest

from sandbox import copy_sandbox, make_sandbox
from speechbias.probe import synthetic
from speechbias.report import style
from speechbias.synthetic import write_stimuli_sets
from speechbias.training import corpus


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """What the commands of all pages name."""
    return make_sandbox(tmp_path_factory.mktemp("documents"))


@pytest.fixture(scope="module")
def quick():
    """Three synthetic voices in a set instead of twelve; figures as PDF with fonts that need no parsing."""

    def write(folder, *, seed=0, voices=12):
        return write_stimuli_sets(folder, seed=seed, voices=min(voices, 3))

    with pytest.MonkeyPatch.context() as patched:
        for module in (corpus, synthetic):
            patched.setattr(module, "write_stimuli_sets", write)
        patched.setitem(style.SETTINGS, "pdf.fonttype", 3)
        yield


@pytest.fixture
def folder(prepared, quick, tmp_path):
    """A copy for one page."""
    return copy_sandbox(prepared, tmp_path)
