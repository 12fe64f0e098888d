"""The command line: one verb per station, each a thin call into the package.

Exit codes: 0 done; 2 the user's input is wrong (short message: what, where, remedy; no traceback); 1 anything else.
Heavy modules are imported inside the verbs, so that ``--help`` answers at once.
"""

import errno
import io
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from speechbias import __version__
from speechbias.errors import InputError, JobsError

INTERRUPTED = 130  # the exit code by which typer answers Ctrl-C

app = typer.Typer(
    name="speechbias",
    help="Measure how socially biased a speech model's representations are, in which layer, and how sure that is.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class States(StrEnum):
    """Conventions of hidden states."""

    s3prl = "s3prl"
    hf = "hf"
    speat = "speat-2023"


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


class Criterion(StrEnum):
    """What decides which heads, rows or weights are cut."""

    l1 = "l1"
    random = "random"
    bias = "bias"


class ExportFormat(StrEnum):
    """What `export` writes."""

    hf = "hf"
    speechbias = "speechbias"


class Item(StrEnum):
    """What `reproduce` makes anew."""

    table2 = "table2"
    figure1 = "figure1"
    figure2 = "figure2"


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


def _check_launch(launcher: Launcher | None, asked: list[str] | None) -> None:
    """Refuse settings of jobs where there are none."""
    if asked and launcher is None:
        raise InputError("--launch is for --launcher slurm or local")


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


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder of report, page and clips.")] = Path(
        "speechbias-demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the voices.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Clips embedded at a time.", min=1)] = 1,
) -> None:
    """Measure synthetic voices with a planted association and a null control; pre-train and prune on them; offline."""
    from speechbias.demo import run_demo, run_pruning, run_training
    from speechbias.report.terminal import terminal_table

    finished = run_demo(out, seed=seed, workers=workers, progress=True)
    Console().print(terminal_table([result for result in finished.results if result.layer == "mean"]))
    trained = run_training(out, progress=True)
    Console().print(terminal_table([result for result in trained.results if result.layer == "mean"]))
    typer.echo(
        f"\nPre-trained: {trained.checkpoint}, {trained.updates} updates, "
        f"loss {trained.first_loss:.2f} -> {trained.last_loss:.2f}"
    )
    pruned = run_pruning(out, progress=True)
    typer.echo(f"Pruned: {out / 'pruned'}, {len(pruned)} records of heads, rows and weights, by L1 and at random")
    typer.echo(f"The page: {finished.page}")


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
    states: Annotated[States, typer.Option(help="Which hidden states count.")] = States.s3prl,
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
    launcher: Launch = None,
    launch: Asked = None,
) -> None:
    """Measure SpEAT effect sizes of models on stimuli: d, two p-values, intervals."""
    from speechbias.report.terminal import terminal_table
    from speechbias.results import BiasResult
    from speechbias.stimuli import read_stimuli
    from speechbias.survey import Survey

    _check_launch(launcher, launch)
    survey = Survey(
        models=models,
        tests=_collect(partial(read_stimuli, skip_bad=skip_bad), stimuli or []),
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
    )
    _say_device(device)
    results: dict[str, BiasResult] = {}  # a model named twice is shown once
    warned: set[str] = set()
    try:
        for result in survey.measure() if launcher is None else _launched(survey, launcher, launch):
            results[result.identity] = result
            left_out = (
                f"row {clip['row']} is left out: " + f"{clip['path']} {clip['why']}".strip() for clip in result.skipped
            )
            _warn((f"{result.test}: {text}" for text in (*left_out, *result.warnings)), warned)
    finally:
        if results:
            Console().print(terminal_table(list(results.values())))
    what = "1 result" if len(results) == 1 else f"{len(results)} results"
    typer.echo(f"\n{out}: {what}. Next: speechbias report {shlex.quote(str(out))} -o report")


def _launched(survey: Any, launcher: Launcher, asked: list[str] | None) -> Any:
    """The results of a survey whose models are jobs."""
    from speechbias.launch.settings import read_settings
    from speechbias.launch.verbs import launch_measure

    return launch_measure(survey, read_settings(launcher.value, asked or ()), say=_note)


def _note(text: str) -> None:
    typer.echo(text, err=True)


@app.command()
def stimuli(
    corpora: Annotated[
        list[str],
        typer.Argument(
            metavar="CORPUS[:CATEGORY]=FOLDER...", help="Where targets and attributes come from.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE.csv", help="The stimulus file; of split a folder.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=2, help="Clips per set, by rule.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of draws that a rule makes.")] = 0,
    x: Annotated[str | None, typer.Option("--x", help="csv=: rows of X, COLUMN=VALUE[,COLUMN=VALUE].")] = None,
    y: Annotated[str | None, typer.Option("--y", help="csv=: rows of Y.")] = None,
    a: Annotated[str | None, typer.Option("--a", help="csv=: rows of A.")] = None,
    b: Annotated[str | None, typer.Option("--b", help="csv=: rows of B.")] = None,
    share: Annotated[float, typer.Option(help="split: of the clips, the part by which something is chosen.")] = 0.5,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave unusable clips (and pair partners) out.")
    ] = False,
) -> None:
    """Build a stimulus file from corpora on disk: counts, balance, durations.

    For example: speechbias stimuli accent-archive:gender=saa morgan=mess -o gender.csv

    `stimuli check FILE.csv` checks one; `stimuli split FILE.csv -o DIR` cuts one in two without a common speaker.
    """
    if corpora[0] == "check":
        _check_stimuli([Path(name) for name in corpora[1:]])
        return
    if corpora[0] == "split":
        _split_stimuli([Path(name) for name in corpora[1:]], out, share=share, seed=seed)
        return
    from speechbias.corpora import build
    from speechbias.stimuli import check_audio, summarise, write_stimuli

    if out is None:
        raise InputError("Where shall the stimuli go? Name a file with -o, for example -o gender.csv.")
    select = {name: rows for name, rows in (("X", x), ("Y", y), ("A", a), ("B", b)) if rows}
    built = build(corpora, name=out.stem, count=count, seed=seed, select=select)
    check = check_audio([built.stimuli], sample_rate=16_000, min_samples=400, skip_bad=skip_bad)
    made = check.sets[0]
    write_stimuli(made, out)
    typer.echo(str(summarise(made, check.facts)))
    for note in built.notes:
        typer.echo(f"note: {note}")
    for clip in check.skipped[made.name]:
        typer.echo(f"left out: {clip['path']} {clip['why']}")
    _warn((*made.warnings, *check.warnings[made.name]), set())
    typer.echo(f"\n{out}: {len(made.stimuli)} clips. Next: speechbias measure MODEL --stimuli {shlex.quote(str(out))}")


def _check_stimuli(files: list[Path]) -> None:
    """`stimuli check`: everything that `measure` would refuse or warn about, without a model."""
    from speechbias.inference import Options
    from speechbias.measure import check_settings
    from speechbias.stimuli import check_audio, read_stimuli, summarise

    if not files:
        raise InputError("Which stimuli shall be checked? Name a CSV: speechbias stimuli check FILE.csv.")
    tests = _collect(read_stimuli, files)
    check_settings(Options(), tests)  # a design of the permutation test must fit the speakers
    check = check_audio(tests, sample_rate=16_000, min_samples=400)
    for test in check.sets:
        typer.echo(f"{test.name}\n{summarise(test, check.facts)}")
        _warn((*test.warnings, *check.warnings.get(test.name, ())), set())


def _split_stimuli(files: list[Path], folder: Path | None, *, share: float, seed: int) -> None:
    """`stimuli split`: two files for every one, by speaker: to choose something by, and to report."""
    from speechbias.stimuli import read_stimuli, split_stimuli, summarise, write_stimuli

    if not files or folder is None:
        raise InputError("What shall be split, and where to? For example: speechbias stimuli split FILE.csv -o DIR")
    halves = [half for test in _collect(read_stimuli, files) for half in split_stimuli(test, share=share, seed=seed)]
    folder.mkdir(parents=True, exist_ok=True)
    for half in halves:
        path = folder / f"{half.name}.csv"
        write_stimuli(half, path)
        typer.echo(f"{path}\n{summarise(half)}")
        _warn(half.warnings, set())


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS.jsonl...", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the report.")] = Path("report"),
    title: Annotated[str | None, typer.Option(help="Title of the page.", show_default=False)] = None,
    paper_layout: Annotated[
        bool, typer.Option("--paper-layout", help="Bare d; bold: below the largest d of a classical feature.")
    ] = False,
) -> None:
    """Write tables (Markdown, LaTeX, CSV), figures (SVG, PDF), one HTML page and a model-card block."""
    from speechbias.report import write_report

    measured, others = _read_all(results)
    written = write_report(measured, out, title=title, paper_layout=paper_layout, others=others)
    typer.echo(f"The page: {written.page}")


Recipe = Annotated[Path, typer.Argument(metavar="RECIPE.toml", show_default=False)]
RunOut = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="The run's folder.", show_default=False)]
Corpora = Annotated[
    list[str] | None,
    typer.Option(
        "--data", metavar="CORPUS", help="Train on this instead of what the recipe names; repeat it for several."
    ),
]


@app.command()
def shards(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...", help="Folders, CSV, TSV, JSONL, fairseq's .tsv, shards.", show_default=False
        ),
    ],
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="DIR", help="Folder of the shards.")] = None,
    size: Annotated[float, typer.Option("--size", metavar="MB", help="Of a shard.")] = 256.0,
    count: Annotated[
        int | None, typer.Option(min=1, help="Utterances of a shard, at most.", show_default=False)
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="UNITS", help="Units or .km of the corpus, to go along.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of utterances.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Shards written at a time.")] = 1,
) -> None:
    """Write a corpus as tar shards with an index (`shards check DIR` reads every byte); kill and repeat at will."""
    from speechbias.training.sharding import in_words, write_shards
    from speechbias.training.shards import check_shards

    if sources[0] == "check" and out is None:
        if not sources[1:]:
            raise InputError("Which shards? speechbias shards check DIR; or, for a corpus called check, name an -o")
        for folder in sources[1:]:
            typer.echo(f"{folder}: {in_words(check_shards(Path(folder), progress=True))}; all as the index says")
        return
    if out is None:
        raise InputError("Where shall the shards go? Name a folder with -o, for example -o shards.")
    written = write_shards(
        sources, out, megabytes=size, count=count, labels=labels, seed=seed, workers=workers, progress=True
    )
    _warn((f"{one.name} is left out: {one.why}" for one in written.left_out), set())
    typer.echo(f'{out}: {written.sentence}. Next: [data] train = "{out}" in a recipe')


@app.command()
def units(
    recipe: Recipe,
    out: RunOut,
    data: Corpora = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ... or auto.")] = "cpu",
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the recipe's.", show_default=False)] = None,
    workers: Annotated[int, typer.Option(min=1, help="Files read at a time.")] = 1,
) -> None:
    """Make the labels that HuBERT and MelHuBERT learn: features of every utterance, k-means, one label per frame."""
    from speechbias.training.corpus import make_run_units
    from speechbias.training.recipe import read_recipe

    read = read_recipe(recipe, seed=seed, data=data or ())
    _say_device(device)
    made = make_run_units(read, out, device=device, workers=workers, progress=True)
    _warn(made.warnings, set())
    typer.echo(f"{made.folder}: {made.sentence}. Next: speechbias pretrain {recipe} --out {shlex.quote(str(out))}")


@app.command()
def pretrain(
    recipe: Recipe,
    out: RunOut,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in this folder.")] = False,
    data: Corpora = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ... or auto.")] = "cpu",
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the recipe's.", show_default=False)] = None,
    workers: Annotated[int, typer.Option(min=1, help="Files read at a time while the corpus is prepared.")] = 1,
    launcher: Launch = None,
    launch: Asked = None,
) -> None:
    """Pre-train wav2vec 2.0, HuBERT or MelHuBERT as a recipe says; kill it at any moment, --resume goes on.

    On several GPUs or machines: torchrun --nproc-per-node 8 -m speechbias pretrain RECIPE.toml --out DIR --device cuda
    """
    _check_launch(launcher, launch)
    from speechbias.training.allocator import keep_freed_memory
    from speechbias.training.pretrain import pretrain as train
    from speechbias.training.ranks import one_voice
    from speechbias.training.recipe import read_recipe

    keep_freed_memory()
    with one_voice():
        read = read_recipe(recipe, seed=seed, data=data or ())
    if launcher is not None:
        _launch_pretrain(read, out, launcher, launch, resume=resume, device=device, workers=workers)
        return

    def begin(**options: Any) -> Any:
        return train(read, out, resume=resume, device=device, workers=workers, **options)

    ended = _ran(begin, out, device)
    checkpoint = shlex.quote(str(ended.checkpoint))
    typer.echo(f"{ended.checkpoint}: {ended.update} updates. Next: speechbias measure {checkpoint} --stimuli FILE.csv")


@app.command()
def prune(
    recipe: Recipe,
    out: RunOut,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in this folder.")] = False,
    data: Corpora = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ... or auto.")] = "cpu",
    seed: Annotated[
        int | None, typer.Option(min=0, help="Instead of the recipe's; of random cuts too.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Files read at a time while the corpus is prepared.")] = 1,
    model: Annotated[
        str | None, typer.Option(help="Checkpoint to prune, instead of the recipe's.", show_default=False)
    ] = None,
    criterion: Annotated[
        Criterion | None, typer.Option(help="What decides, instead of the recipe's.", show_default=False)
    ] = None,
) -> None:
    """Cut heads, feed-forward rows or weights out of a model, training on between cuts, as a recipe's [prune] says.

    As with pretrain: kill it at any moment, --resume goes on; torchrun starts it on several GPUs or machines.
    """
    from speechbias.compress.prune import prune as cut
    from speechbias.compress.start import read_prune_recipe
    from speechbias.training.allocator import keep_freed_memory
    from speechbias.training.ranks import one_voice

    keep_freed_memory()
    chosen = None if criterion is None else criterion.value
    with one_voice():
        read = read_prune_recipe(recipe, out, seed=seed, data=data or (), model=model, criterion=chosen)

    def begin(**options: Any) -> Any:
        return cut(read, out, resume=resume, device=device, workers=workers, **options)

    ended = _ran(begin, out, device)
    every = f"{shlex.quote(str(out))}/checkpoints/*"
    typer.echo(f"{ended.checkpoint}: {ended.update} updates. Next: speechbias measure {every} --stimuli FILE.csv")


def _ran(begin: Callable[..., Any], out: Path, device: str) -> Any:
    """A training run begun and ended; where it was asked to end, or could not go on, the command ends with 1."""
    from speechbias.training.ranks import LostRanksError, one_voice, started

    first = started()[0] == 0
    if first:
        _say_device(device)
    try:
        with one_voice():
            ended = begin(warn=lambda text: _warn([text], set()), progress=True)
    except LostRanksError as error:
        typer.echo(f"speechbias: {error}; they say why. Checkpoints are whole, go on with --resume.", err=True)
        os._exit(1)  # what is under way between ranks cannot be ended in good order
    except OSError as error:
        typer.echo(
            f"speechbias: {error.strerror or error}: {error.filename or out}. Checkpoints written so far are whole; "
            f"{_mended(error)}, then go on with --resume.",
            err=True,
        )
        raise typer.Exit(1) from None
    except KeyboardInterrupt as asked:  # while the corpus was prepared, or by a second Ctrl-C
        typer.echo(f"speechbias: {str(asked) or 'interrupted'}: ended without saving. Go on with --resume.", err=True)
        raise typer.Exit(1) from None
    if not first:
        raise typer.Exit(0 if ended.asked is None else 1)
    if ended.asked is not None:
        typer.echo(f"speechbias: {ended.asked}: saved after {ended.update} updates. Go on with --resume.", err=True)
        raise typer.Exit(1)
    if ended.tracking is not None and ended.tracking.times:
        typer.echo(f"{ended.tracking}; curve: speechbias report {shlex.quote(str(out / 'results.jsonl'))} -o report")
    return ended


def _launch_pretrain(
    recipe: Any, out: Path, launcher: Launcher, asked: list[str] | None, *, resume: bool, device: str, workers: int
) -> None:
    """`pretrain` as a job."""
    from speechbias.launch.settings import read_settings
    from speechbias.launch.verbs import launch_pretrain

    settings = read_settings(launcher.value, asked or ())
    ended = launch_pretrain(recipe, out, settings, resume=resume, device=device, workers=workers, say=_note)
    if ended["asked"] is not None:
        done = "ended without saving" if ended["update"] is None else f"saved after {ended['update']} updates"
        typer.echo(f"speechbias: {ended['asked']}: {done}; the same goes on.", err=True)
        raise typer.Exit(1)
    typer.echo(f"{ended['checkpoint']}: {ended['update']} updates")


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

    described = _collect(partial(describe_model, latency=latency), models)
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


@app.command()
def reproduce(
    item: Annotated[Item, typer.Argument(help="What to make anew.", show_default=False)],
    results: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RESULTS.jsonl...", help="For figures: records of steps or sizes.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the figure's files.")] = Path(),
) -> None:
    """Make a table of the paper anew, beside what the paper prints, or a figure from your records.

    table2: exit code 1 where the counts do not agree. figure1: bias against training steps. figure2: bias of pruned
    models against parameters removed.
    """
    if item is not Item.table2:
        _figure(item, results or [], out)
        return
    from speechbias.reproduce import all_agree, table2, table2_in_words

    rows = table2()
    Console().print(table2_in_words(rows))
    if not all_agree(rows):
        raise typer.Exit(1)


def _figure(item: Item, files: list[Path], out: Path) -> None:
    """A figure of the paper: from records only, no model."""
    from speechbias.report import write_figure2
    from speechbias.reproduce import figure1
    from speechbias.results import read_results

    if not files:
        raise InputError(f"{item} is drawn from records. Name results: speechbias reproduce {item} RESULTS.jsonl.")
    if item is Item.figure1:
        paths = figure1(dict(zip(files, _collect(read_results, files), strict=True)), out)
    else:
        measured, others = _read_all(files)
        paths = write_figure2(measured, out, others=others)
    for path in paths:
        typer.echo(path)


def _read_all(files: Iterable[Path]) -> tuple[list[Any], list[dict[str, Any]]]:
    """The measurements of bias in some results files, and the records of other kinds."""
    from speechbias.results import read_records, read_results

    measured = [result for found in _collect(read_results, files) for result in found]
    return measured, [record for file in files for record in read_records(file) if record["kind"] != "bias"]


def _say_device(device: str) -> None:
    """Say what ``auto`` picks."""
    if device == "auto":
        from speechbias.models.device import picked_in_words

        typer.echo(picked_in_words(), err=True)


def _collect(read: Any, files: Iterable[Any]) -> list[Any]:
    """Read every file, and report the problems of all of them together."""
    found: list[Any] = []
    problems: list[str] = []
    for file in files:
        try:
            found.append(read(file))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    return found


def _warn(warnings: Iterable[str], already: set[str]) -> None:
    for warning in warnings:
        if warning not in already:
            already.add(warning)
            typer.echo(f"warning: {warning}", err=True)


def _mended(error: OSError) -> str:
    """What to do about a file that could not be written or read."""
    return "make room on that disk" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "mend that"


def spread(arguments: list[str]) -> list[str]:
    """Let ``--stimuli`` take several files: ``--stimuli a.csv b.csv`` is ``--stimuli a.csv --stimuli b.csv``."""
    spread_out: list[str] = []
    taking = False
    for argument in arguments:
        if taking and spread_out[-1] != "--stimuli" and argument.lower().endswith((".csv", ".tsv")):
            spread_out.append("--stimuli")
        elif taking and spread_out[-1] != "--stimuli":
            taking = False
        taking = taking or argument == "--stimuli"
        spread_out.append(argument)
    return spread_out


def main() -> None:
    """Run the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files may be any bytes
    try:
        app(spread(sys.argv[1:]))
    except InputError as error:
        for problem in error.problems:
            Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(f"speechbias: {problem}")
        sys.exit(2)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            typer.echo("speechbias: interrupted. The same command goes on from here.", err=True)
            sys.exit(1)
        raise
    except JobsError as error:
        typer.echo(f"speechbias: {error}. The same command tries again.", err=True)
        sys.exit(1)
    except OSError as error:
        what = f"{error.strerror or error}: {error.filename or 'output'}"
        typer.echo(
            f"speechbias: {what}. Nothing that was written is lost; {_mended(error)}, then the same command goes on.",
            err=True,
        )
        sys.exit(1)
