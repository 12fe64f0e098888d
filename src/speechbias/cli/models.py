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
    onnx = "onnx"
    int8 = "int8"
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
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT", help="Folder to write, or FILE.onnx.", show_default=False)
    ],
    form: Annotated[
        ExportFormat, typer.Option("--format", help="For transformers, ONNX, quantised ONNX, or our own checkpoint.")
    ] = ExportFormat.hf,
    mel_stats: Annotated[
        Path | None,
        typer.Option(
            "--mel-stats", metavar="FILE.npy", help="Mean and std to put into a MelHuBERT.", show_default=False
        ),
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option("--results", metavar="FILE.jsonl", help="Records of the model for its card.", show_default=False),
    ] = None,
    licence: Annotated[str, typer.Option("--license", help="Of the weights, as the hub writes it.")] = "unknown",
    latency: Annotated[bool, typer.Option(help="Time 10 s of audio on one thread for the card.")] = True,
) -> None:
    """Write a model for transformers or onnxruntime, or as a checkpoint of ours that holds no code; with its card."""
    from speechbias.export import export_checkpoint, next_use

    written = export_checkpoint(
        model,
        out,
        format=form.value,
        mel_stats=mel_stats,
        results=results or (),
        license=licence,
        latency=latency,
    )
    typer.echo(f"{written}: {next_use(written, format=form.value)}")
