"""Which work a table or figure of the paper takes, from what is there: stimuli, models, runs, probes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from speechbias.compress.events import read_events
from speechbias.models.config import Family
from speechbias.paper import DISTILLATION, TABLE_3_COLUMNS, TABLE_4_MIDDLE, WEIGHTS
from speechbias.reproduce import estimates
from speechbias.reproduce.cost import Cost
from speechbias.reproduce.identity import is_of_the_hub
from speechbias.reproduce.places import PROBED_SETS, TRAINING_SETS, Places
from speechbias.reproduce.rows import FEATURES, MODELS, PaperRow
from speechbias.reproduce.work import BuildStimuli, Measure, Probe, Train, Work, in_turn

Item = Literal["table1", "table2", "table3", "table4", "figure1", "figure2", "figure3"]
ITEMS: tuple[Item, ...] = ("table1", "table2", "table3", "table4", "figure1", "figure2", "figure3")
CATEGORIES = tuple(name.casefold() for name in TABLE_3_COLUMNS)
METHODS = ("heads", "rows", "weights")
PRUNED: tuple[Family, ...] = ("wav2vec2", "melhubert")  # Section 2.3: no HuBERT
DISTILLED: tuple[Family, ...] = ("wav2vec2", "hubert", "melhubert")
BESIDE = "mel"  # the feature whose phone error rate the findings lay beside those of compressed models
TRACKED = tuple(1_000 * 2**power for power in range(9))  # SILENCES["tracked-steps"]
HUBERT_FIRST = 250_000  # updates of the first iteration, whose state 6 makes the labels of the second


@dataclass(frozen=True)
class Plan:
    """The work for some items in the order in which it is done; ``notes``: what is there and not taken."""

    items: tuple[Item, ...]
    works: tuple[Work, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def cost(self) -> Cost:
        """Of what is not done yet."""
        return sum((work.cost for work in self.works if work.state != "done"), Cost())


def plan(items: Sequence[Item], places: Places, *, device: str = "cpu") -> Plan:
    """What there is to do for ``items``."""
    made = Planner(places, device)
    makers: Mapping[Item, Any] = {
        "table1": lambda: made.stimuli,
        "table2": tuple,
        "table3": made.table3,
        "table4": made.table4,
        "figure1": made.figure1,
        "figure2": made.figure2,
        "figure3": made.figure3,
    }
    works = in_turn([work for item in items for work in makers[item]()])
    keys = dict.fromkeys(row.key for item in items for row in _rows_of(item))
    notes = [run.in_words() for key in keys if (run := places.found_run(key)) and run.unended]
    fetched = [model for key in keys if (model := places.find(key)) and is_of_the_hub(model)]
    if fetched:
        notes.append(f"these come from the hub, unless --no-hub says otherwise: {', '.join(fetched)}")
    return Plan(tuple(items), tuple(works), tuple(notes))


@dataclass(frozen=True)
class Planner:
    """Makes each piece of work; a model that is there is used, else it is trained, else it is absent."""

    places: Places
    device: str

    # ---- items ----

    def table3(self) -> list[Work]:
        """The features, and the models that the paper trained or took."""
        features = Measure(
            "measure features", tuple(FEATURES.values()), self.csvs, self.places.out / "results.jsonl",
            needs=self.stimuli, cost=estimates.measuring(None),
        )  # fmt: skip
        return [features, *(self.measured(row) for row in MODELS)]

    def figure1(self) -> list[Work]:
        """Small and slim of each family, tracked while they are trained; of runs that are there, the steps."""
        return [self._steps(row) for row in _rows_of("figure1")]

    def figure2(self) -> list[Work]:
        """Each family and method."""
        return [self.pruned(family, method) for family in PRUNED for method in METHODS]

    def figure3(self) -> list[Work]:
        """Each teacher and its students, measured."""
        works: list[Work] = []
        for family in DISTILLED:
            works.append(self.measured(_base(family)))
            works += [self._measured_student(family, layers) for layers in DISTILLATION.students]
        return works

    def table4(self) -> list[Work]:
        """Phone error rates of each base model and of what was made of it."""
        works: list[Work] = []
        for family in DISTILLED:
            model, needs, absent = self.model(_base(family))
            runs = [self.pruned(family, method) for method in METHODS] if family in PRUNED else []
            smallest = self.distilled(family, DISTILLATION.layers)
            made = [
                *(_middle_and_last(run.folder.absolute(), method) for run, method in zip(runs, METHODS, strict=False)),
                (str(self.places.last(smallest.folder.name)),),
            ]
            folder, librispeech = self.places.out / "probed" / family, self.places.librispeech or Path("LibriSpeech")
            parts = (str((librispeech / name).absolute()) for name in PROBED_SETS)
            sets = dict(zip(("train", "dev", "test"), parts, strict=True))
            features = (BESIDE,) if family == DISTILLED[0] else ()
            probed = 2 + 2 * len(runs) + len(features)  # of a run to come the middle size is not known yet
            works.append(
                Probe(
                    f"probe {family}: base, pruned, distilled",
                    (*features, model, *(path for paths in made for path in paths)),
                    folder,
                    {"probe": {**sets, "split": "test-clean", "cache_dtype": "float16", "phones": 39}},
                    "recipes/probe/phonemes.toml",
                    needs=(*needs, *runs, smallest),
                    absent=(*absent, *self.places.absent_sets(PROBED_SETS)),
                    cost=estimates.probing(family, probed),
                )
            )
        return works

    # ---- pieces ----

    @cached_property
    def csvs(self) -> tuple[Path, ...]:
        """The three stimulus files."""
        return self.places.stimuli or tuple(self.places.out / "stimuli" / f"{name}.csv" for name in CATEGORIES)

    @cached_property
    def stimuli(self) -> tuple[Work, ...]:
        """Built from the archive and the Morgan set, unless the user has some."""
        if self.places.stimuli:
            return ()
        archive, morgan = self.places.accent_archive, self.places.morgan
        return tuple(
            BuildStimuli(
                f"stimuli {name}",
                name,
                path,
                (f"accent-archive:{name}={archive}", f"morgan={morgan}"),
                absent=self.places.absent("accent_archive", "morgan"),
                cost=Cost(audio=estimates.hours_of(name)),
            )
            for name, path in zip(CATEGORIES, self.csvs, strict=True)
        )

    def model(self, row: PaperRow) -> tuple[str, tuple[Work, ...], tuple[str, ...]]:
        """MODEL of a row: where it is; the work that makes it; what is absent for that."""
        found = self.places.find(row.key)
        if found is not None:
            return found, (), ()
        if row.size == "large":  # no recipe of this repository, and none of the paper's
            return row.key, (), (_weights(row),)
        run = self.pretrained(row)
        last = str(self.places.last(row.key))
        if run.absent and row.size == "base":
            return last, (run,), (_weights(row),)
        return last, (run,), ()

    def measured(self, row: PaperRow) -> Measure:
        """A model of Table 3 on all three tests."""
        model, needs, absent = self.model(row)
        fetched = estimates.fetching(row) if is_of_the_hub(model) else Cost()
        return Measure(
            f"measure {row.name}", (model,), self.csvs, self.places.out / "results.jsonl",
            needs=(*self.stimuli, *needs), absent=absent, cost=estimates.measuring(row) + fetched,
        )  # fmt: skip

    def _steps(self, row: PaperRow) -> Work:
        """A run with its d's on the way: one that is there, ended or not, if it kept more than its last step."""
        run = self.places.found_run(row.key)
        steps = run.checkpoints if run else []
        if len(steps) < 2:
            return self.pretrained(row)
        return Measure(
            f"measure the {len(steps)} steps of {row.key}", tuple(map(str, steps)), self.csvs,
            self.places.out / "results.jsonl", needs=self.stimuli,
            cost=estimates.measuring(row, times=len(steps)),
        )  # fmt: skip

    def pretrained(self, row: PaperRow) -> Train:
        """A run of pre-training, tracked where there are stimuli; of HuBERT after its first iteration."""
        assert row.family is not None
        first = self._hubert_first() if row.family == "hubert" else None
        said: dict[str, Any] = {
            "model": {"family": row.family, "size": row.size},
            **self._training_data(),
            **self._track(per_layer=True),
        }
        if first is not None:
            labels = str(self.places.last(first.folder.name))
            said["units"] = {"features": "state", "checkpoint": labels, "state": 6, "clusters": 500}
        return self._train("pretrain", row.key, said, (row.family, row.size), needs=(first,) if first else ())

    def pruned(self, family: Family, method: str) -> Train:
        """A base model pruned by one method, d tracked before every cut."""
        model, needs, absent = self.model(_base(family))
        said = {
            "model": {"checkpoint": model},
            **self._training_data(),
            "prune": {"method": method},
            **self._track(per_layer=False),
        }
        return self._train("prune", f"{family}-{method}", said, (family, "base"), needs=needs, absent=absent)

    def distilled(self, family: Family, layers: int) -> Train:
        """A student of so many layers."""
        model, needs, absent = self.model(_base(family))
        said = {"model": {"checkpoint": model}, **self._training_data(), "distill": {"layers": layers}}
        name = f"{family}-student-{layers}"
        return self._train("distill", name, said, (family, "base"), needs=needs, absent=absent)

    def _measured_student(self, family: Family, layers: int) -> Measure:
        run = self.distilled(family, layers)
        return Measure(
            f"measure {run.folder.name}", (str(self.places.last(run.folder.name)),), self.csvs,
            self.places.out / "results.jsonl", needs=(*self.stimuli, run), cost=estimates.measuring(_base(family)),
        )  # fmt: skip

    def _hubert_first(self) -> Train:
        said = {
            "model": {"family": "hubert", "size": "base"},
            **self._training_data(),
        }
        said["run"] = {**said["run"], "steps": HUBERT_FIRST}
        return self._train("pretrain", "hubert-first", said, ("hubert", "base"))

    def _train(
        self,
        verb: Literal["pretrain", "prune", "distill"],
        name: str,
        said: Mapping[str, Any],
        shape: tuple[Family, str],
        *,
        needs: tuple[Work, ...] = (),
        absent: tuple[str, ...] = (),
    ) -> Train:
        tracked = self.stimuli if "track" in said else ()
        return Train(
            f"{verb} {name}",
            verb,
            self.places.run(name),
            said,
            f"recipes/{_RECIPES[verb]}/{_recipe_name(verb, name)}.toml",
            needs=(*tracked, *needs),
            absent=(*absent, *self.places.absent_sets(TRAINING_SETS)),
            cost=estimates.training(verb, said, shape),
        )

    def _training_data(self) -> dict[str, Any]:
        folder = self.places.librispeech or Path("LibriSpeech")
        precision = "float32" if self.device == "cpu" else "bfloat16"
        return {
            "data": {"train": [str((folder / name).absolute()) for name in TRAINING_SETS], "workers": 4},
            "run": {"precision": precision},
        }

    def _track(self, *, per_layer: bool) -> dict[str, Any]:
        """``[track]``; a run without stimuli is trained all the same, and its checkpoints can be measured later."""
        if not self.places.stimuli and self.places.absent("accent_archive", "morgan"):
            return {}
        steps: dict[str, Any] = {"steps": list(TRACKED)} if per_layer else {}
        return {"track": {"stimuli": [str(path.absolute()) for path in self.csvs], "per_layer": per_layer, **steps}}


def _middle_and_last(run: Path, method: str) -> tuple[str, ...]:
    """Checkpoints of a pruning that Table 4 has: of the middle size and the smallest; of a run to come the last alone.

    The checkpoint of a size is written before the next cut.
    """
    last, events = str(run / "checkpoints" / "last"), run / "events.jsonl"
    if not events.exists():
        return (last,)
    cuts = read_events(events)
    sizes = [(abs(cut.remaining / cut.of - TABLE_4_MIDDLE[method]), after.step) for cut, after in pairwise(cuts)]
    middle = run / "checkpoints" / f"step-{min(sizes)[1]:08d}" if sizes else run / "none"
    return (str(middle), last) if middle.exists() else (last,)


_RECIPES = {"pretrain": "pretrain", "prune": "compress", "distill": "compress"}


def _recipe_name(verb: str, name: str) -> str:
    return {"prune": f"prune-{name.rpartition('-')[2]}", "distill": "distill"}.get(verb, name)


def _rows_of(item: Item) -> list[PaperRow]:
    """Of which models of Table 3 an item is made."""
    if item in {"table1", "table2"}:
        return []
    sizes = {"table3": {row.size for row in MODELS}, "figure1": {"small", "slim"}}.get(item, {"base"})
    return [row for row in MODELS if row.size in sizes]


def _base(family: Family) -> PaperRow:
    return next(row for row in MODELS if (row.family, row.size) == (family, "base"))


def _weights(row: PaperRow) -> str:
    each = WEIGHTS[row.name]
    trained = "; or name LibriSpeech, on which it is trained" if row.size != "large" else ""
    return (
        f"weights of {row.name}: from {each.source} (licence: {each.licence}); put them as {each.names[0]} into a "
        f"folder, and name that with --checkpoints{trained}"
    )
