"""Removing what groups differ in from a model's representations: erasers fitted on the clips of some speakers.

One eraser per hidden state, fitted on the means over time of the clips of X and Y of a test, whose speakers and files
no test may have that is measured on the result: what was fitted on says how well the fit fits, not what was removed.
Erasing X against Y takes from a representation what tells these groups apart on average; it takes no stand on why they
differ, and a probe that is not linear may still tell them apart.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechbias.checkpoint import load_encoder
from speechbias.checkpoint.erased import Removal, is_erased, write_removal
from speechbias.checkpoint.folder import replaced_whole
from speechbias.checkpoint.source import find_source
from speechbias.embeddings import embed
from speechbias.encoder import Encoder, mark
from speechbias.erasers import Method, fit_eraser
from speechbias.errors import InputError
from speechbias.models.erased import ErasedEncoder
from speechbias.results import file_sha256
from speechbias.stimuli import Stimulus, StimulusSet


@dataclass(frozen=True)
class Fitted:
    """An erased encoder, and what its folder says of it."""

    encoder: ErasedEncoder
    removal: Removal


def fit_removal(
    encoder: Encoder,
    stimuli: StimulusSet,
    *,
    column: str | None = None,
    method: Method = "leace",
    shrink: bool = True,
    workers: int = 1,
    cache: Path | str | None = None,
    progress: bool = False,
    name: str | None = None,
) -> Fitted:
    """Fit erasers for every hidden state of an encoder on the clips in X and Y of ``stimuli``.

    The classes are X and Y, or the values of a ``column`` of the CSV, of clips that have one. ``method``, ``shrink``:
    ``erasers.fit_eraser``. InputError where clips, classes or the column are not there, and as ``embed``.
    """
    clips = [clip for clip in (*stimuli.X, *stimuli.Y) if column is None or clip.columns.get(column)]
    if not clips:
        known = sorted({key for clip in (*stimuli.X, *stimuli.Y) for key, value in clip.columns.items() if value})
        raise InputError(
            f"{stimuli.name}.csv: no clip of X or Y has a value of {column!r}; there are {', '.join(known) or 'none'}"
        )
    classes = [clip.set if column is None else clip.columns[column] for clip in clips]
    _check_speakers(stimuli, clips, classes)
    embeddings = embed(encoder, stimuli, workers=workers, cache=cache, progress=progress)
    row_of = {id(clip): row for row, clip in enumerate(stimuli.stimuli)}
    points = embeddings.array[[row_of[id(clip)] for clip in clips]]  # (clips, states, dim)
    erasers = tuple(
        fit_eraser(points[:, state], classes, method=method, shrink=shrink) for state in range(points.shape[1])
    )
    groups = stimuli.groups
    counts = Counter(groups[each] if column is None else each for each in classes)
    facts: dict[str, Any] = {
        "method": method,
        "classes": dict(sorted(counts.items())),
        "column": column,
        "shrink": shrink and method == "leace",
        "fitted_on": stimuli.name,
        "speakers": len({clip.speaker for clip in clips if clip.speaker}),
        "base": encoder.name,
        "base_sha256": encoder.sha256,
    }
    marks = frozenset(_marks(clips))
    erased = ErasedEncoder(name or f"{encoder.name}-{method}", encoder, erasers, facts, marks)
    return Fitted(erased, Removal("", encoder.sha256, encoder.states, erasers, facts, marks))


def _check_speakers(stimuli: StimulusSet, clips: Sequence[Stimulus], classes: Sequence[str]) -> None:
    """InputError for a class of one speaker: what told it apart would be that voice. A blank speaker is its own."""
    people: dict[str, set[object]] = defaultdict(set)
    for row, (clip, name) in enumerate(zip(clips, classes, strict=True)):
        people[name].add(clip.speaker or row)
    if alone := sorted(name for name, found in people.items() if len(found) == 1):
        raise InputError(
            f"{stimuli.name}.csv: one speaker alone is of {' and of '.join(alone)}, so that voice would be removed; "
            "fit on two speakers or more of each"
        )


def remove(
    model: str | Path,
    stimuli: StimulusSet,
    out: Path | str,
    *,
    states: str = "s3prl",
    device: str = "cpu",
    **options: Any,
) -> Fitted:
    """``fit_removal`` of MODEL, written as a folder that ``load_encoder`` takes. Options as there.

    InputError where ``out`` holds something else, or MODEL is such a folder already; OSError where the disk is full.
    """
    source, out = find_source(model), Path(out)
    if source.kind == "erased":
        raise InputError(f"{source.name} has had something removed already; start from its base")
    with replaced_whole(out, ours=is_erased, what="model with a removal") as folder:
        encoder = load_encoder(model, states=states, device=device)
        fitted = fit_removal(encoder, stimuli, name=out.resolve().name, **options)
        write_removal(folder, source, fitted.removal)
    return fitted


def _marks(clips: Iterable[Stimulus]) -> Iterable[str]:
    for clip in clips:
        yield mark("file", file_sha256(clip.path))
        if clip.speaker:
            yield mark("speaker", clip.speaker)
