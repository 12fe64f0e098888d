"""By what a MODEL is known again in records: what they call it, and the hash of its weights.

A name alone would take a model for measured, or probed, that was trained anew or exchanged under it.
"""

from collections.abc import Hashable
from functools import cache
from pathlib import Path

from speechbias.errors import InputError


def called(model: str) -> str:
    """How a record calls a MODEL: a checkpoint of a run by the run and its step; blank where it is not there.

    A name of the hub stays as it is: to look at a plan downloads nothing.
    """
    from speechbias.checkpoint.source import find_source  # noqa: PLC0415

    path = Path(model)
    if is_of_the_hub(model):
        return model
    if path.parent.name == "checkpoints":
        step = path.resolve().name.removeprefix("step-")
        return f"{path.parents[1].name} step {int(step)}" if step.isdecimal() else ""
    try:
        return find_source(model).name
    except InputError:
        return ""


def is_known(model: str, sha256s: set[str]) -> bool:
    """Whether one of these hashes, of records that are called as a MODEL, is that of its weights as they are now.

    Of a name of the hub any is: what it is could not be told without asking there. Weights that cannot be read are
    no known ones: whoever does the work says what is wrong with them.
    """
    return bool(sha256s) and (is_of_the_hub(model) or _sha256_of(model, _stamp(Path(model).resolve())) in sha256s)


def is_of_the_hub(model: str) -> bool:
    """Whether a MODEL is a name of the hub, and nothing here."""
    from speechbias.models.huggingface.hub import is_hub_id  # noqa: PLC0415

    return is_hub_id(model) and not Path(model).exists()


@cache
def _sha256_of(model: str, _changed: Hashable) -> str | None:
    """The hash of the weights, read whole: a second for a large model, so once while its files stay as they are."""
    from speechbias.checkpoint import load_encoder  # noqa: PLC0415 (torch: seconds)

    try:
        return load_encoder(model).sha256
    except InputError:
        return None


def _stamp(path: Path) -> Hashable:
    """What a changed file, or folder of files, does not keep."""
    files = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
    return tuple((str(each), each.stat().st_size, each.stat().st_mtime_ns) for each in files if each.exists())
