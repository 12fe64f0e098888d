"""By what a MODEL is known again in records: what they call it, and the hash of its weights.

A name alone would take a model for measured, or probed, that was trained anew or exchanged under it; weights alone
would take step 0 of one run for that of another with its seed.
"""

from collections.abc import Collection, Hashable
from functools import cache
from pathlib import Path

from speechbias.errors import InputError
from speechbias.results import called

Known = tuple[str, str]  # what a record calls its model, and the hash of the weights


def is_known(model: str, held: Collection[Known]) -> bool:
    """Whether one of the records that these are of is of a MODEL with its weights as they are now.

    Of a name of the hub any of that name is: what it is could not be told without asking there. Weights that cannot be
    read are no known ones: whoever does the work says what is wrong with them.
    """
    if is_of_the_hub(model):
        return any(name == model for name, _ in held)
    return bool(held) and _known_as(model, _stamp(Path(model).resolve())) in held


def is_of_the_hub(model: str) -> bool:
    """Whether a MODEL is a name of the hub, and nothing here."""
    from speechbias.models.huggingface.hub import is_hub_id  # noqa: PLC0415

    return is_hub_id(model) and not Path(model).exists()


@cache
def _known_as(model: str, _changed: Hashable) -> Known | None:
    """What a record of it would say: a folder may have been copied from a run of another name, which its files tell.

    The weights are read whole: a second for a large model, so once while its files stay as they are.
    """
    from speechbias.checkpoint import load_encoder  # noqa: PLC0415 (torch: seconds)
    from speechbias.embeddings import Model  # noqa: PLC0415

    try:
        known = Model.of(load_encoder(model))
    except InputError:
        return None
    return called(known.name, known.step, known.run), known.sha256


def _stamp(path: Path) -> Hashable:
    """What a changed file, or folder of files, does not keep."""
    files = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
    return tuple((str(each), each.stat().st_size, each.stat().st_mtime_ns) for each in files if each.exists())
