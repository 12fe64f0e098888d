"""Morgan Emotional Speech Set: 6 talkers, 4 emotions, rated for valence (Morgan 2019, JSLHR 62(11)).

SpEAT's attributes, which the paper takes over: the 10 clips of highest and the 10 of lowest rated valence per talker,
60 against 60. SpEAT shuffles the ratings with a fixed seed and then sorts by talker and valence, so the seed decides
between equal ratings; its order is followed exactly. Ratings stand in ``Coded stimuli final.xlsx``; the audio of a
code is ``<code>_SCR.wav``. A row whose file is not there takes no part.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openpyxl

from speechbias.corpora.corpus import Clip, Corpus, Part, Request, find_audio, find_file, refuse_folder
from speechbias.errors import InputError, os_reason

RATINGS = "Coded stimuli final.xlsx"
SEED = 431137  # SpEAT's, for numpy's legacy generator
PER_TALKER = 10
COLUMNS = ("code", "Gender", "Talker", "Emotion", "Cue", "Valence", "Arousal")


@dataclass(frozen=True)
class _Rated:
    clip: Clip
    valence: float


def attributes(request: Request) -> Part:
    """A: highest, B: lowest valence of each talker. ``count`` clips per set are shared out evenly over talkers."""
    table = find_file(request, CORPUS, RATINGS)
    rows = _read_ratings(table)
    audio = {path.stem: path for path in find_audio(request.folder, suffixes=(".wav",))}
    rated = [_rate(row, audio[f"{row['code']}_SCR"]) for row in rows if f"{row['code']}_SCR" in audio]
    if not rated:
        raise refuse_folder(request, CORPUS, f"*_SCR.wav for the codes in {RATINGS}")
    talkers = _sort_by_valence(rated)
    per_talker = PER_TALKER if request.count is None else max(request.count // len(talkers), 1)
    _check_size(request, talkers, per_talker)
    low = [each.clip.place("B", "Negative") for ranked in talkers.values() for each in ranked[:per_talker]]
    high = [each.clip.place("A", "Positive") for ranked in talkers.values() for each in ranked[-per_talker:]]
    notes = [
        f"A and B: the {per_talker} clips of highest and lowest valence of each of {len(talkers)} talkers (SpEAT)"
    ]
    if len(rated) < len(rows):
        notes.append(f"{len(rows) - len(rated)} of {len(rows)} rated clips have no _SCR.wav here and take no part")
    if request.count is not None and len(high) != request.count:
        notes.append(f"{request.count} clips per set were asked for; {len(high)} share out evenly over the talkers")
    return Part((*high, *low), tuple(notes))


def _read_ratings(path: Path) -> list[dict[str, str]]:
    """Rows of the first sheet that has the columns, rows without a number for valence left out."""
    try:
        rows = _rows(path)
    except Exception as error:  # noqa: BLE001 (zip, XML and openpyxl let out whatever a damaged file raises)
        why = os_reason(error, otherwise="damaged, or of another kind")
        raise InputError(f"{path} cannot be read as an Excel file ({why}). Get the corpus again.") from None
    if rows is not None:
        return rows
    raise InputError(f"{path} has no sheet with the columns {', '.join(COLUMNS)}. Is it the corpus's own file?")


def _rows(path: Path) -> list[dict[str, str]] | None:
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        for sheet in book.worksheets:
            lines = sheet.iter_rows(values_only=True)
            header = [str(value or "").strip() for value in next(lines, ())]
            if {"code", "Gender", "Talker", "Valence"} <= set(header):
                rows = [dict(zip(header, map(_to_text, line), strict=False)) for line in lines]
                return [row for row in rows if _is_number(row["Valence"])]
    finally:
        book.close()
    return None


def _to_text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _rate(row: dict[str, str], path: Path) -> _Rated:
    columns = {name.lower(): row.get(name, "") for name in COLUMNS if name not in ("code", "Talker", "Gender")}
    gender = {"f": "female", "m": "male"}.get(row["Gender"].lower()[:1], row["Gender"])
    columns = {"gender": gender, **columns, "corpus": "Morgan"}
    return _Rated(Clip(path, f"{row['Gender']}{row['Talker']}", columns=columns), float(row["Valence"]))


def _sort_by_valence(rated: Sequence[_Rated]) -> dict[str, list[_Rated]]:
    """Talker -> clips from lowest to highest valence, equal ones in SpEAT's random order.

    pandas: ``df.sample(frac=1)`` under a global seed is this permutation; sorting by two columns is stable.
    """
    shuffled = [rated[index] for index in np.random.RandomState(SEED).permutation(len(rated))]
    talkers = defaultdict(list)
    for each in sorted(shuffled, key=lambda each: (each.clip.speaker, each.valence)):
        talkers[each.clip.speaker].append(each)
    return dict(talkers)


def _check_size(request: Request, talkers: dict[str, list[_Rated]], per_talker: int) -> None:
    problems = [
        f"{request.folder}: talker {talker} has {len(ranked)} rated clips; {2 * per_talker} are needed. "
        "Complete the corpus, or ask for fewer with --count."
        for talker, ranked in talkers.items()
        if len(ranked) < 2 * per_talker
    ]
    if problems:
        raise InputError(*problems)


CORPUS = Corpus(
    name="morgan",
    about="the Morgan Emotional Speech Set (*_SCR.wav and its ratings)",
    source="its author, S. D. Morgan (doi 10.1044/2019_JSLHR-S-19-0144)",
    licence="on request",
    categories={"valence": attributes},
    default="valence",
)
