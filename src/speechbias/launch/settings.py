"""What a cluster is asked for: ``--launch key=value``, several times, or ``--launch FILE.toml``."""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from speechbias.errors import InputError, os_reason
from speechbias.extras import MissingExtraError

Launcher = Literal["slurm", "local"]
ROOM = 10**6  # jobs at a time where nothing bounds them


@dataclass(frozen=True)
class Settings:
    """Of every job. ``time`` in minutes, ``mem`` in GB."""

    launcher: Launcher
    parallel: int = ROOM  # jobs at a time
    time: int = 24 * 60
    nodes: int = 1
    gpus: int = 0  # per node; as many processes
    cpus: int = 1  # per process
    mem: int | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None


def read_settings(launcher: Launcher, said: Iterable[str]) -> Settings:
    """From the command line. InputError that names the nearest key for an unknown one."""
    values: dict[str, Any] = {"parallel": os.cpu_count() or 1} if launcher == "local" else {}
    for one in said:
        if "=" in one:
            key, _, value = one.partition("=")
            values |= {key.strip(): value.strip()}
        else:
            values |= _read_file(Path(one))
    kinds = {field.name: str(field.type) for field in fields(Settings) if field.name != "launcher"}
    for key, value in values.items():
        if key not in kinds:
            near = "".join(f"Nearest: {one}; all" for one in difflib.get_close_matches(key, kinds, 1))
            raise InputError(f"--launch {key} is unknown. {near or 'There are'}: {', '.join(kinds)}.")
        if "int" in kinds[key]:
            values[key] = _whole(key, value)
    return Settings(launcher, **values)


def _whole(key: str, value: Any) -> int:
    """A number, or for ``time`` also HH:MM:SS."""
    parts = str(value).split(":")
    if key == "time" and len(parts) == 3 and all(re.fullmatch(r"[0-9]{1,6}", part) for part in parts):
        return max(int(parts[0]) * 60 + int(parts[1]), 1)
    if not re.fullmatch(r"[0-9]{1,9}", str(value)) or (key != "gpus" and int(value) < 1):
        raise InputError(
            f"--launch {key}={str(value)[:40]} is not a whole number above 0{' or HH:MM:SS' * (key == 'time')}."
        )
    return int(value)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = os_reason(error, otherwise=str(error))
        raise InputError(f"--launch {path} cannot be read ({why}). Give key=value, or a TOML file of such.") from None


def executor(settings: Settings, logs: Path) -> Callable[[Callable[[], str]], Any]:
    """What submits a job. InputError where submitit or Slurm is missing."""
    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"  # by which training saves; for submitit in the job
    try:
        import submitit  # noqa: PLC0415 (an extra)
    except ImportError:
        raise MissingExtraError("--launcher needs submitit: pip install 'speechbias[cluster]'") from None
    submitit.JobEnvironment.USR_SIG = "USR1"  # and here, where it may have been imported before
    try:
        made = submitit.AutoExecutor(folder=logs, cluster=settings.launcher)
    except RuntimeError as error:
        why = f"{error}" if str(error).endswith(("?", ".", "!")) else f"{error}."
        raise InputError(f"--launcher {settings.launcher}: {why} Run it where sbatch is, or with local.") from None
    asked: dict[str, Any] = {
        "timeout_min": settings.time,
        "nodes": settings.nodes,
        "tasks_per_node": max(settings.gpus, 1),
        "gpus_per_node": settings.gpus,
        "cpus_per_task": settings.cpus,
        "mem_gb": settings.mem,
    }
    if settings.launcher == "slurm":
        named = {key: getattr(settings, key) for key in ("partition", "account", "qos", "constraint")}
        asked |= {f"slurm_{key}": value for key, value in named.items() if value is not None}
        asked |= {"slurm_signal_delay_s": 120, "slurm_additional_parameters": {"requeue": True}}
    elif settings.nodes > 1:
        raise InputError("--launch nodes: one machine is one node. Use --launcher slurm for several.")
    made.update_parameters(name="speechbias", **{key: value for key, value in asked.items() if value is not None})
    submit: Callable[[Callable[[], str]], Any] = made.submit
    return submit
