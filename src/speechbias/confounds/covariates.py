"""The covariates of the audit: what of a recording can differ between groups beside what a test is about.

Each is one number per clip, NaN where it cannot be measured. Those of a ``channel`` belong to the recording; the
others are made by the speaker, so that a group can differ in them by being what it is (women and men in F0): a flag
on such a one says what d may be carried by, not that the clips were badly chosen.
"""

from dataclasses import dataclass

THRESHOLD = 0.5  # in SDs within groups: beyond it regression alone no longer removes a difference (Rubin 2001)


@dataclass(frozen=True)
class Covariate:
    """Its name in records and options, its name and unit in tables."""

    name: str
    label: str
    unit: str
    least: float  # in its unit: a smaller difference of means is never flagged, however small the spread
    channel: bool = False  # of the recording, not of the speaker
    praat: bool = False  # measured by Praat: needs the extra `audit`


COVARIATES: tuple[Covariate, ...] = (
    Covariate("duration", "duration", "s", 0.02),
    Covariate("rate", "speech rate", "syllables/s", 0.05, praat=True),
    Covariate("pauses", "pauses", "%", 0.5),
    Covariate("f0_mean", "F0 mean", "st re 100 Hz", 0.1, praat=True),
    Covariate("f0_range", "F0 range", "st", 0.1, praat=True),
    Covariate("level", "level", "dBFS", 0.1, channel=True),
    Covariate("active_level", "active level", "dBFS", 0.1, channel=True),
    Covariate("snr", "SNR (estimate)", "dB", 0.5, channel=True),
    Covariate("bandwidth", "bandwidth", "kHz", 0.05, channel=True),
    Covariate("clipping", "clipping", "%", 0.001, channel=True),
)
BY_NAME = {covariate.name: covariate for covariate in COVARIATES}
