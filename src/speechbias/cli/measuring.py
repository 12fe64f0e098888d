"""`speechbias measure`."""

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from speechbias.cli.app import app
from speechbias.cli.confounds import say_flags
from speechbias.cli.options import Alternative, Asked, Design, Launch, Launcher, Pooling, Precision, States
from speechbias.cli.said import check_launch, collect, note, say_device, warn


@app.command()
def measure(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="Checkpoint, hub id, feature, random:FAMILY-SIZE or .npz.", show_default=False
        ),
    ],
    stimuli: Annotated[
        list[Path] | None, typer.Option("--stimuli", metavar="CSV...", help="Stimulus files, one per test.")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Results are added to this file.")] = Path(
        "results.jsonl"
    ),
    per_layer: Annotated[bool, typer.Option("--per-layer", help="Every hidden state beside their mean.")] = False,
    states: Annotated[
        States, typer.Option(help="Which hidden states count; s3prl-heads: a student's predictions too.")
    ] = States.s3prl,
    design: Annotated[
        Design | None, typer.Option(help="Override the design chosen from speakers.", show_default=False)
    ] = None,
    alternative: Annotated[
        Alternative, typer.Option(help="'greater' is SpEAT's one-sided test.")
    ] = Alternative.two_sided,
    permutations: Annotated[int, typer.Option(min=1, help="Relabellings where not all are counted.")] = 100_000,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples of the intervals.")] = 10_000,
    confidence: Annotated[float, typer.Option(help="Of the intervals; alpha is 1 minus this.")] = 0.95,
    ddof: Annotated[int, typer.Option(min=0, max=1, help="Of the standard deviation in d.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of relabellings and resamples.")] = 0,
    workers: Annotated[
        int, typer.Option(min=1, help="Clips embedded at a time, one core each; on a GPU, processes that decode.")
    ] = 1,
    dtype: Annotated[Precision, typer.Option(help="Precision of the encoder.")] = Precision.float32,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ... or auto.")] = "cpu",
    mel_stats: Annotated[
        Path | None,
        typer.Option(
            "--mel-stats", metavar="FILE.npy", help="Mean and std, for MelHuBERT files without.", show_default=False
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of pooled vectors.", show_default="FILE.cache"),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave unusable clips (and pair partners) out.")
    ] = False,
    crop: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Only the middle of each clip; shorter ones are bad.", show_default=False
        ),
    ] = None,
    pooling: Annotated[
        Pooling, typer.Option(help="Of a clip's frames; q1 to q3: the frame at a quarter, half, three quarters.")
    ] = Pooling.mean,
    audit: Annotated[
        bool, typer.Option("--audit/--no-audit", help="What else differs between the groups, as a record per test.")
    ] = True,
    controls: Annotated[
        bool,
        typer.Option("--controls", help="Speech against noise and each model's untrained twin too: a second pass."),
    ] = False,
    launcher: Launch = None,
    launch: Asked = None,
) -> None:
    """Measure SpEAT effect sizes of models on stimuli: d, two p-values, intervals."""
    from speechbias.audits import audit_survey
    from speechbias.report.terminal import terminal_table
    from speechbias.results import BiasResult
    from speechbias.stimuli import read_stimuli
    from speechbias.survey import Survey

    check_launch(launcher, launch)
    survey = Survey(
        models=models,
        tests=collect(partial(read_stimuli, skip_bad=skip_bad), stimuli or []),
        out=out,
        options={
            "alternative": alternative.value,
            "permutations": permutations,
            "resamples": resamples,
            "confidence": confidence,
            "ddof": ddof,
            "seed": seed,
            "design": design.value if design else None,
        },
        per_layer=per_layer,
        states=states.value,
        dtype=dtype.value,
        device=device,
        mel_stats=mel_stats,
        workers=workers,
        cache=cache or out.parent / f"{out.name}.cache",
        skip_bad=skip_bad,
        progress=True,
        crop=crop,
        pooling=pooling.value,
    )
    say_device(device)
    results: dict[str, BiasResult] = {}  # a model named twice is shown once
    warned: set[str] = set()
    try:
        for result in survey.measure() if launcher is None else _launched(survey, launcher, launch):
            results[result.identity] = result
            left_out = (
                f"row {clip['row']} is left out: " + f"{clip['path']} {clip['why']}".strip() for clip in result.skipped
            )
            warn((f"{result.test}: {text}" for text in (*left_out, *result.warnings)), warned)
    finally:
        if results:
            Console().print(terminal_table(list(results.values())))
    if audit:
        say_flags(audit_survey(survey))
    if controls:
        _control(survey)
    what = "1 result" if len(results) == 1 else f"{len(results)} results"
    typer.echo(f"\n{out}: {what}. Next: speechbias report {shlex.quote(str(out))} -o report")


def _control(survey: Any) -> None:
    """The controls that need the model; what failed is said."""
    from speechbias.controls.models import control_models
    from speechbias.report.controls import in_words

    for sentence in in_words(control_models(survey)):
        note(f"controls: {sentence}")


def _launched(survey: Any, launcher: Launcher, asked: list[str] | None) -> Any:
    """The results of a survey whose models are jobs."""
    from speechbias.launch.settings import read_settings
    from speechbias.launch.verbs import launch_measure

    return launch_measure(survey, read_settings(launcher.value, asked or ()), say=note)
