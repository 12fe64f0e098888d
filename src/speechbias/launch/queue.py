"""Jobs with a key and a folder, seen done by whoever comes: none twice at a time, the dead ones again."""

import json
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from speechbias.claims import claimed, is_claimed
from speechbias.errors import InputError, JobsError
from speechbias.launch.settings import Settings, executor
from speechbias.results import write_whole

DONE, CLAIM = "done.json", "claim"
TRIES = 3  # that end without a word (killed, out of memory) before a job is given up


@dataclass(frozen=True)
class Job(ABC):
    """One piece of work, pickled into another process. ``folder`` is named after the key."""

    folder: Path

    @abstractmethod
    def work(self) -> Mapping[str, Any]:
        """Do it; what ``done.json`` is to say."""

    def __call__(self) -> str:
        """``done``, or ``busy`` where another process is at it. The user's mistakes are an outcome like others."""
        with claimed(self.folder / CLAIM) as mine:
            if not mine:
                return "busy"
            if not self.is_done():
                (self.folder / DONE).unlink(missing_ok=True)  # of a signal that ended it before
                try:
                    said = self.work()
                except InputError as error:
                    said = {"problems": list(error.problems)}
                write_whole(self.folder / DONE, json.dumps(said).encode())
        return "done"

    def checkpoint(self) -> Any:
        """What submitit starts when the machine is taken away: the same, since it goes on from what is on disk."""
        from submitit.helpers import DelayedSubmission  # noqa: PLC0415 (an extra)

        return DelayedSubmission(self)

    def is_done(self) -> bool:
        """Whether nothing is left to do. What a signal ended (``asked``) goes on when it is started again."""
        said = self.outcome()
        return said is not None and not said.get("asked")

    def outcome(self) -> dict[str, Any] | None:
        """What ``done.json`` says; None where there is none."""
        try:
            said: dict[str, Any] = json.loads((self.folder / DONE).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return said


class Handle(Protocol):
    """What is needed of submitit's jobs."""

    job_id: str
    paths: Any

    def done(self) -> bool:
        """Whether it ended, somehow."""

    def result(self) -> str:
        """What it gave; an exception where it gave nothing."""

    def cancel(self) -> None:
        """End it."""


def run_jobs(
    jobs: Sequence[Job], settings: Settings, logs: Path, *, say: Callable[[str], None], poll: float = 0.5
) -> list[str]:
    """See all jobs done, whoever does them; returns the problems with the user's input that they met.

    JobsError where a job ends without a result again and again.
    """
    for job in jobs:
        if (job.outcome() or {}).get("problems"):
            (job.folder / DONE).unlink(missing_ok=True)  # mended in the meantime, it may be hoped
    submit, failed = executor(settings, logs), Counter[Path]()
    running: dict[Path, Handle] = {}
    try:
        while running or _left(jobs, failed):
            for job in jobs:
                if job.folder in running and running[job.folder].done():
                    failed[job.folder] += _ended_silently(running.pop(job.folder), job, say)
            for job in _startable(jobs, running, failed)[: settings.parallel - len(running)]:
                running[job.folder] = submit(job)
                say(f"{job.folder.name}: job {running[job.folder].job_id}")
            time.sleep(poll)
    except BaseException:
        for handle in running.values() if settings.launcher == "local" else ():
            handle.cancel()
        raise
    if given_up := [job for job in jobs if job.outcome() is None]:
        names = ", ".join(job.folder.name for job in given_up)
        raise JobsError(f"{len(given_up)} of {len(jobs)} jobs ended {TRIES} times without a result ({names}): {logs}")
    return list(dict.fromkeys(problem for job in jobs for problem in (job.outcome() or {}).get("problems", [])))


def _left(jobs: Sequence[Job], failed: Mapping[Path, int]) -> list[Job]:
    """Jobs that are not done, and not given up."""
    return [job for job in jobs if job.outcome() is None and failed[job.folder] < TRIES]


def _startable(jobs: Sequence[Job], running: Mapping[Path, Handle], failed: Mapping[Path, int]) -> list[Job]:
    """Those that nobody is at."""
    left = [job for job in _left(jobs, failed) if job.folder not in running]
    return [job for job in left if not is_claimed(job.folder / CLAIM)]


def _ended_silently(handle: Handle, job: Job, say: Callable[[str], None]) -> bool:
    """Whether a job that ended left nothing behind, and not because another process is at it."""
    if job.outcome() is not None:
        return False
    try:
        if not handle.paths.result_pickle.exists():  # for which submitit would wait
            raise ChildProcessError("killed, or out of memory or time")  # noqa: TRY301 (told as all others)
        return handle.result() != "busy"
    except Exception as error:  # noqa: BLE001 (a failure in the job is whatever it raised there)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        say(f"{job.folder.name}: job {handle.job_id} ended without a result ({lines[-1]})")
        return True
