"""Who speaks and what is said: voices, sentences, and what valence does to both.

Conventions: frequencies in Hz, rate in syllables per second, valence in [-1, 1]. Positive valence widens the range
of the fundamental, quickens speech and flattens the spectrum; negative valence does the opposite. A voice's
``habit`` is valence that never leaves it: this is how an association is planted in a group of voices.
"""

from dataclasses import dataclass

import numpy as np

from speechbias.errors import InputError

# First three formants in Hz of an adult vocal tract, rounded from published averages.
VOWELS = {
    "i": (290.0, 2250.0, 2950.0),
    "e": (430.0, 1950.0, 2600.0),
    "a": (730.0, 1250.0, 2550.0),
    "o": (480.0, 900.0, 2500.0),
    "u": (320.0, 850.0, 2350.0),
}

Room = tuple[tuple[int, float], ...]  # early reflections: delay in samples, gain
REFLECTION_DELAYS = range(6, 14)  # a metre or less at 16 kHz: ripples finer than the tilt of the spectrum
REFLECTION = 0.8  # largest gain


@dataclass(frozen=True)
class Consonant:
    """Where the formants start from, how loud the voice goes on, and the noise, if any."""

    locus: tuple[float, float, float]  # Hz
    voicing: float  # amplitude of the voice, vowel = 1
    centre: float = 0.0  # of the noise, Hz
    bandwidth: float = 0.0  # Hz
    loudness: float = 0.0  # root mean square of the noise, voice = 1
    share: float = 1.0  # last part of the consonant that the noise fills: 1 fricative, less for a stop's burst


CONSONANTS = {
    "s": Consonant((310.0, 1750.0, 2600.0), 0.0, 5800.0, 1500.0, 0.45),
    "f": Consonant((310.0, 1100.0, 2300.0), 0.0, 4600.0, 4500.0, 0.2),
    "t": Consonant((310.0, 1800.0, 2650.0), 0.0, 4200.0, 2200.0, 0.5, 0.35),
    "k": Consonant((310.0, 2000.0, 2350.0), 0.0, 2100.0, 900.0, 0.45, 0.4),
    "m": Consonant((270.0, 1050.0, 2200.0), 0.3),
    "n": Consonant((270.0, 1650.0, 2600.0), 0.3),
    "l": Consonant((350.0, 1150.0, 2750.0), 0.5),
}


@dataclass(frozen=True)
class Sentence:
    """Syllables of a consonant and a vowel; ``pause`` is the number of the syllable after which the voice rests."""

    syllables: tuple[str, ...]
    pause: int

    @property
    def text(self) -> str:
        """As one reads it: syllables joined, a comma where the pause is."""
        before, after = self.syllables[: self.pause], self.syllables[self.pause :]
        return ", ".join("".join(part) for part in (before, after) if part)


@dataclass(frozen=True)
class Voice:
    """A speaker: what stays the same from sentence to sentence."""

    f0: float  # mean fundamental, Hz
    formant_scale: float  # every formant times this: above 1 a shorter vocal tract
    jitter: float  # largest relative deviation of a glottal period
    rate: float  # syllables per second
    breathiness: float  # noise in the glottal flow, relative to its root mean square
    darkness: float = 0.55  # pole of the low-pass on all that is said
    habit: float = 0.0  # valence that never leaves the voice

    def __post_init__(self) -> None:
        limits = {
            "f0": (50.0, 500.0),
            "formant_scale": (0.7, 1.5),
            "jitter": (0.0, 0.2),
            "rate": (2.0, 8.0),
            "breathiness": (0.0, 1.0),
            "darkness": (0.0, 0.9),
            "habit": (-2.0, 2.0),
        }
        problems = [
            f"Voice: {name} is {getattr(self, name)}, outside its range. Give a number from {low} to {high}."
            for name, (low, high) in limits.items()
            if not low <= getattr(self, name) <= high
        ]
        if problems:
            raise InputError(*problems)


@dataclass(frozen=True)
class Manner:
    """How one sentence is said: a voice's own way, moved by valence."""

    f0_range: float  # relative to the mean fundamental
    rate: float  # syllables per second
    darkness: float  # pole of the low-pass on all that is said


def manner(voice: Voice, valence: float) -> Manner:
    """What ``valence`` in [-1, 1], on top of the voice's habit, makes of range, rate and tilt."""
    if not -1.0 <= valence <= 1.0:
        raise InputError(f"valence is {valence}. Give a number from -1 (negative) to 1 (positive).")
    felt = voice.habit + valence
    return Manner(
        f0_range=0.3 * max(0.1, 1.0 + 0.3 * felt),
        rate=voice.rate * (1.0 + 0.06 * felt),
        darkness=min(0.95, max(0.0, voice.darkness - 0.16 * felt)),
    )


def draw_room(rng: np.random.Generator) -> Room:
    """Reflections of random strength and sign, which ripple the spectrum but do not tilt it."""
    return tuple((delay, _between(rng, -REFLECTION, REFLECTION)) for delay in REFLECTION_DELAYS)


def draw_voice(rng: np.random.Generator, *, habit: float = 0.0) -> Voice:
    """A voice at random; ``habit`` is the centre of its habitual valence.

    A low fundamental goes, loosely, with a long vocal tract.
    """
    height = rng.random() - 0.5
    return Voice(
        f0=155.0 + 70.0 * height + _between(rng, -5.0, 5.0),
        formant_scale=1.0 + 0.05 * height + _between(rng, -0.0125, 0.0125),
        jitter=_between(rng, 0.004, 0.02),
        rate=_between(rng, 4.4, 4.9),
        breathiness=_between(rng, 0.01, 0.06),
        darkness=_between(rng, 0.54, 0.56),
        habit=habit + _between(rng, -0.05, 0.05),
    )


def draw_sentence(rng: np.random.Generator, *, syllables: int = 5) -> Sentence:
    """Syllables at random, the first consonants voiced and voiceless in turn, and one pause within."""
    voiced = [name for name, consonant in CONSONANTS.items() if consonant.voicing > 0]
    voiceless = [name for name, consonant in CONSONANTS.items() if consonant.voicing == 0]
    drawn = tuple(
        _pick(rng, voiceless if number % 2 == 0 else voiced) + _pick(rng, list(VOWELS)) for number in range(syllables)
    )
    return Sentence(drawn, pause=2 + int(rng.random() * (syllables - 3)) if syllables > 3 else 0)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _pick(rng: np.random.Generator, names: list[str]) -> str:
    return names[int(rng.random() * len(names))]
