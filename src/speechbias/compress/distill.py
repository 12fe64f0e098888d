"""Distillation (paper, Section 2.3): a student learns its teacher's hidden states, in the loop of pre-training."""

from collections.abc import Callable
from pathlib import Path

from speechbias.compress.start import pretrain_start
from speechbias.compress.teaching import TeachingSession
from speechbias.errors import InputError
from speechbias.training.pretrain import train
from speechbias.training.recipe import Recipe
from speechbias.training.session import Outcome


def distill(
    recipe: Recipe,
    out: Path | str,
    *,
    resume: bool = False,
    device: str = "cpu",
    workers: int = 1,
    warn: Callable[[str], None] = lambda _: None,
    progress: bool = False,
) -> Outcome:
    """Train the student of a recipe (``read_distill_recipe``) into the run folder ``out``, or go on where it was left.

    The teacher is ``[model] checkpoint``, trained first where ``[model] pretrain`` says so; labels it needs none.
    Errors, ranks and signals are those of ``pretrain``.
    """
    if recipe.distill is None:
        raise InputError("the recipe has no [distill]; it is for speechbias pretrain")
    pretrain_start(recipe, Path(out), device=device, workers=workers, warn=warn, progress=progress)
    with TeachingSession.opened(
        recipe, out, resume=resume, device=device, workers=workers, warn=warn, progress=progress
    ) as session:
        return train(session)
