"""LibriSpeech: read English from LibriVox (Panayotov et al. 2015, ICASSP); targets by sex.

``SPEAKERS.TXT`` has a line ``ID | SEX | SUBSET | MINUTES | NAME`` per speaker; audio lies under
``<subset>/<speaker>/<chapter>/*.flac``. Sex is what LibriVox readers' profiles were labelled with, F or M.
"""

from pathlib import Path

from speechbias.corpora.corpus import Clip, Corpus, Part, Request, contrast, find_file, refuse_folder

SEXES = {"F": "female", "M": "male"}


def targets(request: Request) -> Part:
    """X: female, Y: male speakers; clips spread over speakers, so that one rarely stands there twice."""
    speakers = read_speakers(find_file(request, CORPUS, "SPEAKERS.TXT"))
    clips = [clip for folder in _speaker_folders(request.folder) for clip in _list_clips(folder, speakers)]
    if not clips:
        raise refuse_folder(request, CORPUS, "audio under <subset>/<speaker>/<chapter>/*.flac")
    women, men = ([clip for clip in clips if clip.columns["gender"] == sex] for sex in SEXES.values())
    return contrast(request, {"X": ("Female", women), "Y": ("Male", men)})


def read_speakers(path: Path) -> dict[str, str]:
    """Speaker id -> female or male."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    fields = [[part.strip() for part in line.split("|")] for line in lines if line and not line.startswith(";")]
    return {row[0]: SEXES[row[1]] for row in fields if len(row) >= 3 and row[1] in SEXES}


def _speaker_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.name.isdigit() and path.is_dir())


def _list_clips(folder: Path, speakers: dict[str, str]) -> list[Clip]:
    if folder.name not in speakers:
        return []
    columns = {"gender": speakers[folder.name], "subset": folder.parent.name, "corpus": "LibriSpeech"}
    return [
        Clip(path, f"librispeech_{folder.name}", path.parent.name, columns) for path in sorted(folder.glob("*/*.flac"))
    ]


CORPUS = Corpus(
    name="librispeech",
    about="LibriSpeech (the folder with SPEAKERS.TXT)",
    source="https://www.openslr.org/12",
    licence="CC BY 4.0",
    categories={"gender": targets},
    default="gender",
)
