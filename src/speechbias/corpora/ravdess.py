"""RAVDESS: 24 professional actors speak two sentences in eight emotions (Livingstone & Russo 2018, PLOS ONE).

Names of files: modality-channel-emotion-intensity-statement-repetition-actor; odd actors are men. Only audio speech
(03-01) counts. Which emotions are positive is a choice: ``valence`` takes calm and happy against angry, sad, fearful
and disgust, all of strong intensity, so that both sides have a quiet emotion; ``valence-happy`` takes happy alone.
Neutral and surprised have no agreed valence. ``gender`` takes neutral speech, so that emotion does not differ.
"""

import re
from pathlib import Path

from speechbias.corpora.corpus import Clip, Corpus, Part, Request, contrast, find_audio, refuse_folder

EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
POSITIVE = ("calm", "happy")
NEGATIVE = ("sad", "angry", "fearful", "disgust")
_NAME = re.compile(r"03-01-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)")


def attributes(request: Request) -> Part:
    """A: calm and happy, B: sad, angry, fearful and disgust."""
    return _contrast_emotions(request, POSITIVE)


def attributes_happy(request: Request) -> Part:
    """A: happy alone, B: sad, angry, fearful and disgust."""
    return _contrast_emotions(request, ("happy",))


def targets(request: Request) -> Part:
    """X: women, Y: men, both in neutral speech."""
    neutral = [clip for clip in _read_clips(request) if clip.kind == "neutral"]
    groups = {sex: [clip for clip in neutral if clip.columns["gender"] == sex] for sex in ("female", "male")}
    return contrast(request, {"X": ("Female", groups["female"]), "Y": ("Male", groups["male"])})


def _contrast_emotions(request: Request, positive: tuple[str, ...]) -> Part:
    strong = [clip for clip in _read_clips(request) if clip.columns["intensity"] == "strong"]
    a = [clip for clip in strong if clip.kind in positive]
    b = [clip for clip in strong if clip.kind in NEGATIVE]
    return contrast(request, {"A": ("Positive", a), "B": ("Negative", b)})


def _read_clips(request: Request) -> list[Clip]:
    clips = [clip for path in find_audio(request.folder) if (clip := _parse_name(path))]
    if not clips:
        raise refuse_folder(request, CORPUS, "Actor_01/03-01-*.wav (audio speech)")
    return clips


def _parse_name(path: Path) -> Clip | None:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        return None
    emotion, intensity, statement, _, actor = match.groups()
    columns = {
        "gender": "male" if int(actor) % 2 else "female",
        "emotion": EMOTIONS[emotion],
        "intensity": "strong" if intensity == "02" else "normal",
        "text": "Kids are talking by the door" if statement == "01" else "Dogs are sitting by the door",
        "corpus": "RAVDESS",
    }
    return Clip(path, f"ravdess_{actor}", EMOTIONS[emotion], columns)


CORPUS = Corpus(
    name="ravdess",
    about="the Ryerson Audio-Visual Database of Emotional Speech and Song (Audio_Speech_Actors_01-24)",
    source="https://zenodo.org/records/1188976",
    licence="CC BY-NC-SA 4.0",
    categories={"valence": attributes, "valence-happy": attributes_happy, "gender": targets},
    default="valence",
)
