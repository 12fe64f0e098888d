"""Voices made here, with known groups and a planted association: what the demo and the tests measure.

A seeded source-filter synthesiser in float64 writes 16-bit PCM at 16 kHz; the same seed gives the same bytes.
``voice`` (who speaks, what is said, where), ``sound`` (the arithmetic of source, filters and noise), ``speech`` (one
sentence said by one voice) and ``sets`` (clips and CSVs of the two tests).
"""

from speechbias.synthetic.sets import write_stimuli_sets
from speechbias.synthetic.sound import SAMPLE_RATE
from speechbias.synthetic.speech import synthesise
from speechbias.synthetic.voice import Room, Sentence, Voice, draw_room, draw_sentence, draw_voice

__all__ = [
    "SAMPLE_RATE",
    "Room",
    "Sentence",
    "Voice",
    "draw_room",
    "draw_sentence",
    "draw_voice",
    "synthesise",
    "write_stimuli_sets",
]
