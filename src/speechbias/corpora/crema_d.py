"""CREMA-D: 91 actors speak twelve sentences in six emotions (Cao et al. 2014, IEEE Trans. Affective Computing).

Names of files: actor_sentence_emotion_intensity (1001_DFA_ANG_XX.wav), in ``AudioWAV``; who the actors are stands in
``VideoDemographics.csv``. Attributes: happy against anger, disgust, fear and sadness. Targets are taken from neutral
speech, so that emotion does not differ: by sex, by age (at most 30 against at least 50 years), and by race, for which
the corpus has "Caucasian" and "African American" in numbers that suffice.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from speechbias.corpora.corpus import (
    Clip,
    Corpus,
    Part,
    Request,
    contrast,
    find_audio,
    find_file,
    need_columns,
    read_rows,
    refuse_folder,
)

EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
NEGATIVE = ("anger", "disgust", "fear", "sad")
YOUNG_AT_MOST, OLD_AT_LEAST = 30, 50  # years
_NAME = re.compile(r"(\d{4})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX|X)")


def attributes(request: Request) -> Part:
    """A: happy, B: anger, disgust, fear and sad."""
    clips = _read_clips(request)
    a = [clip for clip in clips if clip.kind == "happy"]
    b = [clip for clip in clips if clip.kind in NEGATIVE]
    return contrast(request, {"A": ("Positive", a), "B": ("Negative", b)})


def targets_gender(request: Request) -> Part:
    """X: Female, Y: Male."""
    return _contrast_speakers(request, "gender", ("Female", {"female"}), ("Male", {"male"}))


def targets_race(request: Request) -> Part:
    """X: Caucasian, Y: African American, as the corpus names them."""
    names = ("Caucasian", "African American")
    return _contrast_speakers(request, "race", *((name, {name}) for name in names))


def targets_age(request: Request) -> Part:
    """X: at most 30 years, Y: at least 50."""
    young = {str(age) for age in range(YOUNG_AT_MOST + 1)}
    old = {str(age) for age in range(OLD_AT_LEAST, 130)}
    return _contrast_speakers(request, "age", ("Young", young), ("Old", old))


def _contrast_speakers(request: Request, column: str, x: tuple[str, set[str]], y: tuple[str, set[str]]) -> Part:
    neutral = [clip for clip in _read_clips(request) if clip.kind == "neutral"]
    groups = {
        key: (name, [clip for clip in neutral if clip.columns[column] in values])
        for key, (name, values) in (("X", x), ("Y", y))
    }
    return contrast(request, groups)


def _read_clips(request: Request) -> list[Clip]:
    table = find_file(request, CORPUS, "VideoDemographics.csv")
    actors = read_rows(table)
    need_columns(table, actors, ("ActorID", "Age", "Sex", "Race", "Ethnicity"))
    by_id = {row["ActorID"]: row for row in actors}
    folder = request.folder / "AudioWAV"
    paths = find_audio(folder if folder.is_dir() else request.folder)
    clips = [clip for path in paths if (clip := _parse_name(path, by_id))]
    if not clips:
        raise refuse_folder(request, CORPUS, "AudioWAV/1001_DFA_ANG_XX.wav and the like")
    return clips


def _parse_name(path: Path, actors: Mapping[str, Mapping[str, str]]) -> Clip | None:
    match = _NAME.fullmatch(path.stem)
    if match is None or match[1] not in actors:
        return None
    actor, sentence, emotion, _ = match.groups()
    who = actors[actor]
    columns = {
        "gender": who["Sex"].lower(),
        "age": who["Age"],
        "race": who["Race"],
        "ethnicity": who["Ethnicity"],
        "emotion": EMOTIONS[emotion],
        "sentence": sentence,
        "corpus": "CREMA-D",
    }
    return Clip(path, f"crema-d_{actor}", EMOTIONS[emotion], columns)


CORPUS = Corpus(
    name="crema-d",
    about="the Crowd-sourced Emotional Multimodal Actors Dataset",
    source="https://github.com/CheyneyComputerScience/CREMA-D",
    licence="Open Database License 1.0",
    categories={
        "valence": attributes,
        "gender": targets_gender,
        "age": targets_age,
        "race": targets_race,
    },
    default="valence",
)
