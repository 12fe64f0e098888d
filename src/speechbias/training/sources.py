"""What the user calls a corpus, opened: a folder of audio or of shards, a table, fairseq's ``.tsv``, or several."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechbias.errors import InputError, os_reason
from speechbias.training.folders import list_folder
from speechbias.training.manifest import Manifest, Places, Strings, Unreadable
from speechbias.training.scan import Depth, scan
from speechbias.training.shards import is_shards, open_shards
from speechbias.training.tables import TABLE_SUFFIXES, Listing, list_table

Source = str | Path
Only = Callable[[str], bool]


def open_corpus(
    source: Source | Sequence[Source],
    *,
    depth: Depth = "whole",
    workers: int = 1,
    cache: str | Path | None = None,
    progress: bool = False,
    only: Only | None = None,
) -> Manifest:
    """The manifest of a source, or of several one after another; ``cache`` keeps what a scan found out.

    ``only`` takes the keys (paths as the source writes them) of recordings that are wanted: no other one is opened.

    Files that cannot be used are left out and listed in ``manifest.unreadable``: all of them by ``depth`` "whole", by
    "headers" what headers tell (of fairseq's ``.tsv``, then taken at its word, only missing files). Folders and
    transcripts that cannot be read are listed there too. InputError where nothing is left, or a recording stands
    there twice.
    """
    sources = [source] if isinstance(source, str | Path) else list(source)
    if not sources:
        raise InputError("no corpus is named. Give a folder of audio, a table, or fairseq's .tsv.")
    manifest = _concatenate(
        [_open_one(Path(each), depth, workers, cache, only, progress=progress) for each in sources]
    )
    _refuse_twice(manifest)
    return manifest


def _open_one(
    source: Path, depth: Depth, workers: int, cache: str | Path | None, only: Only | None, *, progress: bool
) -> Manifest:
    try:
        if source.suffix == ".npz" or is_shards(source):
            whole = Manifest.load(source) if source.suffix == ".npz" else open_shards(source)
            wanted = [row for row in range(len(whole)) if only is None or only(whole.key(row))]
            return whole if len(wanted) == len(whole) else whole.select(wanted)
        listing = list_folder(source) if source.is_dir() else list_table(_table(source))
        listing = listing if only is None else listing.select([n for n, key in enumerate(listing.keys) if only(key)])
    except OSError as error:
        raise InputError(
            f"{source} cannot be read ({os_reason(error)}). Check its permissions and the path."
        ) from None
    paths = [listing.folder / key for key in listing.keys]
    if depth == "headers" and listing.num_samples is not None:
        lengths = listing.num_samples
        reasons = {number: "does not exist" for number, path in enumerate(paths) if not os.path.exists(path)}  # noqa: PTH110
    else:
        lengths, reasons = scan(paths, depth=depth, workers=workers, cache=cache, progress=progress)
    if paths and len(reasons) == len(paths):
        number, why = next(iter(reasons.items()))
        raise InputError(f"{source}: none of its {len(paths)} files can be used; {paths[number]} {why}.")
    unreadable = [Unreadable(listing.keys[number], why, number) for number, why in sorted(reasons.items())]
    missed = [Unreadable(name, why, None) for name, why in listing.missed]
    whole = replace(_manifest(listing, lengths), unreadable=(*unreadable, *missed))
    return whole.select(np.delete(np.arange(len(paths)), list(reasons))) if reasons else whole


def _table(source: Path) -> Path:
    if source.exists() and source.suffix not in TABLE_SUFFIXES:
        kinds = ", ".join(TABLE_SUFFIXES)
        raise InputError(f"{source} is no corpus. Give a folder of audio, a table ({kinds}) or a saved manifest.")
    return source


def _manifest(listing: Listing, num_samples: NDArray[np.int64]) -> Manifest:
    columns = (Strings.of(column) for column in (listing.keys, listing.transcripts, listing.speakers))
    keys, transcripts, speakers = columns
    folder = np.zeros(len(keys), np.int32)
    return Manifest(keys, (os.path.abspath(listing.folder),), folder, num_samples, transcripts, speakers)  # noqa: PTH100


def _concatenate(manifests: Sequence[Manifest]) -> Manifest:
    if len(manifests) == 1:
        return manifests[0]
    places = [each.places for each in manifests if each.places is not None]
    if 0 < len(places) < len(manifests):
        raise InputError("shards and files in one corpus. Write the files as shards too: speechbias shards.")
    before = np.cumsum([0, *(len(each.folders) for each in manifests)])
    folder = [each.folder + shift for each, shift in zip(manifests, before, strict=False)]
    rows = np.cumsum([0, *(each.listed for each in manifests)]).tolist()
    return Manifest(
        keys=Strings.concatenate([each.keys for each in manifests]),
        folders=tuple(folder for each in manifests for folder in each.folders),
        folder=np.concatenate(folder).astype(np.int32),
        num_samples=np.concatenate([each.num_samples for each in manifests]),
        transcripts=Strings.concatenate([each.transcripts for each in manifests]),
        speakers=Strings.concatenate([each.speakers for each in manifests]),
        unreadable=tuple(
            replace(one, row=None if one.row is None else one.row + shift)
            for each, shift in zip(manifests, rows, strict=False)
            for one in each.unreadable
        ),
        places=Places.concatenate(places) if places else None,
    )


def _refuse_twice(manifest: Manifest) -> None:
    seen: set[str] = set()
    folders = [os.path.realpath(folder) for folder in manifest.folders]  # one may be a link to another
    rows = range(len(manifest))
    files = (os.path.join(folders[manifest.folder[row]], manifest.key(row)) for row in rows)  # noqa: PTH118
    for path in files if manifest.places is None else folders:
        if path in seen:
            raise InputError(f"{path} stands in the corpus twice. Name it once.")
        seen.add(path)
