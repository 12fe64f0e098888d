"""Emo-DB: ten German actors speak ten sentences in seven emotions (Burkhardt et al. 2005, Interspeech).

Names of files: speaker, sentence, emotion by its German initial, version (03a01Fa.wav: speaker 03, sentence a01,
Freude). Attributes: happiness against anger, disgust, fear and sadness; neutral and boredom are left out, as their
valence is open. Targets by sex take neutral speech.
"""

import re
from pathlib import Path

from speechbias.corpora.corpus import Clip, Corpus, Part, Request, contrast, find_audio, refuse_folder

EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
NEGATIVE = ("anger", "disgust", "fear", "sadness")
MEN = frozenset({"03", "10", "11", "12", "15"})
WOMEN = frozenset({"08", "09", "13", "14", "16"})
_NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-z])")


def attributes(request: Request) -> Part:
    """A: happiness, B: anger, disgust, fear and sadness."""
    clips = _read_clips(request)
    a = [clip for clip in clips if clip.kind == "happiness"]
    b = [clip for clip in clips if clip.kind in NEGATIVE]
    return contrast(request, {"A": ("Positive", a), "B": ("Negative", b)})


def targets(request: Request) -> Part:
    """X: women, Y: men, both in neutral speech."""
    neutral = [clip for clip in _read_clips(request) if clip.kind == "neutral"]
    groups = {sex: [clip for clip in neutral if clip.columns["gender"] == sex] for sex in ("female", "male")}
    return contrast(request, {"X": ("Female", groups["female"]), "Y": ("Male", groups["male"])})


def _read_clips(request: Request) -> list[Clip]:
    clips = [clip for path in find_audio(request.folder) if (clip := _parse_name(path))]
    if not clips:
        raise refuse_folder(request, CORPUS, "wav/03a01Fa.wav and the like")
    return clips


def _parse_name(path: Path) -> Clip | None:
    match = _NAME.fullmatch(path.stem)
    if match is None or match[1] not in MEN | WOMEN:
        return None
    speaker, sentence, emotion, _ = match.groups()
    columns = {
        "gender": "male" if speaker in MEN else "female",
        "emotion": EMOTIONS[emotion],
        "sentence": sentence,
        "corpus": "Emo-DB",
    }
    return Clip(path, f"emodb_{speaker}", EMOTIONS[emotion], columns)


CORPUS = Corpus(
    name="emodb",
    about="the Berlin Database of Emotional Speech (wav/03a01Fa.wav)",
    source="http://emodb.bilderbar.info",
    licence="see its site",
    categories={"valence": attributes, "gender": targets},
    default="valence",
)
