"""A training run in the course of which a model is cut: what its checkpoints hold more, and what a cut does to it.

A cut is due after an update, the checkpoint of that update is written before it, and it is made before the next one. A
run that is killed anywhere between goes on from that checkpoint and cuts again, to the same bits.
"""

from collections.abc import Mapping
from signal import Signals
from typing import Any

from speechbias.checkpoint.content import Checkpoint
from speechbias.compress.events import EVENTS, Event, read_events, write_events
from speechbias.compress.masks import install, masks_of
from speechbias.compress.moments import carried, trained_names
from speechbias.compress.pruned import Pruned
from speechbias.compress.schedule import Amount, ConvergenceSchedule, FixedSchedule, Schedule, make_schedule
from speechbias.compress.scoring import bias_criterion
from speechbias.compress.surgery import perform
from speechbias.errors import InputError
from speechbias.models.objectives import Objective, Settings
from speechbias.training.beginning import starting_checkpoint
from speechbias.training.pruning import PruneSection
from speechbias.training.run import Left
from speechbias.training.session import Outcome, Session
from speechbias.training.step import Report, Trainer


class CuttingSession(Session):
    """A ``Session`` with a schedule of cuts."""

    verb = "prune"
    pruned: Pruned
    schedule: Schedule
    pending: Amount | None  # the cut that is due before the next update

    @property
    def section(self) -> PruneSection:
        """``[prune]`` of the recipe."""
        assert self.recipe.prune is not None
        return self.recipe.prune

    def cut_if_due(self) -> None:
        """Make the cut that is due after the last update, if one is, and write it down."""
        if self.pending is None:
            return
        amount, self.pending = self.pending, None
        event = self._mask(amount) if self.section.method == "weights" else self._shrink(amount)
        if self.ranks.first:
            path = self.run.folder / EVENTS
            write_events(path, [*(read_events(path) if path.exists() else ()), event])
        self.bar.say(event.sentence)

    def look(self, report: Report) -> None:
        """See whether a cut is due after this update."""
        self.pending = self.schedule.due(report.update, None if report.skipped else report.loss)

    def is_kept(self, update: int) -> bool:
        """Checkpoints of before a cut stay, and the last one."""
        return super().is_kept(update) or self.pending is not None or self.is_last(update)

    def is_last(self, update: int) -> bool:
        """Whether all cuts are made and trained on, or the recipe's updates are done."""
        return super().is_last(update) or self.schedule.ended(update)

    def outcome(self, asked: Signals | None) -> Outcome:
        """What became of the run; a warning where its updates ended before its targets were reached."""
        ended, schedule = super().outcome(asked), self.schedule
        if isinstance(schedule, ConvergenceSchedule) and ended.asked is None and schedule.cuts < len(schedule.targets):
            self.warn(
                f"{schedule.cuts} of {len(schedule.targets)} targets are reached, and the run ends with "
                f"{ended.update} updates ([run] steps); --resume goes on with more"
            )
        return ended

    def provenance(self) -> dict[str, Any]:
        """How the weights came to be, and how many are gone."""
        return {**super().provenance(), "pruning": self.pruned.describe()}

    def state(self) -> dict[str, Any]:
        """What training needs beside the weights to go on, and pruning."""
        beside = {"pending": self.pending, "schedule": self.schedule.state(), "pruned": self.pruned.state()}
        return {**super().state(), "pruning": beside}

    def _objective(self, left: Left | None) -> tuple[Objective, Settings]:
        made = self._begin() if left is None else super()._objective(left)
        seed = self.recipe.run.seed
        if left is not None:
            checkpoint, state = left
            self.pruned = Pruned.load(self.section, seed, checkpoint.config, state["pruning"]["pruned"])
        self.pruned.bias = bias_criterion(self.recipe, self.pruned.kept.config, self.corpus.mel_stats)
        if left is None:
            self.schedule = make_schedule(self.section, self.pruned.kept.before, sparsity=self.pruned.sparsity)
            self.pending = self.schedule.due(0, None)
        else:
            self.schedule = self._schedule_left(state["pruning"]["schedule"])
            self.pending = state["pruning"]["pending"]
        self._warn_of_late_cuts()
        self._take_back(0 if left is None else state["update"])
        return made

    def _schedule_left(self, state: Mapping[str, Any]) -> Schedule:
        """Where it stood. The events that a run replays were read when it began: they may be other ones by now."""
        if self.section.schedule == "replayed" and "cuts" in state:
            return FixedSchedule.of_state(state)
        schedule = make_schedule(self.section, self.pruned.kept.before)
        schedule.load(state)
        return schedule

    def _warn_of_late_cuts(self) -> None:
        """Say which cuts a recipe's updates do not reach."""
        steps, cuts = self.recipe.run.steps, self.schedule.cuts if isinstance(self.schedule, FixedSchedule) else ()
        late = sorted(update for update in cuts if update >= steps)
        if late:
            self.warn(
                f"{len(late)} of {len(cuts)} cuts are not made: the first of them comes after update {late[0]}, and "
                f"the run ends with {steps} ([run] steps)"
            )

    def _begin(self) -> tuple[Objective, Settings]:
        start = starting_checkpoint(self.recipe)
        assert start is not None, "read_prune_recipe names one"
        self.pruned = Pruned.begin(self.section, self.recipe.run.seed, start)
        made, settings = super()._objective(None)
        if settings != start.settings:
            raise InputError(
                f"{start.name} has learnt other labels ({start.settings}) than those of the recipe ({settings}); name "
                "the centres of its own by [units] quantiser"
            )
        self._refuse_other_clusters(start)
        return made, settings

    def _refuse_other_clusters(self, start: Checkpoint) -> None:
        """As many clusters of other centres are other labels, too."""
        if self.corpus.labels is None or start.settings is None:
            return
        learnt, now = ((said or {}).get("sha256") for said in (start.meta.quantiser, self.corpus.labels.describe()))
        if learnt is not None and now is not None and learnt != now:
            raise InputError(
                f"{start.name} has learnt other labels (of centres {learnt[:12]}) than those of the recipe (of "
                f"{now[:12]}); name the centres of its own by [units] quantiser"
            )

    def _trainer(self, update: int, moments: Mapping[str, Any] | None) -> Trainer:
        """Masks come after the optimiser has counted the parameters, in a new run and in a resumed one."""
        trainer = super()._trainer(update, moments)
        if self.pruned.masks:
            install(self.objective, self.pruned.masks)
            trainer.share_gradients()
        return trainer

    def _track(self, update: int) -> None:
        assert self.tracker is not None
        self.tracker.track(update, self.objective, pruning=self.pruned.describe())

    def _mask(self, target: Amount) -> Event:
        """Put zeros in the place of weights until so many are."""
        event = self.pruned.next_masks(self.objective, target, self.trainer.update, share=self.ranks.share)
        first = not masks_of(self.objective)
        install(self.objective, self.pruned.masks)
        if first:
            self.trainer.share_gradients()
        return event

    def _shrink(self, amount: Amount) -> Event:
        """Take heads or rows out of the model, and out of the moments of its optimiser."""
        update, names = self.trainer.update, trained_names(self.objective, self.trainer.optimiser)
        cut, event = self.pruned.next_cut(self.objective, amount, update, share=self.ranks.share)
        state = self.trainer.optimiser.state_dict()
        moments = carried(state, names, cut) if self.section.moments == "carry" else None
        self.objective = perform(self.objective, cut, share=True)
        self.trainer = self._trainer(update, moments)
        return event

    def _take_back(self, update: int) -> None:
        """Forget cuts of a killed run from this update on: they are made again."""
        path = self.run.folder / EVENTS
        if self.ranks.first and path.exists():
            write_events(path, [event for event in read_events(path) if event.step < update])
