"""Options that several verbs have, by their values."""

from enum import StrEnum
from typing import Annotated

import typer


class States(StrEnum):
    """Conventions of hidden states."""

    s3prl = "s3prl"
    hf = "hf"
    speat = "speat-2023"
    heads = "s3prl-heads"


class Pooling(StrEnum):
    """What becomes of a clip's frames (``speechbias.poolings``)."""

    mean = "mean"
    max = "max"
    min = "min"
    median = "median"
    std = "std"
    first = "first"
    second = "second"
    q1 = "q1"
    q2 = "q2"
    q3 = "q3"
    penultimate = "penultimate"
    last = "last"


class Design(StrEnum):
    """Designs of the permutation test."""

    independent = "independent"
    speaker = "speaker"
    within_speaker = "within-speaker"
    pair = "pair"


class Alternative(StrEnum):
    """Sides of the test."""

    two_sided = "two-sided"
    greater = "greater"
    less = "less"


class Precision(StrEnum):
    """Precisions of the encoder."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Launcher(StrEnum):
    """Where jobs run."""

    slurm = "slurm"
    local = "local"


Launch = Annotated[
    Launcher | None,
    typer.Option("--launcher", help="Run as jobs: of Slurm, or beside each other here.", show_default=False),
]


Asked = Annotated[
    list[str] | None,
    typer.Option("--launch", metavar="KEY=VALUE", help="partition, time, gpus ..., or a TOML file of such."),
]
