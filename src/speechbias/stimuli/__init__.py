"""Stimuli: which clip stands in which set of an association test.

One CSV per test, named after it, with the header ``path,set,group,speaker`` and any further columns (contract.md,
section 3). ``X`` and ``Y`` are the targets, ``A`` and ``B`` the attributes (A positive, B negative in the paper);
``path`` is relative to the CSV; a blank speaker means unknown. SpEAT keeps one tsv per group and reads the rest from
its code; here one table says everything, and everything wrong with it is said at once, before anything is computed.
"""

from speechbias.stimuli.checks import AudioCheck, check_audio
from speechbias.stimuli.sets import Skipped, Stimulus, StimulusSet, make_stimulus_set, stimuli_sha256
from speechbias.stimuli.split import check_held_back, split_stimuli
from speechbias.stimuli.summary import SetSummary, Summary, summarise
from speechbias.stimuli.table import read_stimuli, write_stimuli

__all__ = [
    "AudioCheck",
    "SetSummary",
    "Skipped",
    "Stimulus",
    "StimulusSet",
    "Summary",
    "check_audio",
    "check_held_back",
    "make_stimulus_set",
    "read_stimuli",
    "split_stimuli",
    "stimuli_sha256",
    "summarise",
    "write_stimuli",
]
