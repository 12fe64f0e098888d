"""The archive on disk, in either layout: who speaks, and in which file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechbias.corpora.corpus import AUDIO_SUFFIXES, Corpus, Request, need_columns, read_rows, refuse_folder
from speechbias.errors import InputError
from speechbias.stimuli import Stimulus

ARCHIVE = Corpus(
    name="accent-archive",
    about="the Speech Accent Archive (speakers_all.csv and recordings/*.mp3)",
    source="https://www.kaggle.com/datasets/rtatman/speech-accent-archive or https://accent.gmu.edu",
    licence="CC BY-NC-SA 4.0",
    categories={},  # of whoever builds from it
)
GROUPS = {
    "gender": ("Female", "Male"),
    "native": ("US", "Korean"),
    "age": ("Young", "Old"),
    "age-uk": ("Young", "Old"),
}


@dataclass(frozen=True)
class Speaker:
    """One speaker of the archive whose recording is there, as either layout describes them."""

    id: str
    name: str  # english104: the name of the recording in the archive
    sex: str
    age: float  # years; NaN where unknown
    native_language: str
    country: str
    path: Path

    def place(self, key: str, group: str, *, pair: str = "") -> Stimulus:
        """The speaker's recording as a stimulus of set ``key``."""
        columns = {
            "gender": self.sex,
            "age": "" if math.isnan(self.age) else f"{self.age:g}",
            "native_language": self.native_language,
            "country": self.country,
            "corpus": "Speech Accent Archive",
        }
        return Stimulus(self.path, key, group, self.id, pair, columns=columns)


def read_archive(request: Request) -> dict[str, Speaker]:
    """Speakers by archive id whose recording is there."""
    folder = request.folder
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder. Give the folder of {ARCHIVE.about}: accent-archive:CATEGORY=FOLDER.")
    if (folder / "speakers_all.csv").is_file():
        speakers = _read_public_copy(folder)
    elif tables := sorted([*folder.glob("clip_info.csv"), *folder.glob("*/clip_info.csv")]):
        speakers = [speaker for table in tables for speaker in _read_clip_info(table)]
    else:
        raise refuse_folder(request, ARCHIVE, "speakers_all.csv (nor SpEAT's clip_info.csv)")
    if not speakers:
        raise refuse_folder(request, ARCHIVE, "recording beside its table (recordings/*.mp3, or <id>.wav)")
    return {speaker.id: speaker for speaker in speakers}


def _read_public_copy(folder: Path) -> list[Speaker]:
    table = folder / "speakers_all.csv"
    rows = read_rows(table)
    need_columns(table, rows, ("age", "filename", "native_language", "sex", "speakerid", "country"))
    audio = _index_audio(folder, folder / "recordings", folder / "recordings" / "recordings")
    return [
        _make_speaker(row, audio[row["filename"]], row["speakerid"], row["filename"], row["country"])
        for row in rows
        if row["filename"] in audio
    ]


def _read_clip_info(table: Path) -> list[Speaker]:
    rows = read_rows(table)
    need_columns(table, rows, ("id", "name", "birth_place", "native_language", "age", "sex"))
    audio = _index_audio(table.parent)
    found = [(row, audio.get(row["id"]) or audio.get(row["name"])) for row in rows]
    return [
        _make_speaker(row, path, row["id"], row["name"], row["birth_place"].rsplit(",", 1)[-1].strip())
        for row, path in found
        if path is not None
    ]


def in_order(speaker: Speaker) -> tuple[int, str]:
    """Ids in numerical order."""
    return len(speaker.id), speaker.id


def _parse_age(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _make_speaker(row: Mapping[str, str], path: Path, identity: str, name: str, country: str) -> Speaker:
    sex = row["sex"].replace("famale", "female")  # one row of the public copy
    return Speaker(identity, name, sex, _parse_age(row["age"]), row["native_language"], country, path)


def _index_audio(*folders: Path) -> dict[str, Path]:
    """Recordings by name without suffix."""
    found = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    return {path.stem: path for path in reversed(found) if path.suffix.lower() in AUDIO_SUFFIXES}


def refuse_if_empty(request: Request, placed: Sequence[object], category: str) -> None:
    """InputError where no clip of a category is there."""
    if not placed:
        raise InputError(f"{request.folder} holds no recording of the category {category}. Is the corpus complete?")
