"""`speechbias measure`."""

import shlex
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from speechbias.cli.app import app
from speechbias.cli.confounds import say_flags
from speechbias.cli.options import (
    Alternative,
    Design,
    Device,
    JobsBy,
    JobSettings,
    Pooling,
    Precision,
    Resamples,
    SkipBad,
    States,
    job_settings,
)
from speechbias.cli.said import collect, note, say_device, warn

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...", help="Checkpoint, hub id, feature, random:FAMILY-SIZE or .npz.", show_default=False
    ),
]
Stimuli = Annotated[
    list[Path] | None, typer.Option("--stimuli", metavar="CSV...", help="Stimulus files, one per test.")
]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Results are added to this file.")]
EveryState = Annotated[bool, typer.Option("--per-layer", help="Every hidden state beside their mean.")]
StatesThatCount = Annotated[
    States, typer.Option(help="Which hidden states count; s3prl-heads: a student's predictions too.")
]
ForcedDesign = Annotated[
    Design | None, typer.Option(help="Override the design chosen from speakers.", show_default=False)
]
Side = Annotated[Alternative, typer.Option(help="'greater' is SpEAT's one-sided test.")]
Permutations = Annotated[int, typer.Option(min=1, help="Relabellings where not all are counted.")]
Confidence = Annotated[float, typer.Option(help="Of the intervals; alpha is 1 minus this.")]
Ddof = Annotated[int, typer.Option(min=0, max=1, help="Of the standard deviation in d.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of relabellings and resamples.")]
Workers = Annotated[
    int, typer.Option(min=1, help="Clips embedded at a time, one core each; on a GPU, processes that decode.")
]
Dtype = Annotated[Precision, typer.Option(help="Precision of the encoder.")]
MelStats = Annotated[
    Path | None,
    typer.Option(
        "--mel-stats", metavar="FILE.npy", help="Mean and std, for MelHuBERT files without.", show_default=False
    ),
]
Cache = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of pooled vectors.", show_default="FILE.cache")
]
Crop = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Only the middle of each clip; shorter ones are bad.", show_default=False),
]
PooledBy = Annotated[
    Pooling, typer.Option(help="Of a clip's frames; q1 to q3: the frame at a quarter, half, three quarters.")
]
Audit = Annotated[
    bool, typer.Option("--audit/--no-audit", help="What else differs between the groups, as a record per test.")
]
Controls = Annotated[
    bool,
    typer.Option("--controls", help="Speech against noise and each model's untrained twin too: a second pass."),
]


@app.command()
def measure(
    models: Models,
    stimuli: Stimuli = None,
    out: Out = Path("results.jsonl"),
    per_layer: EveryState = False,
    states: StatesThatCount = States.s3prl,
    design: ForcedDesign = None,
    alternative: Side = Alternative.two_sided,
    permutations: Permutations = 100_000,
    resamples: Resamples = 10_000,
    confidence: Confidence = 0.95,
    ddof: Ddof = 1,
    seed: Seed = 0,
    workers: Workers = 1,
    dtype: Dtype = Precision.float32,
    device: Device = "cpu",
    mel_stats: MelStats = None,
    cache: Cache = None,
    skip_bad: SkipBad = False,
    crop: Crop = None,
    pooling: PooledBy = Pooling.mean,
    audit: Audit = True,
    controls: Controls = False,
    launcher: JobsBy = None,
    launch: JobSettings = None,
) -> None:
    """Measure SpEAT effect sizes of models on stimuli: d, two p-values, intervals."""
    from speechbias.audits import audit_survey
    from speechbias.stimuli import read_stimuli
    from speechbias.survey import Survey

    jobs = job_settings(launcher, launch)
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
    count = _show(survey.measure() if jobs is None else _launched(survey, jobs))
    if audit:
        say_flags(audit_survey(survey))
    if controls:
        _control(survey)
    what = "1 result" if count == 1 else f"{count} results"
    typer.echo(f"\n{out}: {what}. Next: speechbias report {shlex.quote(str(out))} -o report")


def _show(measured: Iterable[Any]) -> int:
    """Warn as results come, and show them in a table, also where measuring ends early; how many there are."""
    from speechbias.report.terminal import terminal_table

    results: dict[str, Any] = {}  # a model named twice is shown once
    warned: set[str] = set()
    try:
        for result in measured:
            results[result.identity] = result
            left_out = (
                f"row {clip['row']} is left out: " + f"{clip['path']} {clip['why']}".strip() for clip in result.skipped
            )
            warn((f"{result.test}: {text}" for text in (*left_out, *result.warnings)), warned)
    finally:
        if results:
            Console().print(terminal_table(list(results.values())))
    return len(results)


def _control(survey: Any) -> None:
    """The controls that need the model; what failed is said."""
    from speechbias.controls.models import control_models
    from speechbias.report.controls import in_words

    for sentence in in_words(control_models(survey)):
        note(f"controls: {sentence}")


def _launched(survey: Any, jobs: Any) -> Any:
    """The results of a survey whose models are jobs."""
    from speechbias.launch.verbs import launch_measure

    return launch_measure(survey, jobs, say=note)
