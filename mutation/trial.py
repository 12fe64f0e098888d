"""One mutant's trial: a child process in which the mutated text stands in the place of the module runs its tests.

The parent has numpy, numba, torch and the tests' libraries in memory, and nothing of the package. A child that takes
more than its share of CPU seconds or memory is ended, which counts as noticed: so would whoever waited for the tests.
"""

import gc
import importlib.util
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from mutation.mutants import Mutant
from mutation.plan import PACKAGE, ROOT

MEMORY = 4 * 2**30
OWN_FAULT = 70
OPTIONS = (
    *("-x", "-q", "--no-header", "-p", "no:cacheprovider", "-m", "not slow", "--hypothesis-profile", "mutants"),
    *("-p", "_hypothesis_pytestplugin", "-p", "no:unraisableexception"),  # no other plugin, no collection of garbage
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # hypothesis is in memory before pytest's turn
)


@dataclass(frozen=True)
class Trial:
    """How it ended: survived, caught (by which test) or ended (too slow, too large, crashed)."""

    outcome: str
    by: str
    cpu_seconds: float


def prepare() -> None:
    """Load what all children share, and let hypothesis neither draw at random, nor shrink, nor remember."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # before numpy: a trial takes one core
    for name in (
        "numba",
        "numpy",
        "pytest",
        "scipy.special",
        "scipy.stats",
        "torch",
        "hypothesis.strategies",
        "_hypothesis_pytestplugin",
    ):
        importlib.import_module(name)
    from hypothesis import Phase, settings  # noqa: PLC0415

    phases = [Phase.explicit, Phase.generate]
    settings.register_profile("mutants", deadline=None, derandomize=True, database=None, phases=phases)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    gc.freeze()
    os.chdir(ROOT)
    sys.path.insert(0, str(PACKAGE.parent))


def attempt(mutant: Mutant | None, file: str, tests: Sequence[str], *, cpu_seconds: int = 600) -> Trial:
    """Run ``tests`` on ``mutant`` of ``file``; None: on the module as it is."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _child(mutant, file, tests, writer, cpu_seconds)
    os.close(writer)
    with os.fdopen(reader) as messages:
        by = messages.read().strip()
    _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == OWN_FAULT:
        raise RuntimeError(f"{mutant.name if mutant else file}: the trial itself failed")
    outcome = {0: "survived", 1: "caught"}.get(code, "ended")
    return Trial(outcome, by or (f"exit {code}" if code else ""), round(used.ru_utime + used.ru_stime, 2))


def _child(mutant: Mutant | None, file: str, tests: Sequence[str], writer: int, cpu_seconds: int) -> None:
    code = OWN_FAULT
    try:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        signal.alarm(20 * cpu_seconds)  # one that waits uses no CPU
        if mutant is not None:
            _substitute(mutant, file)
        code = _run(tests, writer)
    finally:
        os._exit(code)


def _run(tests: Sequence[str], writer: int) -> int:
    """1 where a test fails or cannot even be collected, in the order of ``tests``; 0 where all pass."""
    import pytest  # noqa: PLC0415

    for path in tests:
        code = int(pytest.main([*OPTIONS, path], plugins=[_Watch(writer)]))
        if code:
            return 1 if code in {1, 2} else 10 + code
    return 0


class _Watch:
    """Says which test failed."""

    def __init__(self, writer: int) -> None:
        self.writer = writer

    def pytest_runtest_logreport(self, report: object) -> None:
        self._write(report)

    def pytest_collectreport(self, report: object) -> None:
        self._write(report)

    def _write(self, report: object) -> None:
        if getattr(report, "failed", False):
            os.write(self.writer, f"{getattr(report, 'nodeid', '')}\n".encode())


def _substitute(mutant: Mutant, file: str) -> None:
    name = "speechbias." + file.removesuffix(".py").replace("/", ".")
    sys.meta_path.insert(0, _Finder(name, PACKAGE / file, mutant.source))
    if mutant.compiled:
        _compile_anew(name)


class _Finder(MetaPathFinder):
    """Finds one module, whose text is the mutant's."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self.name, self.path, self.source = name, path, source

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        if fullname != self.name:
            return None
        loader = _Loader(self.name, str(self.path))
        loader.text = self.source
        return importlib.util.spec_from_file_location(fullname, self.path, loader=loader)


class _Loader(SourceFileLoader):
    text = ""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        return compile(self.text, self.path, "exec", dont_inherit=True)


def _compile_anew(module: str) -> None:
    """Functions of ``module`` are neither taken from numba's files nor left there."""
    import numba  # noqa: PLC0415

    njit = numba.njit

    def without_files(*functions: object, **options: object) -> object:
        def decorate(function: object) -> object:
            kept = {key: value for key, value in options.items() if key != "cache"}
            anew = getattr(function, "__module__", "") == module
            return njit(**(kept if anew else options))(function)

        return decorate(functions[0]) if functions else decorate

    numba.njit = without_files
