"""Two association tests of known outcome: clips and CSVs in the contract's format.

``planted.csv``: group-1 has by habit what positive valence brings (wider range of the fundamental, faster, brighter)
and group-2 what negative valence brings, ``HABIT`` times as strong as in an attribute clip; else the voices of both
are drawn alike. Every voice stands in one set only and speaks ``TAKES`` times (design ``speaker``).
``null.csv``: every voice says each of its sentences once in X and once in Y (design ``within-speaker``), and chance
alone decides which take goes where. The relabelling of the test does not know that sentences are balanced, so a
p_value below alpha comes up less often than alpha.
Both share the attributes: talkers who stand in no target set, each saying the same sentences positively and
negatively.

A sentence has a room whose reflections ripple the spectrum, the same wherever the sentence is said: it cancels in
every comparison of sets and not in the relabelled ones. Without such variation the attribute clips would differ in
nothing but valence, any relabelling of them would point along it, and p_attribute could never be small.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from speechbias.errors import InputError, naming
from speechbias.results import SETS
from speechbias.stimuli import Stimulus, StimulusSet, write_stimuli
from speechbias.synthetic.sound import SAMPLE_RATE
from speechbias.synthetic.speech import synthesise
from speechbias.synthetic.voice import Room, Sentence, Voice, draw_room, draw_sentence, draw_voice

TAKES = 2  # sentences per voice and set
HABIT = 1.9  # of group-1; that of group-2 is its negative

Session = tuple[Sentence, Room]


@dataclass(frozen=True)
class Clip:
    """One clip to be made and where it stands."""

    name: str
    set: str
    group: str
    speaker: str
    voice: Voice
    sentence: Sentence
    room: Room
    valence: float = 0.0

    def stimulus(self, folder: Path) -> Stimulus:
        """The clip as a row of a CSV, its audio lying in ``folder/clips``."""
        columns = {"valence": f"{self.valence:+.0f}" if self.valence else "0", "text": self.sentence.text}
        path = folder / "clips" / f"{self.name}.wav"
        return Stimulus(path, self.set, self.group, self.speaker, columns=columns)


def write_stimuli_sets(folder: Path | str, *, seed: int = 0, voices: int = 12) -> tuple[Path, Path]:
    """Write ``clips/*.wav``, ``planted.csv`` and ``null.csv`` into ``folder``; returns the two CSVs' paths.

    ``voices`` is the number of talkers per set (at least 2, else InputError): twelve times as many clips in all, of
    1.1 to 1.7 s. The same seed gives the same bytes.
    """
    if voices < 2:
        raise InputError(f"voices is {voices}: a set needs at least 2 talkers.")
    folder = Path(folder)
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    sessions = [_draw_session(_generator(seed, "session", number)) for number in range(TAKES * voices)]
    attributes = list(_attributes(sessions, seed=seed))
    tests = {"planted": list(_planted(sessions, seed=seed)), "null": list(_null(sessions, seed=seed))}
    for clip in [*attributes, *tests["planted"], *tests["null"]]:
        rng = _generator(seed, clip.name)
        samples = synthesise(clip.voice, valence=clip.valence, sentence=clip.sentence, room=clip.room, rng=rng)
        soundfile.write(buffer := io.BytesIO(), samples, SAMPLE_RATE, subtype="PCM_16", format="WAV")
        path = folder / "clips" / f"{clip.name}.wav"
        with naming(path):  # soundfile itself does not say that a disk is full
            path.write_bytes(buffer.getvalue())
    planted, null = (_write_table(folder, name, clips + attributes) for name, clips in tests.items())
    return planted, null


def _planted(sessions: list[Session], *, seed: int) -> Iterator[Clip]:
    """Group-1 in X and group-2 in Y; the n-th voices of both say the same sentences."""
    for set_, group, habit in (("X", "group-1", HABIT), ("Y", "group-2", -HABIT)):
        for number, take, session in _said(sessions):
            speaker = f"{group}-{number + 1:02d}"
            voice = draw_voice(_generator(seed, speaker), habit=habit)
            yield Clip(f"{speaker}-{take}", set_, group, speaker, voice, *session)


def _null(sessions: list[Session], *, seed: int) -> Iterator[Clip]:
    """Every voice says each of its sentences twice; a coin decides which take goes to X."""
    for number, take, session in _said(sessions):
        speaker = f"same-{number + 1:02d}"
        voice = draw_voice(_generator(seed, speaker))
        first_to_x = _generator(seed, "coin", number, take).random() < 0.5
        for half, to_x in (("a", first_to_x), ("b", not first_to_x)):
            set_, group = ("X", "half-1") if to_x else ("Y", "half-2")
            yield Clip(f"{speaker}-{take}{half}", set_, group, speaker, voice, *session)


def _attributes(sessions: list[Session], *, seed: int) -> Iterator[Clip]:
    """Each talker says each of its sentences positively (A) and negatively (B)."""
    for set_, group, valence in (("A", "positive", 1.0), ("B", "negative", -1.0)):
        for number, take, session in _said(sessions):
            speaker = f"talker-{number + 1:02d}"
            voice = draw_voice(_generator(seed, speaker))
            yield Clip(f"{speaker}-{group}-{take}", set_, group, speaker, voice, *session, valence)


def _said(sessions: list[Session]) -> Iterator[tuple[int, int, Session]]:
    """(voice number from 0, take from 1, sentence): the n-th voice of every set says the same sentences."""
    for index, session in enumerate(sessions):
        yield index // TAKES, index % TAKES + 1, session


def _draw_session(rng: np.random.Generator) -> Session:
    return draw_sentence(rng), draw_room(rng)


def _generator(seed: int, *key: str | int) -> np.random.Generator:
    """A stream of its own for every name, so that no clip's samples depend on another's."""
    words = [int.from_bytes(str(part).encode(), "little") for part in key]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))


def _write_table(folder: Path, name: str, clips: list[Clip]) -> Path:
    X, Y, A, B = (tuple(clip.stimulus(folder) for clip in clips if clip.set == set_) for set_ in SETS)
    path = folder / f"{name}.csv"
    write_stimuli(StimulusSet(name, X, Y, A, B), path)
    return path
