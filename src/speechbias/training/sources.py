"""What the user calls a corpus, opened: a folder of audio or of shards, a table, fairseq's ``.tsv``, or several.

A LibriSpeech root is a folder like any other, with two things more: transcripts stand in ``*.trans.txt`` beside the
audio, and the first part of a file's name is the speaker.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechbias.corpora.corpus import AUDIO_SUFFIXES
from speechbias.errors import InputError
from speechbias.training.manifest import Manifest, Places, Strings, Unreadable
from speechbias.training.scan import Depth, scan
from speechbias.training.shards import is_shards, open_shards
from speechbias.training.tables import TABLE_SUFFIXES, Listing, list_table

Source = str | Path


def open_corpus(
    source: Source | Sequence[Source],
    *,
    depth: Depth = "whole",
    workers: int = 1,
    cache: str | Path | None = None,
    progress: bool = False,
) -> Manifest:
    """The manifest of a source, or of several one after another; ``cache`` keeps what a scan found out.

    Files that cannot be used are left out and listed in ``manifest.unreadable``: all of them by ``depth`` "whole", by
    "headers" what headers tell (of fairseq's ``.tsv``, then taken at its word, only missing files). InputError where
    nothing is left, or a recording stands there twice.
    """
    sources = [source] if isinstance(source, str | Path) else list(source)
    if not sources:
        raise InputError("no corpus is named. Give a folder of audio, a table, or fairseq's .tsv.")
    manifest = _concatenate([_open_one(Path(each), depth, workers, cache, progress=progress) for each in sources])
    _refuse_twice(manifest)
    return manifest


def _open_one(source: Path, depth: Depth, workers: int, cache: str | Path | None, *, progress: bool) -> Manifest:
    if source.suffix == ".npz":
        return Manifest.load(source)
    if is_shards(source):
        return open_shards(source)
    listing = list_folder(source) if source.is_dir() else list_table(_table(source))
    paths = [listing.folder / key for key in listing.keys]
    if depth == "headers" and listing.num_samples is not None:
        lengths = listing.num_samples
        reasons = {number: "does not exist" for number, path in enumerate(paths) if not os.path.exists(path)}  # noqa: PTH110
    else:
        lengths, reasons = scan(paths, depth=depth, workers=workers, cache=cache, progress=progress)
    if len(reasons) == len(paths):
        number, why = next(iter(reasons.items()))
        raise InputError(f"{source}: none of its {len(paths)} files can be used; {paths[number]} {why}.")
    unreadable = tuple(Unreadable(listing.keys[number], why, number) for number, why in sorted(reasons.items()))
    whole = replace(_manifest(listing, lengths), unreadable=unreadable)
    return whole.select(np.delete(np.arange(len(paths)), list(reasons))) if reasons else whole


def _table(source: Path) -> Path:
    if source.exists() and source.suffix not in TABLE_SUFFIXES:
        kinds = ", ".join(TABLE_SUFFIXES)
        raise InputError(f"{source} is no corpus. Give a folder of audio, a table ({kinds}) or a saved manifest.")
    return source


def list_folder(folder: Path) -> Listing:
    """All audio files below a folder, sorted, with LibriSpeech's transcripts and speakers where it has them."""
    keys: list[str] = []
    texts: dict[str, str] = {}
    for place, name in _walk(folder):
        if name.endswith(".trans.txt"):
            texts |= _read_transcripts(folder / place / name, place)
        elif name.lower().endswith(AUDIO_SUFFIXES):
            keys.append(f"{place}/{name}" if place else name)
    if not keys:
        raise InputError(f"{folder} holds no audio ({', '.join(AUDIO_SUFFIXES)}). Give the folder of a corpus.")
    keys.sort()
    stems = [key.rpartition(".")[0] for key in keys]
    transcripts = [texts.get(stem, "") for stem in stems]
    speakers = [stem.rpartition("/")[2].partition("-")[0] if stem in texts else "" for stem in stems]
    return Listing(folder, keys, transcripts, speakers)


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    """(folder below ``folder``, name) of every file that is not hidden. Links are followed, folders entered once."""
    entered = {_identity(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in sorted(folders) if not name.startswith(".")]
        folders[:] = [name for name in folders if _enter(Path(place, name), entered)]
        below = os.path.relpath(place, folder)
        for name in names:
            if not name.startswith("."):  # also ._name, which macOS leaves beside a file
                yield "" if below == "." else below.replace(os.sep, "/"), name


def _enter(folder: Path, entered: set[tuple[int, int]]) -> bool:
    """Whether a folder was not entered before, by whatever way: links may lead in a circle."""
    identity = _identity(folder)
    new = identity not in entered
    entered.add(identity)
    return new


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _read_transcripts(path: Path, place: str) -> dict[str, str]:
    """``84-121123-0000 GO DO YOU HEAR`` -> {"dev-clean/84/121123/84-121123-0000": "GO DO YOU HEAR"}."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = (line.partition(" ") for line in lines if line.strip())
    return {f"{place}/{name}" if place else name: text.strip() for name, _, text in rows}


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
            replace(one, row=one.row + shift)
            for each, shift in zip(manifests, rows, strict=False)
            for one in each.unreadable
        ),
        places=Places.concatenate(places) if places else None,
    )


def _refuse_twice(manifest: Manifest) -> None:
    seen: set[str] = set()
    rows = range(len(manifest))
    files = (os.path.join(manifest.folders[manifest.folder[row]], manifest.key(row)) for row in rows)  # noqa: PTH118
    for path in files if manifest.places is None else manifest.folders:
        if path in seen:
            raise InputError(f"{path} stands in the corpus twice. Name it once.")
        seen.add(path)
