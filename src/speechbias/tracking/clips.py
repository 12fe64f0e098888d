"""The clips of some tests, decoded once and kept: what a tracker measures again and again.

In memory lie the waves, 64 kB per second of audio; of a MelHuBERT its mel frames too, as its statistics never change.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from speechbias.audio import AudioFacts, count_samples, read_audio
from speechbias.embeddings import Embeddings, Vectors, assemble, pool
from speechbias.encoder import BatchEncoder, Encoder, VanishingError
from speechbias.errors import InputError
from speechbias.models.batches import padded
from speechbias.models.config import MelFrontend
from speechbias.models.frozen import FrozenNetwork
from speechbias.models.loading import buckets
from speechbias.stimuli import StimulusSet, check_audio, stimuli_sha256


class Clips:
    """The checked, decoded clips of tests at one rate (Hz). InputError, a line per clip that cannot be measured."""

    def __init__(self, tests: Sequence[StimulusSet], *, sample_rate: int = 16_000, min_samples: int = 400) -> None:
        if not tests:
            raise InputError("There is no test to track. Name a stimulus CSV.")
        self.sample_rate = sample_rate
        self.check = check_audio(tests, sample_rate=sample_rate, min_samples=min_samples)
        self.files = list({facts.sha256: facts for facts in self.check.facts.values()}.values())
        self.waves = {facts.sha256: read_audio(facts.path, sample_rate) for facts in self.files}
        self._mel: dict[str, NDArray[np.float32]] = {}
        self._mel_of = ""  # whose they are

    def sha256(self, test: StimulusSet) -> str:
        """What a record says of the stimuli of a test."""
        return stimuli_sha256(test, {clip.path: self.check.facts[clip.path].sha256 for clip in test.stimuli})

    @property
    def tests(self) -> tuple[StimulusSet, ...]:
        """The tests, rows numbered."""
        return self.check.sets

    def embed(self, encoder: Encoder, *, workers: int) -> list[Embeddings]:
        """The embeddings of every test, digit by digit those that ``embed`` gives of the files."""
        self._refuse(encoder)
        if isinstance(encoder, BatchEncoder) and encoder.batch_seconds:
            pooled = self._in_batches(encoder)
        else:
            pooled = pool(encoder, self.files, workers=workers, embed_by=self._pooled)
        return [assemble(encoder, test, self.check, pooled) for test in self.tests]

    def _refuse(self, encoder: Encoder) -> None:
        if encoder.sample_rate != self.sample_rate:
            raise InputError(
                f"{encoder.name} takes {encoder.sample_rate} Hz, the clips were read at {self.sample_rate} Hz; "
                f"make the tracker with sample_rate={encoder.sample_rate}"
            )
        short = [f.path.name for f in self.files if count_samples(f, self.sample_rate) < encoder.min_samples]
        if short:
            raise InputError(
                f"{encoder.name} needs {encoder.min_samples} samples, {len(short)} clips are shorter (first "
                f"{short[0]}); leave them out"
            )

    def _pooled(self, encoder: Encoder, facts: AudioFacts) -> Vectors:
        if isinstance(encoder, FrozenNetwork) and isinstance(encoder.config.frontend, MelFrontend):
            return encoder.pooled_from(self._front(encoder, facts))
        return encoder.pooled(self.waves[facts.sha256])

    def _front(self, encoder: FrozenNetwork, facts: AudioFacts) -> NDArray[np.float32]:
        """The mel frames of a clip, before a model's own statistics."""
        if encoder.front_sha256 != self._mel_of:
            self._mel, self._mel_of = {}, encoder.front_sha256
        if facts.sha256 not in self._mel:
            self._mel[facts.sha256] = encoder.front(self.waves[facts.sha256])
        return self._mel[facts.sha256]

    def _inputs(self, encoder: FrozenNetwork, facts: AudioFacts) -> NDArray[np.float32]:
        """What a network of ours takes of a clip."""
        if isinstance(encoder.config.frontend, MelFrontend):
            return encoder.inputs.finished(self._front(encoder, facts))
        return encoder.inputs(self.waves[facts.sha256])

    def _in_batches(self, encoder: BatchEncoder) -> Mapping[str, Vectors]:
        """As ``measure`` on a GPU: the same batches."""
        assert isinstance(encoder, FrozenNetwork)
        order = buckets(self.files, sample_rate=self.sample_rate, seconds=encoder.batch_seconds)
        batches = (padded([self._inputs(encoder, self.files[index]) for index in bucket]) for bucket in order)
        pooled: dict[str, Vectors] = {}
        for bucket, vectors in zip(order, encoder.pooled_batches(batches), strict=True):
            for index, vector in zip(bucket, vectors, strict=True):
                facts = self.files[index]
                if isinstance(vector, VanishingError):
                    raise vector.of_clip(facts.path)
                if not np.isfinite(vector).all():
                    raise InputError(f"{encoder.name} gives non-finite values for {facts.path}; leave the clip out")
                pooled[facts.sha256] = vector
        return pooled
