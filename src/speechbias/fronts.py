"""Front ends computed once for several models: pruned and distilled models have their teacher's, MelHuBERTs have none.

What a front end gives of a clip, (frames, dim) float32, is kept on disk while another model of the same command waits
for it: about 100 kB per second of audio (convolutions), 16 kB (mel frames). Keyed by everything that fixes its digits,
written whole, read back with a checksum, so work that was killed goes on from it, and what is damaged or was deleted
is computed anew. A full disk ends the keeping, never the work. Results are the same bit for bit, with it or without.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from speechbias.audio import AudioFacts, read_audio
from speechbias.embeddings import Vectors, library_versions
from speechbias.encoder import Encoder, Front, Staged
from speechbias.results import write_whole


class Fronts:
    """Outputs of front ends in ``folder``, for the models of one command.

    ``of`` is each model's ``front_sha256`` (``find_front``), None where it has none to share.
    """

    def __init__(self, folder: Path, of: Mapping[str, str | None]) -> None:
        counts = Counter(front for front in of.values() if front)
        self.folder = folder
        self.shared = {model: front for model, front in of.items() if front and counts[front] > 1}
        self.waiting = Counter(self.shared.values())  # models that are not done, by front end

    def pooled(self, encoder: Encoder, facts: AudioFacts) -> Vectors:
        """``encoder.pooled`` of a file, its front end computed only where no earlier model's is there."""
        if not isinstance(encoder, Staged) or self.waiting[encoder.front_sha256] < 1:
            return encoder.pooled(read_audio(facts.path, encoder.sample_rate))
        path = self._place(encoder.front_sha256) / f"{facts.sha256}.npz"
        front = _read(path)
        if front is None:
            front = encoder.front(read_audio(facts.path, encoder.sample_rate))
            if self.waiting[encoder.front_sha256] > 1:
                self._write(path, front)
        return encoder.pooled_from(front)

    def done(self, model: str) -> None:
        """A model is measured; what nobody waits for any more is deleted."""
        front = self.shared.pop(model, None)
        if front is None:
            return
        self.waiting[front] -= 1
        if self.waiting[front] < 1:
            shutil.rmtree(self._place(front), ignore_errors=True)
            with suppress(OSError):  # another command's are in it
                self.folder.rmdir()

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
            for kept in set(self.shared.values()):
                self.waiting[kept] = 0
                shutil.rmtree(self._place(kept), ignore_errors=True)


def _read(path: Path) -> Front | None:
    """What is kept, or None where nothing is or it is damaged (zip's CRC tells)."""
    try:
        with path.open("rb") as stored, np.load(stored, allow_pickle=False) as file:
            front: Front = file["front"]
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile):  # RuntimeError: flipped flags
        return None
    return front if front.ndim == 2 and front.size and front.dtype == np.float32 else None
