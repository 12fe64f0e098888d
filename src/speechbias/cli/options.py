"""Options that several verbs have: their values, what --help says of them; what jobs are asked for."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from speechbias.errors import InputError


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


Results = Annotated[list[Path], typer.Argument(metavar="RESULTS.jsonl...", show_default=False)]
RecordsOut = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="FILE.jsonl", help="Write records here too.", show_default=False)
]
PerLayer = Annotated[bool, typer.Option("--per-layer", help="Single states too, not the mean alone.")]

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE.toml", show_default=False)]
RunOut = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="The run's folder.", show_default=False)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in this folder.")]
RecipeSeed = Annotated[int | None, typer.Option(min=0, help="Instead of the recipe's.", show_default=False)]

Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ... or auto.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave unusable clips (and pair partners) out.")]
Resamples = Annotated[int, typer.Option(min=100, help="Bootstrap resamples of the intervals.")]

JobsBy = Annotated[
    Launcher | None,
    typer.Option("--launcher", help="Run as jobs: of Slurm, or beside each other here.", show_default=False),
]
JobSettings = Annotated[
    list[str] | None,
    typer.Option("--launch", metavar="KEY=VALUE", help="partition, time, gpus ..., or a TOML file of such."),
]


def job_settings(launcher: Launcher | None, asked: list[str] | None) -> Any:
    """What jobs ask for (``launch.settings.Settings``); None where the verb runs here, which has no such settings."""
    if launcher is None:
        if asked:
            raise InputError(
                "--launch sets how jobs run; give --launcher slurm or --launcher local with it, or leave it out"
            )
        return None
    from speechbias.launch.settings import read_settings

    return read_settings(launcher.value, asked or ())
