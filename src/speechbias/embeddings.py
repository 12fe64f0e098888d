"""Embeddings: encoder x stimuli -> one pooled vector per clip and hidden state, shape (stimuli, states, dim).

One utterance at a time, because padding changes group-norm models, or in batches where an encoder takes such (our
networks on a GPU, which padding does not change); every audio file once, even when it stands in
several tests. A cache on disk holds pooled vectors only (no audio, no names), one file per clip, keyed by everything
that fixes their digits, so killed work goes on where it stopped and two processes can share a folder.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from speechbias.audio import AudioFacts, read_audio
from speechbias.encoder import BatchEncoder, Dated, Encoder, Sized, VanishingError, check_not_fitted
from speechbias.errors import InputError, os_reason
from speechbias.kept import read_kept
from speechbias.progress import Progress
from speechbias.results import SETS, write_whole
from speechbias.stimuli import AudioCheck, StimulusSet, check_audio, stimuli_sha256

Vectors = NDArray[np.floating]
EmbedBy = Callable[[Encoder, AudioFacts], Vectors]
Keep = Callable[[AudioFacts, Vectors], Vectors]


@dataclass(frozen=True)
class Model:
    """What a record says of the model: everything of an encoder but its weights."""

    name: str
    family: str
    states: str
    dtype: str
    sha256: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    step: int | None = None  # optimiser updates behind it
    run: Mapping[str, Any] | None = None  # of which training run
    parameters: int | None = None
    made_smaller: Mapping[str, Any] = field(default_factory=dict)  # the fields of a record that say how

    @classmethod
    def of(cls, encoder: Encoder) -> "Model":
        """The description of an encoder."""
        step, run = (encoder.step, encoder.run) if isinstance(encoder, Dated) else (None, None)
        parameters, smaller = None, {}
        if isinstance(encoder, Sized):
            parameters, smaller = encoder.parameters, {**encoder.pruned, **encoder.distilled}
        return cls(
            encoder.name,
            encoder.family,
            encoder.states,
            encoder.dtype,
            encoder.sha256,
            dict(encoder.recipe),
            step,
            None if run is None else dict(run),
            parameters,
            smaller,
        )


@dataclass(frozen=True)
class Embeddings:
    """Pooled embeddings of one test: ``array`` (stimuli, states, dim), in the order X, Y, A, B."""

    array: Vectors
    n: Mapping[str, int]
    test: str
    model: Model
    speakers: Mapping[str, tuple[str, ...]]
    pairs: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, str]
    stimuli_sha256: str
    seconds: Mapping[str, float] = field(default_factory=dict)
    skipped: tuple[Mapping[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()

    def sets(self) -> dict[str, Vectors]:
        """The array cut into its four sets, each (stimuli, states, dim)."""
        ends = np.cumsum([self.n[name] for name in SETS])
        return dict(zip(SETS, np.split(self.array, ends[:-1]), strict=True))


def embed(
    encoder: Encoder,
    stimuli: StimulusSet,
    *,
    workers: int = 1,
    cache: Path | str | None = None,
    progress: bool = False,
    skip_bad: bool = False,
) -> Embeddings:
    """Embed every clip of a test: mean over its valid frames, per hidden state (paper, Section 2.2).

    ``workers`` clips are embedded at a time, one thread each; the result does not depend on it. ``cache`` is a
    folder that keeps pooled vectors between runs. Raises ``InputError`` with a line per unusable file before
    anything is computed, unless ``skip_bad`` leaves such clips and their pair partners out.
    """
    check = check_audio([stimuli], sample_rate=encoder.sample_rate, min_samples=encoder.min_samples, skip_bad=skip_bad)
    refuse_fitted(encoder, check.sets[0], check)
    pooled = pool(encoder, list(check.facts.values()), workers=workers, cache=cache, progress=progress)
    return assemble(encoder, check.sets[0], check, pooled)


def refuse_fitted(encoder: Encoder, stimuli: StimulusSet, check: AudioCheck) -> None:
    """InputError where the encoder is one from which something was removed that was fitted on clips of this test."""
    clips = stimuli.stimuli
    check_not_fitted(encoder, stimuli.name, (c.speaker for c in clips), (check.facts[c.path].sha256 for c in clips))


def assemble(encoder: Encoder, stimuli: StimulusSet, check: AudioCheck, pooled: Mapping[str, Vectors]) -> Embeddings:
    """Put the pooled vectors of one test (by the SHA-256 of the audio) into the order of its sets.

    InputError where the encoder is one from which something was removed that was fitted on clips of this test.
    """
    facts = check.facts
    refuse_fitted(encoder, stimuli, check)
    return Embeddings(
        array=np.stack([pooled[facts[clip.path].sha256] for clip in stimuli.stimuli]),
        n={name: len(getattr(stimuli, name)) for name in SETS},
        test=stimuli.name,
        model=Model.of(encoder),
        speakers=stimuli.speakers,
        pairs=stimuli.pairs,
        groups=stimuli.groups,
        stimuli_sha256=stimuli_sha256(stimuli, {clip.path: facts[clip.path].sha256 for clip in stimuli.stimuli}),
        seconds={name: round(sum(facts[c.path].seconds for c in getattr(stimuli, name)), 3) for name in SETS},
        skipped=tuple(check.skipped.get(stimuli.name, ())),
        warnings=stimuli.warnings + tuple(check.warnings.get(stimuli.name, ())),
    )


def pool(
    encoder: Encoder,
    files: Sequence[AudioFacts],
    *,
    workers: int = 1,
    cache: Path | str | None = None,
    progress: bool = False,
    embed_by: EmbedBy | None = None,
) -> dict[str, Vectors]:
    """Pooled embeddings (states, dim) of audio files, by the SHA-256 of their bytes; equal files once.

    ``embed_by`` gives what ``pooled_file`` would, in another way (``fronts``), where encoders take one clip at a time.
    """
    unique = {facts.sha256: facts for facts in files}
    store = Cache(Path(cache), encoder) if cache is not None else None
    pooled = {key: vector for key in unique if store and (vector := store.get(key)) is not None}
    todo = [facts for key, facts in unique.items() if key not in pooled]
    keep = partial(_keep, encoder, store)
    bar = Progress(encoder.name, sum(facts.seconds for facts in todo), shown=progress)
    with bar, single_threaded():
        if isinstance(encoder, BatchEncoder) and encoder.batch_seconds:
            embedded = _in_batches(encoder, keep, todo, workers)
        else:
            embedded = _in_parallel(partial(_embed_file, encoder, embed_by or pooled_file, keep), todo, workers)
        for facts, vector in embedded:
            pooled[facts.sha256] = vector
            bar.advance(facts.seconds)
    return pooled


def _keep(encoder: Encoder, store: "Cache | None", facts: AudioFacts, vector: Vectors) -> Vectors:
    """A vector as it comes, put into the cache. InputError where it is not finite."""
    if not np.isfinite(vector).all():
        raise InputError(
            f"{encoder.name} gives non-finite values for {facts.path}. Measure it with --dtype float32, "
            "or check the checkpoint."
        )
    if store:
        store.put(facts.sha256, vector)
    return vector


def _embed_file(encoder: Encoder, embed_by: EmbedBy, keep: Keep, facts: AudioFacts) -> Vectors:
    try:
        return keep(facts, embed_by(encoder, facts))
    except VanishingError as error:
        raise error.of_clip(facts.path) from None


def _in_batches(
    encoder: BatchEncoder, keep: Keep, items: Sequence[AudioFacts], workers: int
) -> Iterator[tuple[AudioFacts, Vectors]]:
    """Results as the batches come. Processes decode, since decoding here would hold the device up."""
    from speechbias.models.loading import pooled_files  # noqa: PLC0415 (torch: seconds)

    for facts, vector in pooled_files(encoder, items, workers=workers):
        yield facts, keep(facts, vector)


def pooled_file(encoder: Encoder, facts: AudioFacts) -> Vectors:
    """Pooled embedding (states, dim) of one file."""
    return encoder.pooled(read_audio(facts.path, encoder.sample_rate))


def _in_parallel(
    work: Callable[[AudioFacts], Vectors], items: Sequence[AudioFacts], workers: int
) -> Iterator[tuple[AudioFacts, Vectors]]:
    """Results as they come. Threads, not processes: torch and numpy release the interpreter lock in their kernels.

    A single worker is a thread too: Ctrl-C reaches the main thread, and within a callback of libsndfile it would be
    swallowed and the clip cut short.
    """
    with ThreadPoolExecutor(max(workers, 1)) as threads:
        waiting = {threads.submit(work, item): item for item in sorted(items, key=lambda item: -item.seconds)}
        try:
            while waiting:
                for done in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(done), done.result()
        finally:
            threads.shutdown(cancel_futures=True)


@contextmanager
def single_threaded() -> Iterator[None]:
    """One core per clip: the same digits on any number of cores, and two clips at a time scale better than one."""
    torch = sys.modules.get("torch")  # classical features do without it
    before = torch.get_num_threads() if torch else 0
    try:
        with threadpool_limits(1):
            if torch:
                torch.set_num_threads(1)
            yield
    finally:
        if torch:
            torch.set_num_threads(before)


class Cache:
    """Pooled vectors on disk, for one encoder: ``folder/<encoder>/<audio>.npz``, each written whole or not at all."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        model = Model.of(encoder)
        key = [model.sha256, model.family, model.states, model.dtype, dict(model.recipe), library_versions()]
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
        self.folder = folder / digest[:32]
        self.shape = (encoder.num_states, encoder.dim)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{folder} cannot hold the cache ({os_reason(error)}). Choose another folder with --cache."
            ) from None

    def get(self, audio_sha256: str) -> Vectors | None:
        """The stored vectors, or None where there are none or the file is damaged (zip's CRC tells)."""
        vector = read_kept(self.folder / f"{audio_sha256}.npz", "pooled")
        return vector if vector is not None and vector.shape == self.shape and vector.dtype == np.float32 else None

    def put(self, audio_sha256: str, vector: Vectors) -> None:
        """Store pooled vectors."""
        buffer = BytesIO()
        np.savez(buffer, pooled=vector)
        write_whole(self.folder / f"{audio_sha256}.npz", buffer.getvalue(), durable=False)


def library_versions() -> dict[str, str]:
    """Versions of everything that the digits of an embedding can depend on."""
    versions = {}
    for name in ("speechbias", "numpy", "scipy", "torch", "transformers", "soundfile", "soxr"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
