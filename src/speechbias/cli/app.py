"""The command itself; verbs add themselves to it."""

from typing import Annotated

import typer

from speechbias import __version__

app = typer.Typer(
    name="speechbias",
    help="Measure how socially biased a speech model's representations are, in which layer, and how sure that is.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"speechbias {__version__}")
        raise typer.Exit


@app.callback()
def speechbias(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Measure how socially biased a speech model's representations are, in which layer, and how sure that is."""
