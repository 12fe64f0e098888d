"""Embeddings on disk: ``.npz`` files with arrays X, Y, A, B, from anywhere; ours have speakers as numbers.

Those beside a results file are opened by the record that they belong to (``stored_vectors``).
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.embeddings import Embeddings, Model
from speechbias.errors import InputError
from speechbias.results import SETS, BiasResult, file_sha256
from speechbias.speat import association
from speechbias.stimuli import StimulusSet

HOW = "Save one with numpy.savez(path, X=..., Y=..., A=..., B=...)."


def to_arrays(embeddings: Embeddings) -> dict[str, NDArray[Any]]:
    """Arrays X, Y, A, B (stimuli, states, dim) with speakers and pairs as numbers: no names, no audio.

    What re-analysis needs; ``read_vectors`` reads it, and as MODEL it can be measured again.
    """
    arrays: dict[str, NDArray[Any]] = dict(embeddings.sets())
    for kind, labels in (("speakers", embeddings.speakers), ("pairs", embeddings.pairs)):
        arrays |= {f"{kind}_{name}": numbers for name, numbers in number_labels(labels).items()}
    return arrays


def number_labels(labels: Mapping[str, Sequence[str]]) -> dict[str, NDArray[np.int64]]:
    """Labels as numbers in the order in which they come, through the sets; -1 where blank."""
    number = {label: code for code, label in enumerate(dict.fromkeys(s for ids in labels.values() for s in ids))}
    return {name: np.array([number[s] if s else -1 for s in ids], dtype=np.int64) for name, ids in labels.items()}


def stored_vectors(result: BiasResult, folder: Path) -> Embeddings:
    """The embeddings behind a measurement whose results file lies in ``folder``: pooled vectors, and what they are of.

    InputError where they are not kept, lost, changed, or of other shapes.
    """
    where = f"{result.test}, {result.model}"
    if result.vectors is None:
        raise InputError(f"{where}: no vectors are kept with this record; measure it with `speechbias measure`")
    path = folder / result.vectors["path"]
    if not path.is_file():
        raise InputError(
            f"{where}: {path} is not there; keep the folder beside the results file, or measure onto a new one"
        )
    if file_sha256(path) != result.vectors["sha256"]:
        raise InputError(f"{where}: {path} was changed since it was written; measure onto a new file")
    clips = read_vectors(path)
    if clips.n != {name: result.n[name] for name in SETS} or clips.array.shape[1] < result.num_states:
        raise InputError(f"{where}: {path} holds other clips or states than the record says; measure onto a new file")
    return replace(
        clips,
        test=result.test,
        model=Model(
            result.model,
            result.family,
            result.states,
            result.dtype,
            result.model_sha256,
            result.recipe,
            result.step,
            result.run,
            result.parameters,
        ),
        groups=result.groups,
        stimuli_sha256=result.stimuli_sha256,
        seconds=result.seconds,
    )


def of_layer(embeddings: Embeddings, layer: int | str) -> NDArray[np.float64]:
    """One state, or the mean over states, of every clip, (stimuli, dim), float64 (as in ``measure``)."""
    array = embeddings.array.astype(np.float64)
    return np.asarray(array.mean(axis=1) if layer == "mean" else array[:, int(layer)])


def sets_of_layer(embeddings: Embeddings, layer: int | str) -> dict[str, NDArray[np.float64]]:
    """``of_layer`` cut into its four sets, each (stimuli, dim)."""
    ends = np.cumsum([embeddings.n[name] for name in SETS])[:-1]
    return dict(zip(SETS, np.split(of_layer(embeddings, layer), ends), strict=True))


def target_associations(embeddings: Embeddings, layer: int | str) -> NDArray[np.float64]:
    """S of every target (equation 1), X first, in one state or the mean over states, (targets,)."""
    sets = sets_of_layer(embeddings, layer)
    return np.asarray(association(np.concatenate([sets["X"], sets["Y"]]), sets["A"], sets["B"]))


def read_vectors(path: Path | str, stimuli: StimulusSet | None = None) -> Embeddings:
    """Embeddings from an ``.npz`` with arrays X, Y, A, B: (stimuli, dim) or (stimuli, states, dim).

    ``stimuli`` names the clips, row by row; without it speakers are those of the file, or unknown.
    Raises ``InputError`` for a file of another kind, unequal dimensions, or numbers of clips that differ.
    """
    path = Path(path)
    content, arrays = _load(path)
    sets = {name: arrays[name] for name in SETS}
    sets = {name: a[:, None, :] if a.ndim == 2 else a for name, a in sets.items()}
    if len({a.shape[1:] for a in sets.values()}) > 1 or any(a.ndim != 3 for a in sets.values()):
        shapes = ", ".join(f"{name} {arrays[name].shape}" for name in SETS)
        raise InputError(
            f"{path}: the arrays do not fit together ({shapes}). Give (stimuli, dim) or (stimuli, states, dim)."
        )
    n = {name: len(a) for name, a in sets.items()}
    if stimuli and n != (wanted := {name: len(getattr(stimuli, name)) for name in SETS}):
        raise InputError(
            f"{path} holds {_counted(n)}, {stimuli.name} has {_counted(wanted)}. Give the stimuli it was made from."
        )
    digest = hashlib.sha256(content).hexdigest()
    return Embeddings(
        array=np.concatenate([sets[name] for name in SETS]),
        n=n,
        test=stimuli.name if stimuli else path.stem,
        model=Model(path.stem, "embeddings", "given", str(sets["X"].dtype), digest),
        speakers=stimuli.speakers if stimuli else _labels(path, arrays, "speakers", n),
        pairs=stimuli.pairs if stimuli else _labels(path, arrays, "pairs", {name: n[name] for name in ("X", "Y")}),
        groups=stimuli.groups if stimuli else {name: name for name in SETS},
        stimuli_sha256=digest,
        warnings=stimuli.warnings if stimuli else (),
    )


def _counted(n: dict[str, int]) -> str:
    """Clips of the sets, in words."""
    return ", ".join(f"{count} clips of {name}" for name, count in n.items())


def _load(path: Path) -> tuple[bytes, dict[str, NDArray[Any]]]:
    if not path.exists():
        raise InputError(f"{path} does not exist. {HOW}")
    try:
        content = path.read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as file:  # given a path, it leaves a damaged file open
            arrays = {name: file[name] for name in file.files}
    except Exception:  # noqa: BLE001 (zip and numpy let out whatever a damaged file raises)
        raise InputError(f"{path} is no .npz file of plain arrays (objects are not read). {HOW}") from None
    if missing := [name for name in SETS if name not in arrays]:
        raise InputError(f"{path} lacks {', '.join(missing)}. {HOW}")
    if wrong := [name for name in SETS if arrays[name].dtype.kind != "f"]:
        raise InputError(
            f"{path}: {', '.join(wrong)} are not floating-point numbers. Save embeddings, float32 or float64."
        )
    if not all(arrays[name].size for name in SETS):
        raise InputError(f"{path}: an array holds no numbers. Give (stimuli, dim) or (stimuli, states, dim).")
    return content, arrays


def _labels(path: Path, arrays: dict[str, NDArray[Any]], kind: str, n: dict[str, int]) -> dict[str, tuple[str, ...]]:
    """Speaker or pair labels of a vectors file; blank where unknown."""
    labels = {}
    for name, count in n.items():
        codes = arrays.get(f"{kind}_{name}", np.full(count, -1))
        if codes.shape != (count,):
            raise InputError(
                f"{path}: {kind}_{name} has shape {codes.shape}. Give one label per stimulus, ({count},)."
            )
        labels[name] = tuple("" if str(code) in {"-1", ""} else str(code) for code in codes.tolist())
    return labels
