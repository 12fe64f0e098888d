"""Pre-training, from a recipe to checkpoints (paper, Section 2.1): one visible loop around ``Trainer.step``."""

from collections.abc import Callable
from pathlib import Path

from speechbias.training.beginning import beginning
from speechbias.training.opening import last_state, opened_corpus, opened_run
from speechbias.training.ranks import joined
from speechbias.training.recipe import Recipe
from speechbias.training.session import Outcome, Session
from speechbias.training.signals import end_when_asked, stop_when_asked


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
    with joined(device) as ranks, end_when_asked(), opened_run(out, recipe, ranks, resume=resume) as run:
        if not ranks.first:
            warn, progress = _say_nothing, False
        left = last_state(run, ranks, warn=warn)
        begin = beginning(recipe, left[0] if left else None)
        corpus = opened_corpus(recipe, begin, run, ranks, workers=workers, progress=progress)
        for warning in (*corpus.warnings, *_odd(recipe)):
            warn(warning)
        return _loop(Session(recipe, corpus, run, ranks, left, warn=warn, progress=progress))


def _loop(session: Session) -> Outcome:
    trainer, asked = session.trainer, None
    with stop_when_asked() as stop, session.bar:
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


def _say_nothing(_: str) -> None:
    pass


def _odd(recipe: Recipe) -> list[str]:
    """What of a recipe is allowed, and seldom meant."""
    warmup, steps = recipe.optim.warmup, recipe.run.steps
    if warmup < steps:
        return []
    return [f"the learning rate grows for {warmup} updates and the run has {steps}: it never reaches [optim] lr"]
