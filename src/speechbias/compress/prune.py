"""Iterative pruning (paper, Section 2.3): train, save, cut, go on; one visible loop around ``Trainer.step``."""

from collections.abc import Callable
from pathlib import Path

from speechbias.compress.cutting import CuttingSession
from speechbias.compress.ladder import cut_alone
from speechbias.compress.start import pretrain_start
from speechbias.errors import InputError
from speechbias.training.recipe import Recipe
from speechbias.training.run import CHECKPOINTS
from speechbias.training.session import Outcome
from speechbias.training.signals import stop_when_asked


def prune(
    recipe: Recipe,
    out: Path | str,
    *,
    resume: bool = False,
    device: str = "cpu",
    workers: int = 1,
    warn: Callable[[str], None] = lambda _: None,
    progress: bool = False,
) -> Outcome:
    """Prune the model of a recipe (``read_prune_recipe``) into the run folder ``out``, or go on where it was left.

    Beside what ``pretrain`` writes there, ``events.jsonl`` says what was cut when. Checkpoints of before each cut, the
    unpruned model and the last one stay. Errors, ranks and signals are those of ``pretrain``.
    """
    if recipe.prune is None:
        raise InputError("the recipe has no [prune]; it is for speechbias pretrain")
    out = Path(out)
    pretrain_start(recipe, out, device=device, workers=workers, warn=warn, progress=progress)
    if not recipe.prune.train:
        return cut_alone(recipe, out, resume=resume, progress=progress)
    if any((out / CHECKPOINTS).glob("cut-*")):
        raise InputError(f"{out} holds cuts without training; choose another --out")
    with CuttingSession.opened(
        recipe, out, resume=resume, device=device, workers=workers, warn=warn, progress=progress
    ) as session:
        return _loop(session)


def _loop(session: CuttingSession) -> Outcome:
    asked = None
    with stop_when_asked() as stop:
        with session.bar:
            session.begin()
            for batches in session.updates():
                session.cut_if_due()
                report = session.trainer.step(batches)
                session.look(report)
                session.track()
                session.note(report, batches)
                asked = session.ranks.agreed(stop.asked)
                if session.is_due(session.trainer.update) or asked:
                    session.save()
                if asked:
                    break
        return session.outcome(asked)
