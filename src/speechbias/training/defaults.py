"""What a recipe need not say: the paper's numbers, and where it is silent those of the code it was trained with.

Section 2.1 gives updates and batches. The rest is fairseq's (wav2vec2_base_librispeech, hubert_base_librispeech) and
MelHuBERT's (nervjack2/MelHuBERT), as ``paper.SILENCES`` says; dropout and loss constants stand with the models.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from speechbias.models.config import Family
from speechbias.models.objectives import published_terms
from speechbias.models.regularisation import published_regularisation
from speechbias.paper import PRETRAINING
from speechbias.training.distillation import distillation_defaults
from speechbias.training.pruning import pruning_defaults

FAIRSEQ_OPTIM = {
    "lr": 5e-4,
    "betas": (0.9, 0.98),
    "eps": 1e-6,
    "weight_decay": 0.01,
    "warmup": 32_000,
    "schedule": "linear",
}
OPTIM: Mapping[Family, Mapping[str, Any]] = {
    "wav2vec2": {**FAIRSEQ_OPTIM, "clip": 0.0},  # fairseq's default: none
    "hubert": {**FAIRSEQ_OPTIM, "clip": 10.0},
    "melhubert": {
        "lr": 1e-4,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "warmup": 0,
        "schedule": "constant",
        "clip": 10.0,
    },
}
MASKING: Mapping[Family, Mapping[str, Any]] = {
    "wav2vec2": {"prob": 0.65, "length": 10},
    "hubert": {"prob": 0.8, "length": 10},
    "melhubert": {"prob": 0.7, "length": 5},  # of 20 ms; 10 where frames are of 10 ms
}
UNITS: Mapping[Family, Mapping[str, Any] | None] = {
    "wav2vec2": None,
    "hubert": {"features": "mfcc", "clusters": 100},  # the first iteration
    "melhubert": {"features": "logmel", "clusters": 512},
}


def family_defaults(family: Family, said: Mapping[str, Any]) -> dict[str, dict[str, Any] | None]:
    """The sections of a family, for a recipe that says ``said``."""
    model = said["model"]
    data_said = said.get("data")
    paper = PRETRAINING[family]
    masking = dict(MASKING[family])
    data: dict[str, Any] = {"crop": 15.0, "min_seconds": 3.2} if family == "melhubert" else {}
    if not (isinstance(data_said, Mapping) and {"seconds", "utterances"} & data_said.keys()):
        data |= {"seconds": paper.seconds, "utterances": paper.utterances}
    if model.get("frame_ms") == 10:
        masking["length"] = 10
    size = str(model.get("size") or "base")
    terms = published_terms(family, size)
    units = UNITS[family]
    made: dict[str, dict[str, Any] | None] = {
        "data": data,
        "units": None if units is None else dict(units),
        "masking": masking,
        "regularisation": dataclasses.asdict(published_regularisation(family, size)),
        "objective": None if terms is None else dataclasses.asdict(terms),
        "optim": dict(OPTIM[family]),
        "run": {"steps": paper.updates},
    }
    for name, keys in pruning_defaults(family, said).items() if "prune" in said else ():
        made[name] = {**(made.get(name) or {}), **keys}
    if "distill" in said:
        made |= {"units": None, "objective": None}
        for name, keys in distillation_defaults(family, said).items():
            made[name] = {**(made.get(name) or {}), **keys}
    return made
