"""Front ends computed once for several models: pruned and distilled ones have their teacher's, MelHuBERTs log-mel.

What a front end gives of a clip, (frames, dim) float32, is kept on disk while another model of the same command waits
for it: about 100 kB per second of audio (convolutions), 16 kB (mel frames). Keyed by everything that fixes its digits,
written whole, read back with a checksum, so work that was killed goes on from it, and what is damaged or was deleted
is computed anew. A full disk ends the keeping, never the work. Results are the same bit for bit, with it or without.

A command holds a shared lock on the folder while it runs. Who can have the lock alone knows that nobody else works
here, and deletes what killed commands left.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Self

import numpy as np

from speechbias.audio import AudioFacts, count_samples, read_audio
from speechbias.embeddings import Vectors, library_versions, pooled_file
from speechbias.encoder import Encoder, Front, Staged
from speechbias.kept import read_kept
from speechbias.results import write_whole

Clips = Collection[str] | None  # SHA-256 of audio; None: any


class Fronts:
    """Outputs of front ends in ``folder``, for the models of one command, which are run within ``with``.

    ``of`` is each model's ``front_sha256`` (``find_front``), None where it has none to share. ``todo`` says which
    clips a model has still to embed, and is asked of those that share a front end; without it they are all of them.
    """

    def __init__(
        self, folder: Path, of: Mapping[str, str | None], *, todo: Callable[[str], Clips] = lambda _: None
    ) -> None:
        counts = Counter(front for front in of.values() if front)
        clips = {model: todo(model) for model, front in of.items() if front and counts[front] > 1}
        self.folder = folder
        self.clips = {model: left for model, left in clips.items() if left is None or left}  # of models not done
        self.of = {model: front for model, front in of.items() if front and model in self.clips}
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Lock the folder, and delete what is nobody's."""
        if self.of or self.folder.is_dir():
            with suppress(OSError):  # a file system without locks: what others left stays
                self._descriptor = _shared(self.folder)
                self._sweep({self._place(front) for front in self.of.values()})
                fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        return self

    def __exit__(self, *_: object) -> None:
        """Unlock the folder; what models still wait for stays, for the command that goes on."""
        if self._descriptor is not None:
            with suppress(OSError):
                if self._is_alone():
                    self.folder.rmdir()
            os.close(self._descriptor)

    def pooled(self, model: str, encoder: Encoder, facts: AudioFacts) -> Vectors:
        """``encoder.pooled`` of a file, its front end computed only where no earlier model's is there."""
        shared = self.of.get(model)
        if not isinstance(encoder, Staged) or encoder.front_sha256 != shared:
            return pooled_file(encoder, facts)
        path = self._place(shared) / f"{facts.sha256}.npz"
        front = _read(path, encoder.front_shape(count_samples(facts, encoder.sample_rate)))
        if front is None:
            front = encoder.front(read_audio(facts.path, encoder.sample_rate))
            if self._waits(shared, facts.sha256, besides=model):
                self._write(path, front)
        return encoder.pooled_from(front)

    def done(self, model: str) -> None:
        """A model is measured; what nobody waits for any more is deleted."""
        self.clips.pop(model, None)
        front = self.of.pop(model, None)
        if front is not None and front not in self.of.values():
            shutil.rmtree(self._place(front), ignore_errors=True)

    def _waits(self, front: str, clip: str, *, besides: str) -> bool:
        """Whether another model than ``besides`` will ask for this."""
        others = [self.clips[model] for model, its in self.of.items() if its == front and model != besides]
        return any(clips is None or clip in clips for clips in others)

    def _place(self, front: str) -> Path:
        key = json.dumps([front, library_versions()], sort_keys=True)
        return self.folder / hashlib.sha256(key.encode()).hexdigest()[:32]

    def _write(self, path: Path, front: Front) -> None:
        buffer = BytesIO()
        np.savez(buffer, front=front)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, buffer.getvalue(), durable=False)
        except OSError:  # full: what was kept makes room for results
            for model in tuple(self.of):
                self.done(model)

    def _sweep(self, wanted: Collection[Path]) -> None:
        """Delete what commands left that were killed, unless another one is at work here."""
        if self._is_alone():
            for place in self.folder.iterdir():
                if place not in wanted:
                    shutil.rmtree(place, ignore_errors=True)

    def _is_alone(self) -> bool:
        """Whether no other command holds the folder; if so none can take it until this one shares it again."""
        assert self._descriptor is not None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _shared(folder: Path) -> int:
    """A descriptor of the folder, with a shared lock on it; the folder is made."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
        except FileNotFoundError:  # another command has just deleted it, and it is made again
            pass
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _read(path: Path, shape: tuple[int, int]) -> Front | None:
    """What is kept, or None where nothing is, it is damaged (zip's CRC tells) or of something else."""
    front = read_kept(path, "front")
    return front if front is not None and front.shape == shape and front.dtype == np.float32 else None
