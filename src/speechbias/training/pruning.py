"""``[prune]`` of a recipe: what is cut, by which criterion, and when; its defaults are the paper's (Section 2.3).

Cuts come by a ladder (``stages``), at updates that are listed (``at``), when the loss has converged, or when another
run cut (``replay``). ``compress/schedule`` makes one of these of the section.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from speechbias.errors import InputError
from speechbias.models.config import Family
from speechbias.paper import (
    FIRST_RECORDED_CUT,
    HEAD_PRUNING,
    PRUNING_PRESETS,
    PRUNING_UTTERANCES,
    RECORDED_CUTS,
    ROW_PRUNING,
    WEIGHT_PRUNING,
)
from speechbias.training.sections import A_PATH

Method = Literal["heads", "rows", "weights"]
Criterion = Literal["l1", "random", "bias"]
OTHER_UTTERANCES = 12  # of a batch of HuBERT, which the paper does not prune: as wav2vec 2.0
OPTIM = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "warmup": 0, "schedule": "constant", "clip": 10.0}
LR = {"heads": HEAD_PRUNING.lr, "rows": ROW_PRUNING.lr, "weights": WEIGHT_PRUNING.lr}


@dataclass(frozen=True)
class PruneSection:
    """What one run of ``speechbias prune`` cuts. Heads and rows go, ``amount`` of each layer; weights become zeros."""

    method: Method
    criterion: Criterion = "l1"  # random: drawn from [run] seed, the control; bias: with the effect on |d|
    preset: Literal["paper-text", "authors-code"] | None = None
    schedule: Literal["ladder", "listed", "converged", "replayed"] = "ladder"
    amount: int | None = None  # heads or rows of each layer at a cut
    stages: tuple[tuple[int, int], ...] | None = None  # (updates between cuts, left at the end of the stage)
    at: tuple[int, ...] | None = None  # updates of cuts
    targets: tuple[float, ...] | None = None  # share of zeros after each cut, for weights
    replay: str | None = field(default=None, metadata=A_PATH)  # events.jsonl of another run
    first: int | None = None  # update of a ladder's first cut; None: as many as between the cuts of its first stage
    last: int | None = None  # updates after the last cut; None: as many as between the last cuts
    ema: float = WEIGHT_PRUNING.ema  # decay of the loss's moving average, begun anew at each cut
    tolerance: float = WEIGHT_PRUNING.tolerance
    look_back: int = WEIGHT_PRUNING.look_back  # updates
    check: int = WEIGHT_PRUNING.look_back  # updates from one comparison to the next, counted from the cut before
    sides: Literal["both", "fall"] = "both"  # fall: a loss that rose counts as converged
    unconditional: bool = False  # the first cut comes at the first check, whatever the loss
    average: Literal["corrected", "three"] = "corrected"  # three: begins as the mean of three losses, skips the fourth
    moments: Literal["carry", "reset"] = "carry"  # of Adam, at a cut of heads or rows
    out_proj: bool = False  # counts in the norm of a head
    stimuli: tuple[str, ...] | None = field(default=None, metadata=A_PATH)  # CSVs, of which "bias" takes d
    balance: float = 0.5  # of it: 0 is the L1 norm alone, 1 the effect on |d| alone
    train: bool = True  # false: only cut, no update in between; at, first and last say nothing

    def __post_init__(self) -> None:
        """Refuse what is no schedule, and keys that mean nothing beside each other."""
        ladder, weights = self.schedule == "ladder", self.method == "weights"
        if weights and (ladder or self.amount is not None):
            raise ValueError('weights are cut to targets, not by amount: schedule "listed", "converged" or "replayed"')
        if not weights and self.schedule == "converged":
            raise ValueError(f'schedule "converged" is for weights; {self.method} have "ladder", "listed", "replayed"')
        needed = {"ladder": "stages", "listed": "at", "replayed": "replay", "converged": "targets"}[self.schedule]
        if getattr(self, needed) is None:
            raise ValueError(f'schedule "{self.schedule}" needs {needed}')
        if not weights and self.targets is not None:
            raise ValueError(f"targets are shares of zeros, for weights; {self.method} have stages or amount")
        if self.criterion == "bias" and (weights or not self.stimuli):
            raise ValueError('criterion "bias" is for heads and rows, and needs stimuli to measure d on')
        self._refuse_idle()
        self._refuse_numbers()
        self._refuse_stages()

    def _refuse_idle(self) -> None:
        """Refuse keys that are set and that nothing here looks at."""
        idle = {
            "stages, first": self.schedule != "ladder",
            "at": self.schedule != "listed",
            "replay": self.schedule != "replayed",
            "ema, tolerance, look_back, check, sides, unconditional, average": self.schedule != "converged",
            "moments": self.method == "weights",
            "out_proj": self.method != "heads",
            "stimuli, balance": self.criterion != "bias",
        }
        defaults = {field.name: field.default for field in fields(self)}
        for name in (name for names, is_idle in idle.items() if is_idle for name in names.split(", ")):
            if getattr(self, name) != defaults[name]:
                raise ValueError(
                    f'{name} says nothing with method "{self.method}", schedule "{self.schedule}" and criterion '
                    f'"{self.criterion}"; leave it out'
                )

    def _refuse_numbers(self) -> None:
        for name in ("amount", "last", "look_back", "check"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give 1 or more")
        for name in ("at", "targets"):
            numbers = getattr(self, name)
            if numbers is not None and (not numbers or list(numbers) != sorted(set(numbers))):
                raise ValueError(f"{name} has numbers that do not grow; write them in rising order")
        if min(self.first or 0, *(self.at or (0,))) < 0:
            raise ValueError("first and at are updates, counted from 0")
        if self.targets is not None and not 0 < self.targets[0] <= self.targets[-1] < 1:
            raise ValueError("targets are shares of zeros, between 0 and 1")
        if self.method == "weights" and self.schedule == "listed" and len(self.at or ()) != len(self.targets or ()):
            raise ValueError(f"at has {len(self.at or ())} updates and targets {len(self.targets or ())} shares")
        if not 0 <= self.balance <= 1 or not 0 <= self.ema < 1 or self.tolerance < 0:
            raise ValueError("balance is from 0 to 1, ema from 0 to below 1, tolerance not below 0")

    def _refuse_stages(self) -> None:
        if self.stages is None:
            return
        if not self.stages or min(map(min, self.stages)) < 1:
            raise ValueError("stages are pairs, updates between cuts and what is left, 1 or more each")
        left = [until for _, until in self.stages]
        if left != sorted(set(left), reverse=True):
            raise ValueError("stages leave fewer and fewer; let each end lower than the one before")


def pruning_defaults(family: Family, said: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections of a recipe that prunes, where it does not say otherwise. ``said`` has a ``[prune]``."""
    asked = said["prune"] if isinstance(said["prune"], Mapping) else {}
    method: Method | None = next((known for known in get_args(Method) if known == asked.get("method")), None)
    if method is None:
        return {}  # reading the section says so
    made: dict[str, dict[str, Any]] = {
        "data": _batch(family, said.get("data")),
        "optim": {**OPTIM, "lr": LR[method]},
        "run": {"keep": (0,), "keep_every": 0},
        "prune": _schedule(family, method, asked),
    }
    if family == "wav2vec2":
        made["objective"] = {"gumbel_start": 0.5}  # where pre-training ended
    for section, keys in _preset(family, method, asked.get("preset")).items():
        made[section] = {**made.get(section, {}), **keys}
    return made


def _batch(family: Family, said: Any) -> dict[str, Any]:
    if isinstance(said, Mapping) and {"seconds", "utterances"} & said.keys():
        return {}
    return {"utterances": PRUNING_UTTERANCES.get(family, OTHER_UTTERANCES), "seconds": None}


def _schedule(family: Family, method: Method, asked: Mapping[str, Any]) -> dict[str, Any]:
    """When the paper cuts; of what another schedule needs nothing is left."""
    if method == "weights":
        made: dict[str, Any] = {"schedule": "converged", "targets": WEIGHT_PRUNING.targets}
        if family == "wav2vec2":
            at = tuple(FIRST_RECORDED_CUT + cut for cut in RECORDED_CUTS)
            made = {"schedule": "listed", "at": at, "targets": WEIGHT_PRUNING.targets}
    else:
        ladder = HEAD_PRUNING if method == "heads" else ROW_PRUNING
        made = {"schedule": "ladder", "amount": ladder.amount, "stages": ladder.stages}
    kind = asked.get("schedule", "listed" if "at" in asked else "replayed" if "replay" in asked else made["schedule"])
    wanted = {"ladder": {"amount", "stages"}, "listed": {"amount", "at", "targets"}, "converged": {"targets"}}
    return {key: value for key, value in made.items() if key in wanted.get(kind, {"amount"})} | {"schedule": kind}


def _preset(family: Family, method: Method, name: Any) -> Mapping[str, Mapping[str, Any]]:
    known = PRUNING_PRESETS.get(name) if isinstance(name, str) else None
    if known is None:
        return {}
    if (method, family) not in known:
        raise InputError(f"[prune] preset {name!r}: the paper prunes no {family}; leave preset out")
    return known[method, family]
