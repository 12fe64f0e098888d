"""`speechbias remove`: a model without what told groups apart."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from speechbias.cli.app import app
from speechbias.cli.options import Device, States
from speechbias.cli.said import say_device


class Erasing(StrEnum):
    """How a concept is removed."""

    leace = "leace"
    mean_projection = "mean-projection"


Model = Annotated[str, typer.Argument(metavar="MODEL", help="Whatever `measure` takes.", show_default=False)]
Fit = Annotated[
    Path,
    typer.Option(
        metavar="FILE.csv", help="Stimuli whose X and Y are made alike; of other speakers.", show_default=False
    ),
]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder to write.", show_default=False)]
Method = Annotated[Erasing, typer.Option(help="How.")]
Column = Annotated[
    str | None,
    typer.Option(help="Of the CSV: remove what its values differ in, instead of X and Y.", show_default=False),
]
Shrink = Annotated[bool, typer.Option(help="Shrink LEACE's covariance (Ledoit and Wolf).")]
StatesThatCount = Annotated[States, typer.Option(help="Which hidden states count.")]
Workers = Annotated[int, typer.Option(min=1, help="Clips embedded at a time.")]
Cache = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of pooled vectors.")]


@app.command()
def remove(
    model: Model,
    fit: Fit,
    out: Out,
    method: Method = Erasing.leace,
    column: Column = None,
    shrink: Shrink = True,
    states: StatesThatCount = States.s3prl,
    workers: Workers = 1,
    device: Device = "cpu",
    cache: Cache = None,
) -> None:
    """Remove from every hidden state what groups differ in (LEACE, mean projection); the result is a MODEL.

    Fit on some speakers and measure on others: speechbias stimuli split gender.csv makes two such tests.
    """
    from speechbias.removal import remove as taken_out
    from speechbias.stimuli import read_stimuli

    say_device(device)
    fitted = taken_out(
        model,
        read_stimuli(fit),
        out,
        method=method.value,
        column=column,
        shrink=shrink,
        states=states.value,
        workers=workers,
        device=device,
        cache=cache,
        progress=True,
    )
    encoder = fitted.encoder
    ranks = [eraser.rank for eraser in encoder.erasers]
    lost = " to ".join(map(str, dict.fromkeys((min(ranks), max(ranks)))))
    typer.echo(
        f"{out}: {encoder.facts['method']} of {lost} of {encoder.dim} dimensions "
        f"in each of {encoder.num_states} states. "
        f"Next: speechbias measure {shlex.quote(model)} {shlex.quote(str(out))} --stimuli FILE.csv"
    )
