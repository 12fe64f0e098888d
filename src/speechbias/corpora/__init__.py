"""Corpora: from audio as users have it on disk to the stimuli of a test.

One file or folder per corpus. A further corpus is one new file with a ``CORPUS`` (corpora/corpus.py) and its name in
``CORPORA`` below. Targets of one corpus combine with attributes of another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechbias.corpora import accent_archive, crema_d, emodb, librispeech, morgan, ravdess, table
from speechbias.corpora.corpus import Clip, Corpus, Part, Request, suggest
from speechbias.errors import InputError
from speechbias.results import SETS
from speechbias.stimuli import StimulusSet, make_stimulus_set

__all__ = ["CORPORA", "Built", "Clip", "Corpus", "Part", "Request", "build"]

_MODULES = (accent_archive, morgan, ravdess, crema_d, emodb, librispeech, table)
CORPORA: Mapping[str, Corpus] = {module.CORPUS.name: module.CORPUS for module in _MODULES}


@dataclass(frozen=True)
class Built:
    """A test's stimuli, ready for ``write_stimuli``, and remarks on what was taken and what was left out."""

    stimuli: StimulusSet
    notes: tuple[str, ...]


def build(
    sources: Sequence[str],
    *,
    name: str,
    count: int | None = None,
    seed: int = 0,
    select: Mapping[str, str] | None = None,
    each: str = "",
) -> Built:
    """Stimuli of the test ``name`` from sources CORPUS[:CATEGORY]=FOLDER, for example ``morgan=~/mess``.

    ``count``: clips per set, drawn by each corpus's rule with ``seed``; None: the published list or rule. ``select``:
    filters per set for ``csv=FILE``; ``each``: a column of it, of each of whose values ``count`` are drawn.
    InputError: unknown corpus or category, a folder that is not the corpus, a set that no source or two sources give.
    """
    if count is not None and count < 2:
        raise InputError(f"--count {count} is too few. A set needs 2 clips or more.")
    parsed = [_parse_source(source) for source in sources]
    if select and not any(corpus.name == table.CORPUS.name for corpus, _, _ in parsed):
        raise InputError("Filters (--x, --y, --a, --b) choose rows of csv=FILE. Add that source, or leave them out.")
    if each and (count is None or not select):
        raise InputError("--each COLUMN draws --count clips of each value, of rows of csv=FILE. Give a --count.")
    parts = [
        corpus.categories[category](Request(folder, count=count, seed=seed, select=dict(select or {}), each=each))
        for corpus, category, folder in parsed
    ]
    _check_sets(sources, parts)
    stimuli = make_stimulus_set(name, (stimulus for part in parts for stimulus in part.stimuli))
    return Built(stimuli, tuple(note for part in parts for note in part.notes))


def _parse_source(source: str) -> tuple[Corpus, str, Path]:
    left, mark, folder = source.partition("=")
    wanted, _, category = left.strip().partition(":")
    if not mark or not folder.strip():
        raise InputError(f"{source!r} is not CORPUS[:CATEGORY]=FOLDER. Corpora: {', '.join(CORPORA)}.")
    if wanted not in CORPORA:
        raise InputError(f"Unknown corpus {wanted!r}. {suggest(wanted, CORPORA)}")
    corpus = CORPORA[wanted]
    category = category or corpus.default
    if not category:
        raise InputError(f"{wanted} needs a category: {', '.join(f'{wanted}:{each}' for each in corpus.categories)}.")
    if category not in corpus.categories:
        raise InputError(f"{wanted} has no category {category!r}. {suggest(category, corpus.categories)}")
    return corpus, category, Path(folder.strip()).expanduser()


def _check_sets(sources: Sequence[str], parts: Sequence[Part]) -> None:
    givers = {key: [s for s, part in zip(sources, parts, strict=True) if _gives(part, key)] for key in SETS}
    problems = [
        f"Set {key} comes from {' and '.join(given)}. Leave one out." for key, given in givers.items() if given[1:]
    ]
    absent = [key for key, given in givers.items() if not given]
    if absent:
        advice = (
            "targets, for example librispeech:gender=FOLDER"
            if absent[0] in "XY"
            else "attributes, for example ravdess=FOLDER"
        )
        problems.append(f"No source gives {' and '.join(absent)}. Add {advice}.")
    if problems:
        raise InputError(*problems)


def _gives(part: Part, key: str) -> bool:
    return any(stimulus.set == key for stimulus in part.stimuli)
