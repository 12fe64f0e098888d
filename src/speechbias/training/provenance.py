"""What a checkpoint says of the run that wrote it: no path, no speaker."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbias import __version__
from speechbias.training.corpus import Corpus
from speechbias.training.recipe import Recipe
from speechbias.training.run import RunFolder


def identity_of(recipe: Recipe, corpus: Corpus, run: RunFolder) -> Mapping[str, Any]:
    """What tells a run from others, and from runs of the same recipe by the seed alone."""
    fingerprint = recipe.fingerprint(corpus.manifest.sha256)
    return {"name": run.folder.resolve().name, "recipe": fingerprint, "seed": recipe.run.seed}


def provenance_of(
    verb: str, recipe: Recipe, corpus: Corpus, identity: Mapping[str, Any], *, batches: int
) -> dict[str, Any]:
    """How weights came to be: by which verb, from how much audio, in updates of so many batches."""
    rows = corpus.selection.rows
    return {
        "made_by": f"speechbias {__version__} {verb}",
        "hours": round(float(corpus.manifest.seconds[rows].sum()) / 3600, 3),
        "utterances": len(rows),
        "corpora": [Path(source).name for source in recipe.data.train],
        "manifest_sha256": corpus.manifest.sha256,
        "batches_per_update": batches,
        "seed": recipe.run.seed,
        "recipe_sha256": recipe.sha256,
        "run": dict(identity),
    }
