"""Presets of recipes: the paper's text and the authors' configurations, as keys that differ from the defaults."""

from collections.abc import Mapping

from speechbias.paper.compression import (
    HEAD_PRUNING,
    PRUNING_UTTERANCES,
    RECORDED_CUTS,
    ROW_PRUNING,
    WEIGHT_PRUNING,
)

# What the authors' configurations differ by from the defaults of a recipe, as its keys, by method and family: the
# names are those of `[prune] preset`. The text of the paper is what the defaults read; its preset says so in full.
_LADDERS = {"heads": HEAD_PRUNING, "rows": ROW_PRUNING}
PRUNING_PRESETS: Mapping[str, Mapping[tuple[str, str], Mapping[str, Mapping[str, object]]]] = {
    "paper-text": {
        **{
            (method, family): {"prune": {"schedule": "ladder", "stages": ladder.stages, "amount": ladder.amount}}
            for method, ladder in _LADDERS.items()
            for family in PRUNING_UTTERANCES
        },
        ("weights", "melhubert"): {"prune": {"schedule": "converged", "targets": WEIGHT_PRUNING.targets, "check": 1}},
        ("weights", "wav2vec2"): {"prune": {"schedule": "listed", "targets": WEIGHT_PRUNING.targets}},
    },
    "authors-code": {
        ("heads", "melhubert"): {"prune": {"first": 1_000, "last": 40_000, "moments": "reset"}},
        ("heads", "wav2vec2"): {
            "prune": {"first": 1_000, "last": 5_000, "moments": "reset"},
            "objective": {"gumbel_start": 2.0, "gumbel_least": 2.0},
        },
        ("rows", "melhubert"): {"prune": {"first": 1_000, "last": 34_000, "moments": "reset"}},
        ("rows", "wav2vec2"): {
            "prune": {"first": 1_000, "last": 34_000, "moments": "reset"},
            "objective": {"gumbel_start": 2.0, "gumbel_least": 2.0},
        },
        ("weights", "melhubert"): {
            "prune": {"check": 25_000, "sides": "fall", "unconditional": True, "average": "three", "last": 25_000}
        },
        ("weights", "wav2vec2"): {
            "prune": {"at": tuple(5_000 + cut for cut in RECORDED_CUTS), "last": 125_000},
            "objective": {"gumbel_start": 2.0, "gumbel_least": 2.0},
        },
    },
}

# The same of [distill], by name and family. S3PRL's distiller trained the paper's students of wav2vec 2.0 and HuBERT,
# code of the authors those of MelHuBERT.
_S3PRL: Mapping[str, Mapping[str, object]] = {
    "distill": {
        "copied": ("frontend", "projection", "positions", "layers"),
        "feature_norm": False,
        "padding": True,
        "teacher_dropout": True,
        "decay_biases": False,
    },
    "optim": {"weight_decay": 0.01},
}
DISTILLATION_PRESETS: Mapping[str, Mapping[str, Mapping[str, Mapping[str, object]]]] = {
    "s3prl": {"wav2vec2": _S3PRL, "hubert": _S3PRL},
    "authors-code": {
        "wav2vec2": _S3PRL,
        "hubert": _S3PRL,
        "melhubert": {
            "distill": {"copied": (), "padding": True, "teacher_dropout": True, "masked": True},
            "optim": {"weight_decay": 1e-6},
        },
    },
}
