"""Going on with a run: its own last checkpoint becomes the model, if everything around it is what it was.

A resumed run that had another corpus, other labels or another share of an update would be another run under the old
one's name, so each is refused in a line.
"""

from collections.abc import Mapping
from typing import Any

from speechbias.checkpoint.content import Checkpoint, Meta
from speechbias.errors import InputError
from speechbias.models.objectives import Objective, Settings
from speechbias.training.beginning import prepared
from speechbias.training.corpus import Corpus, refuse_another_list
from speechbias.training.ranks import Ranks
from speechbias.training.recipe import Recipe
from speechbias.training.run import RunFolder


def left_objective(checkpoint: Checkpoint, recipe: Recipe) -> tuple[Objective, Settings]:
    """The objective of a run's own checkpoint, its weights copied out of the mapped file."""
    made, settings = checkpoint.objective(), checkpoint.settings
    assert made is not None
    assert settings is not None
    for parameter in made.parameters():
        parameter.data = parameter.data.clone()
    return prepared(made, recipe), settings


def refuse_other_labels(state: Mapping[str, Any], corpus: Corpus, run: RunFolder) -> None:
    """As with the corpus. A run of before labels were hashed goes on with what is there."""
    if corpus.labels is not None and state.get("labels", corpus.labels.sha256) != corpus.labels.sha256:
        raise InputError(
            f"{run.folder} was trained on other labels than those that are there now; put them back, or choose "
            "another --out"
        )


def refuse_another_corpus(meta: Meta, corpus: Corpus, run: RunFolder) -> None:
    """As when it was opened, for ranks that took it from the first."""
    refuse_another_list(meta.provenance.get("manifest_sha256"), corpus.manifest, run.folder)


def refuse_another_beginning(update: int, ranks: Ranks, run: RunFolder) -> None:
    """All ranks read one folder."""
    first = ranks.share(update)
    if update != first:
        raise InputError(
            f"{run.folder}: rank {ranks.rank} goes on from update {update}, the first rank from {first}; give "
            "an --out that all machines share"
        )


def refuse_uneven_ranks(each: int, ranks: Ranks, run: RunFolder) -> None:
    """What an update is belongs to the run, not to what it runs on."""
    if each % ranks.size:
        fitting = ", ".join(str(size) for size in range(1, each + 1) if not each % size)
        raise InputError(
            f"{run.folder}: an update of this run is {each} batches, which {ranks.size} processes cannot share alike; "
            f"go on with one of {fitting}"
        )
