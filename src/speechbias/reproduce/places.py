"""Where everything is: corpora and checkpoints of the user's, what is made below ``out``; and where to get it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from speechbias.corpora import accent_archive, librispeech, morgan
from speechbias.corpora.corpus import Corpus
from speechbias.paper import WEIGHTS
from speechbias.reproduce.rows import MODELS, PaperRow
from speechbias.reproduce.runs import RunOnDisk, read_run

SUFFIXES = ("", ".pt", ".ckpt", ".bin", ".onnx")
TRAINING_SETS = ("train-clean-100", "train-clean-360", "train-other-500")  # Section 2.1: 960 hours
PROBED_SETS = ("train-clean-100", "dev-clean", "test-clean")  # S3PRL's phoneme recognition


@dataclass(frozen=True)
class Places:
    """Folders of the user's; None: not named. ``stimuli``: CSVs called age, native, gender, instead of the corpora."""

    out: Path
    accent_archive: Path | None = None
    morgan: Path | None = None
    librispeech: Path | None = None
    checkpoints: Path | None = None
    stimuli: tuple[Path, ...] = ()
    hub: bool = True  # whether published models may come from the hub

    def run(self, name: str) -> Path:
        """The folder of a run that is made here."""
        return self.out / "runs" / name

    def last(self, name: str) -> Path:
        """Its newest checkpoint, there or not; from the root, since a recipe may be gone on with from elsewhere."""
        return self.run(name).absolute() / "checkpoints" / "last"

    def absent(self, *wanted: str) -> tuple[str, ...]:
        """For each corpus (by the name of its field) that was not named: what, where from, licence, which option."""
        corpora: dict[str, Corpus] = {
            "accent_archive": accent_archive.CORPUS,
            "morgan": morgan.CORPUS,
            "librispeech": librispeech.CORPUS,
        }
        missing = [name for name in wanted if getattr(self, name) is None]
        return tuple(
            f"{corpora[name].about}: from {corpora[name].source} (licence: {corpora[name].licence}); name its folder "
            f"with --{name.replace('_', '-')}"
            for name in missing
        )

    def absent_sets(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Sets of LibriSpeech that are not in the folder that was named."""
        if self.librispeech is None:
            return self.absent("librispeech")
        return tuple(
            f"{self.librispeech / name}: a part of LibriSpeech, from {librispeech.CORPUS.source}"
            for name in names
            if not (self.librispeech / name).is_dir()
        )

    def find(self, key: str) -> str | None:
        """MODEL of a row by its key (``wav2vec2-slim``), where it is among the checkpoints or on the hub.

        A run that has not ended is none.
        """
        row = _row(key)
        for path in self._candidates(key, row):
            run = read_run(path.absolute())
            if run.last.exists():
                if not run.unended:
                    return str(run.last)
            elif path.exists():
                return str(path.absolute())
        published = WEIGHTS.get(row.name) if row else None
        return published.hub if self.hub and published else None

    def found_run(self, key: str) -> RunOnDisk | None:
        """The run of a row among the checkpoints, whether it has ended or not."""
        runs = (read_run(path.absolute()) for path in self._candidates(key, _row(key)))
        return next((run for run in runs if run.last.exists()), None)

    def runs(self, keys: Iterable[str]) -> list[RunOnDisk]:
        """Those of rows that are there, among the checkpoints and made here."""
        found = [run for key in keys for run in (self.found_run(key), read_run(self.run(key).absolute())) if run]
        return list({run.folder: run for run in found if run.last.exists()}.values())

    def _candidates(self, key: str, row: PaperRow | None) -> Iterator[Path]:
        if self.checkpoints is None:
            return
        published = WEIGHTS.get(row.name) if row else None
        for name in (key, *(published.names if published else ())):
            for suffix in SUFFIXES:
                yield self.checkpoints / f"{name}{suffix}"


def _row(key: str) -> PaperRow | None:
    return next((row for row in MODELS if row.key == key), None)
