"""A few utterances on disk, with the columns of a manifest that labels and units ask for."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


@dataclass(frozen=True, eq=False)
class Corpus:
    """Stands in for a manifest."""

    paths: tuple[Path, ...]
    num_samples: np.ndarray
    left_out: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self):
        return len(self.paths)

    def key(self, i):
        return self.paths[i].name

    def path(self, i):
        return self.paths[i]

    @property
    def sha256(self):
        rows = [f"{path.name} {count}" for path, count in zip(self.paths, self.num_samples, strict=True)]
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def silent(*num_samples):
    """Rows without audio, of these lengths."""
    paths = tuple(Path(f"clip{i}.wav") for i in range(len(num_samples)))
    return Corpus(paths, np.array(num_samples, np.int64))


def write_corpus(folder, waves):
    """Waves written as files, 32-bit floats so that they come back as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, wave in enumerate(waves):
        soundfile.write(folder / f"clip{i}.wav", wave, RATE, subtype="FLOAT")
    paths = tuple(folder / f"clip{i}.wav" for i in range(len(waves)))
    return Corpus(paths, np.array([len(wave) for wave in waves], np.int64))
