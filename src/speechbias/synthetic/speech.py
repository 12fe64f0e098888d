"""One sentence said by one voice: from syllables to samples.

A sentence is first laid out in time as a ``Score``: (time, value) points of loudness, pitch and formants, and spans
of noise. Then source, vocal tract and noise are computed and summed. Times in seconds, frequencies in Hz.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from speechbias.synthetic.sound import (
    SAMPLE_RATE,
    Signal,
    coloured_noise,
    darken,
    difference,
    follow,
    glottal_flow,
    noise,
    reflect,
    resonate,
    rms,
)
from speechbias.synthetic.voice import (
    CONSONANTS,
    VOWELS,
    Consonant,
    Manner,
    Room,
    Sentence,
    Voice,
    draw_sentence,
    manner,
)

MARGIN = 0.3  # silence before and after a sentence, in syllables: its share does not depend on the rate
PAUSE = 0.45  # within a sentence, in syllables
LEVEL = 0.07  # root mean square of a clip, full scale = 1
PEAK = 0.9  # never louder than this
ROOM = 0.0002  # root mean square of the room's noise, full scale = 1
UPPER_FORMANTS = (3500.0, 4500.0)
BANDWIDTHS = np.array([70.0, 90.0, 140.0, 220.0, 300.0])

Points = list[tuple[float, float]]


@dataclass
class Score:
    """A sentence laid out in time."""

    seconds: float  # so far
    loudness: Points = field(default_factory=list)
    pitch: Points = field(default_factory=list)  # deviation from the mean fundamental, in units of the range
    formants: tuple[Points, Points, Points] = field(default_factory=lambda: ([], [], []))
    noises: list[tuple[float, float, Consonant]] = field(default_factory=list)  # start, stop

    def place_formants(self, time: float, targets: tuple[float, float, float]) -> None:
        """All three formants pass through ``targets`` at ``time``."""
        for points, target in zip(self.formants, targets, strict=True):
            points.append((time, target))


def synthesise(
    voice: Voice,
    *,
    valence: float = 0.0,
    sentence: Sentence | None = None,
    room: Room = (),
    rng: np.random.Generator,
) -> NDArray[np.int16]:
    """One take of ``sentence`` (drawn when not given), shape (samples,), 16-bit PCM at ``SAMPLE_RATE``.

    ``rng`` should be a PCG64 generator; it draws timing, accents and noise, so two takes are never the same.
    Raises InputError for a valence outside [-1, 1].
    """
    said = draw_sentence(rng) if sentence is None else sentence
    how = manner(voice, valence)
    score = lay_out(said, how, rng=rng)
    speech = darken(_voiced(score, voice, how, rng=rng) + _noises(score, rng=rng), how.darkness)
    speech = reflect(speech, room)
    speech = speech * min(LEVEL / rms(speech), (PEAK - 2.0 * ROOM) / float(np.max(np.abs(speech))))
    return np.rint((speech + ROOM * noise(rng, len(speech))) * 32767.0).astype(np.int16)


def lay_out(sentence: Sentence, how: Manner, *, rng: np.random.Generator) -> Score:
    """The sentence in time: syllables of nearly even length, falling pitch with accents, one pause."""
    score = Score(seconds=MARGIN / how.rate)
    score.loudness.append((0.0, 0.0))
    last = max(1, len(sentence.syllables) - 1)
    for number, syllable in enumerate(sentence.syllables):
        if number and number == sentence.pause:
            score.loudness.append((score.seconds + 0.02, 0.0))
            score.seconds += PAUSE / how.rate
            score.loudness.append((score.seconds - 0.01, 0.0))
        accent = 0.5 - number / last + 0.6 * (rng.random() - 0.5)
        seconds = (0.9 + 0.2 * rng.random()) / how.rate
        _add_syllable(score, CONSONANTS[syllable[0]], VOWELS[syllable[1]], seconds=seconds, accent=accent)
    score.loudness.append((score.seconds + 0.03, 0.0))
    score.seconds += MARGIN / how.rate
    return score


def _add_syllable(
    score: Score, consonant: Consonant, vowel: tuple[float, float, float], *, seconds: float, accent: float
) -> None:
    """A consonant (40 % of the time) whose formants glide into a vowel's."""
    start, middle, stop = score.seconds, score.seconds + 0.4 * seconds, score.seconds + seconds
    score.place_formants(start + 0.1 * seconds, consonant.locus)
    score.place_formants(start + 0.35 * seconds, consonant.locus)
    score.place_formants(middle + 0.15 * seconds, vowel)
    score.place_formants(stop - 0.1 * seconds, vowel)
    score.loudness.append((start + 0.06 * seconds, consonant.voicing))
    score.loudness.append((middle - 0.03 * seconds, consonant.voicing))
    score.loudness.append((middle + 0.1 * seconds, 1.0))
    score.loudness.append((stop - 0.08 * seconds, 0.7))
    score.pitch.append((middle + 0.2 * seconds, accent))
    if consonant.loudness:
        score.noises.append((middle - 0.4 * seconds * consonant.share, middle, consonant))
    score.seconds = stop


def _voiced(score: Score, voice: Voice, how: Manner, *, rng: np.random.Generator) -> Signal:
    """Glottal source through the vocal tract, radiated at the lips; root mean square 1."""
    samples = int(score.seconds * SAMPLE_RATE)
    time = np.arange(samples) / SAMPLE_RATE
    f0 = voice.f0 * (1.0 + how.f0_range * follow(score.pitch, time))
    flow = glottal_flow(f0, jitter=voice.jitter, rng=rng)
    breath = noise(rng, samples) * (0.2 + flow) * voice.breathiness
    source = difference(flow + breath) * follow(score.loudness, time)
    lower = [follow(points, time) for points in score.formants]
    upper = [np.full(samples, formant) for formant in UPPER_FORMANTS]
    speech = resonate(source, voice.formant_scale * np.stack([*lower, *upper], axis=1), BANDWIDTHS)
    return speech / rms(speech)


def _noises(score: Score, *, rng: np.random.Generator) -> Signal:
    """Frication and bursts, each rising and falling as a parabola."""
    total = np.zeros(int(score.seconds * SAMPLE_RATE))
    for start, stop, consonant in score.noises:
        first, count = int(start * SAMPLE_RATE), int((stop - start) * SAMPLE_RATE)
        share = (np.arange(count) + 0.5) / count
        burst = coloured_noise(rng, count, centre=consonant.centre, bandwidth=consonant.bandwidth)
        span = slice(first, first + count)
        total[span] = total[span] + consonant.loudness * 4.0 * share * (1.0 - share) * burst
    return total
