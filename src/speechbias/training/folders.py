"""A folder of audio as a corpus: every audio file below it, and LibriSpeech's transcripts where they lie there.

A LibriSpeech root is a folder like any other, with two things more: transcripts stand in ``*.trans.txt`` beside the
audio, and the first part of a file's name is the speaker. What cannot be read on the way, a folder or a file of
transcripts, is passed over and listed: nothing of a corpus goes missing without a word.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from speechbias.corpora.corpus import AUDIO_SUFFIXES
from speechbias.errors import InputError, os_reason
from speechbias.training.tables import Listing

Note = Callable[[OSError], None]


def list_folder(folder: Path) -> Listing:
    """All audio files below a folder, sorted, with LibriSpeech's transcripts and speakers where it has them."""
    keys: list[str] = []
    texts: dict[str, str] = {}
    missed: dict[str, str] = {}

    def note(error: OSError) -> None:
        name = os.path.relpath(error.filename or folder, folder).replace(os.sep, "/")
        missed[name] = f"cannot be read ({os_reason(error)})"

    for place, name in _walk(folder, note):
        if name.endswith(".trans.txt"):
            texts |= _read_transcripts(folder / place / name, place, note)
        elif name.lower().endswith(AUDIO_SUFFIXES):
            keys.append(f"{place}/{name}" if place else name)
    if not keys:
        also = "".join(f"; {name} {why}" for name, why in list(missed.items())[:1])
        raise InputError(f"{folder} holds no audio ({', '.join(AUDIO_SUFFIXES)}){also}. Give the folder of a corpus.")
    keys.sort()
    stems = [key.rpartition(".")[0] for key in keys]
    transcripts = [texts.get(stem, "") for stem in stems]
    speakers = [stem.rpartition("/")[2].partition("-")[0] if stem in texts else "" for stem in stems]
    return Listing(folder, keys, transcripts, speakers, missed=tuple(sorted(missed.items())))


def _walk(folder: Path, note: Note) -> Iterator[tuple[str, str]]:
    """(folder below ``folder``, name) of every file that is not hidden. Links are followed, folders entered once."""
    entered = {_identity(folder)}
    for place, folders, names in os.walk(folder, followlinks=True, onerror=note):
        folders[:] = [name for name in sorted(folders) if not name.startswith(".")]
        folders[:] = [name for name in folders if _enter(Path(place, name), entered, note)]
        below = os.path.relpath(place, folder)
        for name in names:
            if not name.startswith("."):  # also ._name, which macOS leaves beside a file
                yield "" if below == "." else below.replace(os.sep, "/"), name


def _enter(folder: Path, entered: set[tuple[int, int]], note: Note) -> bool:
    """Whether a folder was not entered before, by whatever way: links may lead in a circle."""
    try:
        identity = _identity(folder)
    except OSError as error:
        note(error)
        return False
    new = identity not in entered
    entered.add(identity)
    return new


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _read_transcripts(path: Path, place: str, note: Note) -> dict[str, str]:
    """``84-121123-0000 GO DO YOU HEAR`` -> {"dev-clean/84/121123/84-121123-0000": "GO DO YOU HEAR"}."""
    try:
        endless = path.exists() and not path.is_file()  # a pipe
        lines = [] if endless else path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        note(error)
        return {}
    if endless:
        note(OSError(0, "no regular file", str(path)))
    rows = (line.partition(" ") for line in lines if line.strip())
    return {f"{place}/{name}" if place else name: text.strip() for name, _, text in rows}
