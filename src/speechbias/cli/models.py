"""`speechbias inspect` and `speechbias export`: what a model is, and other formats of it."""

import json
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from speechbias.cli.app import app
from speechbias.cli.said import collect


class ExportFormat(StrEnum):
    """What `export` writes."""

    hf = "hf"
    speechbias = "speechbias"


@app.command()
def inspect(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Checkpoint, hub id, feature or random:FAMILY-SIZE.", show_default=False
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array, one object per model.")] = False,
    latency: Annotated[bool, typer.Option("--latency", help="Also time 10 s of audio on one thread.")] = False,
) -> None:
    """Show what models are, side by side: shapes, parameters, operations, hidden states, provenance."""
    from speechbias.inspection import describe_model
    from speechbias.inspection.table import terminal_table

    described = collect(partial(describe_model, latency=latency), models)
    if as_json:
        typer.echo(json.dumps([description.to_json() for description in described], indent=1, allow_nan=False))
    else:
        Console().print(terminal_table(described))


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Checkpoint, hub id or random:FAMILY-SIZE.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder to write.", show_default=False)],
    form: Annotated[
        ExportFormat, typer.Option("--format", help="A folder for transformers, or our own checkpoint.")
    ] = ExportFormat.hf,
    mel_stats: Annotated[
        Path | None,
        typer.Option(
            "--mel-stats", metavar="FILE.npy", help="Mean and std to put into a MelHuBERT.", show_default=False
        ),
    ] = None,
) -> None:
    """Write a model as a folder that transformers loads, or as a checkpoint of ours that holds no code."""
    from speechbias.export import export_checkpoint, next_use

    written = export_checkpoint(model, out, format=form.value, mel_stats=mel_stats)
    typer.echo(f"{written}: {next_use(written, format=form.value)}")
