"""What a recipe's run is trained on, opened: manifest, rows that are long enough, labels, mel statistics.

All of it lies in the run folder once it is made (``scan.jsonl``, ``mel-stats-*.npy``, ``units/``, for synthetic voices
``synthetic/``), so that a resumed run does not make it again.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechbias.errors import InputError
from speechbias.models.config import EncoderConfig, MelFrontend
from speechbias.models.device import choose_device
from speechbias.models.mel import MelStats, read_mel_stats
from speechbias.results import write_whole
from speechbias.synthetic import write_stimuli_sets
from speechbias.training.beginning import Beginning, beginning
from speechbias.training.extractors import Extractor, make_extractor
from speechbias.training.frames import mel_statistics
from speechbias.training.label_files import is_labels
from speechbias.training.label_statistics import inspect_labels
from speechbias.training.labels import Labels, read_labels
from speechbias.training.manifest import Manifest, Selection, select_lengths
from speechbias.training.quantiser import Quantiser, load_quantiser
from speechbias.training.recipe import Recipe
from speechbias.training.recipe_sections import SYNTHETIC, UnitsSection
from speechbias.training.run import held
from speechbias.training.signals import end_when_asked
from speechbias.training.sources import open_corpus
from speechbias.training.tables import tsv
from speechbias.training.units import foreign_quantiser, make_units

UNITS, MEL_STATS, SCAN, LEFT_OUT = "units", "mel-stats-{}.npy", "scan.jsonl", "left-out.tsv"


@dataclass(frozen=True, eq=False)
class Corpus:
    """``labels`` for HuBERT and MelHuBERT, with their ``entropy`` in nats; ``mel_stats`` for MelHuBERT."""

    manifest: Manifest
    selection: Selection
    labels: Labels | None
    entropy: float | None
    mel_stats: MelStats | None
    warnings: tuple[str, ...]


def open_training_corpus(
    recipe: Recipe,
    begin: Beginning,
    folder: Path,
    *,
    workers: int = 1,
    device: str = "cpu",
    progress: bool = False,
) -> Corpus:
    """Scan, measure and label what is not there yet. InputError for what cannot be trained on."""
    manifest = open_manifest(recipe, folder, workers=workers, progress=progress)
    if begin.manifest_sha256 is not None:
        refuse_another_list(begin.manifest_sha256, manifest, folder)  # before labels are said to be of another one
    data = recipe.data
    longest = float("inf") if data.max_seconds is None else data.max_seconds
    selection = select_lengths(manifest, min_seconds=data.min_seconds, max_seconds=longest)
    write_left_out(manifest, folder / LEFT_OUT)
    warnings = [*left_out(manifest, selection, recipe)]
    stats = begin.mel_stats
    warnings += [begin.said] if begin.said else []
    if stats is None and needs_mel_stats(begin.config, recipe.units):
        stats = corpus_mel_stats(manifest, folder, workers=workers, progress=progress)
    labels, entropy = None, None
    if recipe.units is not None:
        labels = open_labels(
            recipe.units,
            manifest,
            folder,
            stats,
            seed=recipe.run.seed,
            workers=workers,
            device=device,
            progress=progress,
        )
        labels.check_hop(begin.config.frontend.hop)
        report = labels.check(manifest)
        warnings += report.warnings
        entropy = report.entropy
    return Corpus(manifest, selection, labels, entropy, stats, tuple(warnings))


def refuse_another_list(known: object, manifest: Manifest, folder: Path) -> None:
    """Batches are numbered rows of the manifest: with other rows a resumed run would be another run."""
    if known != manifest.sha256:
        raise InputError(
            f"{folder} was trained on another list of utterances than the {len(manifest)} that are there now (files "
            "added, removed or changed); put the corpus back as it was, or choose another --out"
        )


@dataclass(frozen=True, eq=False)
class MadeUnits:
    """Labels in a run folder, and what is to be said of them."""

    folder: Path
    labels: Labels
    warnings: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """How many, of how many classes, how evenly used."""
        report = inspect_labels(self.labels.flat, self.labels.clusters)
        return (
            f"{len(self.labels)} utterances labelled at {self.labels.rate} Hz with {self.labels.clusters} clusters, "
            f"entropy {report.entropy:.2f} of at most {np.log(self.labels.clusters):.2f} nats"
        )


def make_run_units(
    recipe: Recipe, out: Path | str, *, workers: int = 1, device: str = "cpu", progress: bool = False
) -> MadeUnits:
    """The labels of a recipe in the run folder ``out``, where `pretrain` finds them. InputError where it has none."""
    if recipe.units is None:
        raise InputError(f"{recipe.family} learns no labels; units are for hubert and melhubert")
    folder, begin, where = Path(out), beginning(recipe), choose_device(device)
    with end_when_asked(), held(folder):
        corpus = open_training_corpus(recipe, begin, folder, workers=workers, device=where, progress=progress)
    assert corpus.labels is not None
    return MadeUnits(folder / UNITS, corpus.labels, corpus.warnings)


def open_manifest(recipe: Recipe, folder: Path, *, workers: int = 1, progress: bool = False) -> Manifest:
    """The utterances of a recipe; synthetic voices are made first."""
    sources = [_voices(folder) if source == SYNTHETIC else Path(source) for source in recipe.data.train]
    return open_corpus(sources, depth=recipe.data.scan, workers=workers, cache=folder / SCAN, progress=progress)


def _voices(folder: Path) -> Path:
    """Synthetic voices of a fixed seed: a run's own seed makes another run on the same corpus."""
    clips, done = folder / SYNTHETIC / "clips", folder / SYNTHETIC / "null.csv"  # the last file that is written
    if not done.exists():
        write_stimuli_sets(folder / SYNTHETIC, seed=0)
    return clips


def left_out(manifest: Manifest, selection: Selection, recipe: Recipe) -> list[str]:
    """What of the corpus is not trained on, counted."""
    made = []
    if unreadable := [each for each in manifest.unreadable if each.row is not None]:
        reasons = Counter(each.why.partition(":")[0] for each in unreadable)
        counted = ", ".join(f"{why}: {count}" for why, count in reasons.most_common())
        made.append(
            f"{len(unreadable)} of {manifest.listed} files cannot be used and are left out ({counted}); first "
            f"{unreadable[0].name}, all in {LEFT_OUT}"
        )
    if missed := [each for each in manifest.unreadable if each.row is None]:
        made.append(
            f"{len(missed)} folders or transcripts of the corpus cannot be looked into and are passed over; first "
            f"{missed[0].name}, which {missed[0].why}, all in {LEFT_OUT}"
        )
    if selection.too_short:
        made.append(f"{selection.too_short} utterances are shorter than {recipe.data.min_seconds:g} s and left out")
    if selection.too_long:
        made.append(f"{selection.too_long} utterances are longer than {recipe.data.max_seconds:g} s and left out")
    return made


def write_left_out(manifest: Manifest, path: Path) -> None:
    """List what cannot be used, a line ``name<TAB>why`` each; no file where there are none."""
    if manifest.unreadable:
        write_whole(path, tsv((each.name, each.why) for each in manifest.unreadable))
    else:
        path.unlink(missing_ok=True)


def needs_mel_stats(config: EncoderConfig, units: UnitsSection | None) -> bool:
    """Whether the model takes normalised mel frames, or units are made of them."""
    return isinstance(config.frontend, MelFrontend) or (units is not None and units.features == "logmel")


def corpus_mel_stats(manifest: Manifest, folder: Path, *, workers: int, progress: bool) -> MelStats:
    """Mean and std per mel bin over the whole corpus (2, 40), kept in the run folder."""
    path = folder / MEL_STATS.format(manifest.sha256[:12])  # those of another corpus are not these
    if not path.exists():
        buffer = io.BytesIO()
        np.save(buffer, mel_statistics(manifest, workers=workers, progress=progress))
        write_whole(path, buffer.getvalue())
    return read_mel_stats(path)


def open_labels(
    units: UnitsSection,
    manifest: Manifest,
    folder: Path,
    stats: MelStats | None,
    *,
    seed: int,
    workers: int = 1,
    device: str = "cpu",
    progress: bool = False,
) -> Labels:
    """The labels that the recipe names, or those in the run folder, or new ones."""
    if units.labels is not None:
        return read_labels(Path(units.labels), manifest, rate=units.rate)
    made, asked = folder / UNITS, _asked(units, stats, seed)
    if is_labels(made):
        return _those_of(asked, read_labels(made, manifest), made)
    kind = units.features
    extractor = make_extractor(
        kind,
        mel_stats=stats if kind == "logmel" else None,
        model=units.checkpoint if kind == "state" else None,
        state=units.state if kind == "state" else None,
        device=device,
    )
    if units.quantiser is not None:
        centres = _centres(Path(units.quantiser), extractor)
        return make_units(
            manifest, extractor, made, quantiser=centres, asked=asked, workers=workers, progress=progress
        )
    return make_units(
        manifest,
        extractor,
        made,
        clusters=units.clusters,
        asked=asked,
        workers=workers,
        progress=progress,
        seed=seed,
        share=units.share,
        passes=units.passes,
    )


def _centres(path: Path, extractor: Extractor) -> Quantiser:
    return load_quantiser(path) if path.is_dir() else foreign_quantiser(path, extractor)


def _asked(units: UnitsSection, stats: MelStats | None, seed: int) -> dict[str, Any]:
    """All of a recipe that decides what the labels of a corpus are; paths and numbers by their hashes."""
    asked: dict[str, Any] = {"features": units.features}
    if units.features == "state":
        asked |= {"checkpoint": _hashed(str(units.checkpoint).encode()), "state": units.state}
    if units.features == "logmel" and stats is not None:
        asked["mel_stats"] = _hashed(np.asarray(stats, np.float64).tobytes())
    if units.quantiser is not None:
        return asked | {"quantiser": _hashed(units.quantiser.encode())}
    return asked | {"clusters": units.clusters, "share": units.share, "passes": units.passes, "seed": seed}


def _hashed(said: bytes) -> str:
    return hashlib.sha256(said).hexdigest()[:16]


def _those_of(asked: Mapping[str, Any], labels: Labels, folder: Path) -> Labels:
    """Labels that lie in the run folder, if they are what the recipe asks for. InputError else."""
    made = labels.facts.about.get("asked", {})
    other = [key for key in sorted(made.keys() | asked.keys()) if made.get(key) != asked.get(key)]
    if other:
        differ = ", ".join(
            f"{key} {made.get(key, 'none')} there, {asked.get(key, 'none')} in the recipe" for key in other
        )
        raise InputError(f"{folder} holds other labels ({differ}); remove the folder, or choose another --out")
    return labels
