"""Pre-training, from a recipe to checkpoints (paper, Section 2.1): one visible loop around ``Trainer.step``."""

from collections.abc import Callable
from pathlib import Path

from speechbias.errors import InputError
from speechbias.training.recipe import Recipe
from speechbias.training.session import Outcome, Session
from speechbias.training.signals import stop_when_asked


def pretrain(
    recipe: Recipe,
    out: Path | str,
    *,
    resume: bool = False,
    device: str = "cpu",
    workers: int = 1,
    warn: Callable[[str], None] = lambda _: None,
    progress: bool = False,
) -> Outcome:
    """Train a recipe's model into the run folder ``out``, or go on where it was left.

    ``workers`` scan and label the corpus. Started by ``torchrun``, this process makes updates together with others;
    the first of them prepares, writes and warns. InputError for what the user can mend; OSError where the disk is
    full, LostRanksError where another process died: the checkpoints written so far stay whole. SIGTERM, SIGUSR1 and
    Ctrl-C save and end training; while the corpus is prepared they raise KeyboardInterrupt, nothing half written is
    used. Outside of the main thread, to which Python gives them, they are whoever's handles them.
    """
    for verb in ("prune", "distill"):
        if getattr(recipe, verb) is not None:
            raise InputError(f"the recipe has a [{verb}]; it is for speechbias {verb}")
    with Session.opened(
        recipe, out, resume=resume, device=device, workers=workers, warn=warn, progress=progress
    ) as session:
        return train(session)


def train(session: Session) -> Outcome:
    """Make the updates that are left of a run: the loop of pre-training and of distillation."""
    trainer, asked = session.trainer, None
    with stop_when_asked() as stop:  # to the end: who asks when all is saved is not told that nothing was
        with session.bar:
            session.begin()
            for batches in session.updates():
                report = trainer.step(batches)
                session.track()
                session.note(report, batches)
                asked = session.ranks.agreed(stop.asked)
                if session.is_due(trainer.update) or asked:
                    session.save()
                if asked:
                    break
        return session.outcome(asked)
