"""Audio files, first station of measuring: any file -> mono float32 wave at the encoder's rate, or a clear refusal.

Conventions: a wave is 1-d float32 in [-1, 1]; several channels become their mean; soxr resamples. wav, flac, mp3,
ogg/vorbis, opus and whatever else libsndfile decodes. Decoders are lenient: most hand out what is left of a truncated
file without a word, and a shortened clip would move an embedding in silence; so containers are checked first.
SpEAT (pydub, linear interpolation) and S3PRL check none of this.
"""

from speechbias.audio.files import (
    CLIPPING_LEVEL,
    CLIPPING_RUN,
    RESAMPLER,
    SILENCE,
    AudioError,
    AudioFacts,
    ChangedError,
    count_samples,
    inspect_audio,
    read_audio,
    refuse_another_length,
)
from speechbias.audio.lengths import measure_length
from speechbias.audio.members import Member, Recording
from speechbias.audio.segments import read_segment

__all__ = [
    "CLIPPING_LEVEL",
    "CLIPPING_RUN",
    "RESAMPLER",
    "SILENCE",
    "AudioError",
    "AudioFacts",
    "ChangedError",
    "Member",
    "Recording",
    "count_samples",
    "inspect_audio",
    "measure_length",
    "read_audio",
    "read_segment",
    "refuse_another_length",
]
