"""A run's folder and its corpus, opened by the first of several ranks for all of them.

It holds the lock, scans and labels; the others wait, take the columns of the corpus from it, and map the labels that
it made. So the run's folder, labels and audio must lie where all machines see them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from speechbias.training.beginning import Beginning
from speechbias.training.corpus import Corpus, open_labels, open_training_corpus
from speechbias.training.ranks import Ranks
from speechbias.training.recipe import Recipe
from speechbias.training.run import Left, RunFolder, open_run
from speechbias.training.track import check_tracked


@contextmanager
def opened_run(
    out: Path | str, recipe: Recipe, ranks: Ranks, *, resume: bool, warn: Callable[[str], None] = lambda _: None
) -> Iterator[RunFolder]:
    """The folder of a run as ``open_run`` gives it to the first rank."""
    if not ranks.first:
        yield RunFolder(Path(out))
        return
    with open_run(out, recipe, resume=resume, warn=warn) as run:
        yield run


def last_state(run: RunFolder, ranks: Ranks, *, warn: Callable[[str], None]) -> Left | None:
    """The newest whole checkpoint. The first rank looks for it, and puts damaged ones aside before the others read."""
    left = run.last(warn=warn) if ranks.first else None
    ranks.wait()
    return left if ranks.first else run.last()


def opened_corpus(
    recipe: Recipe, begin: Beginning, run: RunFolder, ranks: Ranks, *, workers: int, progress: bool
) -> Corpus:
    """The corpus as ``open_training_corpus`` gives it to the first rank; ``[track]`` is checked before that work."""
    corpus: Corpus | None = None
    if ranks.first:
        if recipe.track is not None:
            check_tracked(recipe.track, begin.config)
        corpus = open_training_corpus(
            recipe, begin, run.folder, workers=workers, device=ranks.device, progress=progress
        )
    columns = ranks.share(None if corpus is None else replace(corpus, labels=None))
    if corpus is not None:
        return corpus
    assert columns is not None
    if recipe.units is None:
        return columns
    manifest, stats, seed = columns.manifest, columns.mel_stats, recipe.run.seed
    return replace(columns, labels=open_labels(recipe.units, manifest, run.folder, stats, seed=seed))
