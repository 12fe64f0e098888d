"""``[track]`` of a recipe: bias at chosen updates of a run, as records in its folder.

The records are those that ``speechbias measure RUN/checkpoints/*`` would give of checkpoints of these updates, byte by
byte where the options are the same, so measuring afterwards adds what is missing and nothing else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from speechbias.inference import Options
from speechbias.inference.designs import Design
from speechbias.measure import check_settings
from speechbias.models.config import SAMPLE_RATE, EncoderConfig
from speechbias.models.mel import MelStats
from speechbias.results import BiasResult, remove_results
from speechbias.stimuli import check_audio, read_stimuli
from speechbias.tracking import BiasTracker
from speechbias.training.sections import A_PATH

RESULTS = "results.jsonl"
NAME = "step-{step:08d}"  # as a checkpoint of this update is called


@dataclass(frozen=True)
class TrackSection:
    """Which tests are measured during the run, and when.

    Step 0 and the last are tracked always; beside them multiples of ``every`` and those in ``steps``; where neither
    is given, whatever step has a checkpoint that is kept (``[run] keep``).
    """

    stimuli: tuple[str, ...] = field(metadata=A_PATH)  # CSVs, a test each
    every: int | None = None
    steps: tuple[int, ...] = ()
    per_layer: bool = True  # every hidden state beside their mean
    states: Literal["s3prl", "hf", "speat-2023", "s3prl-heads"] = "s3prl"
    vectors: bool = True  # pooled vectors kept beside the results, for comparisons
    permutations: int = 100_000
    resamples: int = 10_000
    confidence: float = 0.95
    seed: int = 0  # of relabellings and resamples
    design: Literal["independent", "speaker", "within-speaker", "pair"] | None = None
    alternative: Literal["two-sided", "greater", "less"] = "two-sided"

    def __post_init__(self) -> None:
        """Refuse what cannot be tracked."""
        if not self.stimuli or not all(self.stimuli):
            raise ValueError("stimuli names no CSV")
        if self.every is not None and self.every < 1:
            raise ValueError(f"every is {self.every}; give 1 or more")
        if min(self.steps, default=0) < 0:
            raise ValueError("steps has a number below 0; give updates from 0 on")
        if self.permutations < 1 or self.resamples < 100:
            raise ValueError("permutations or resamples is too small; give 1 or more, and 100 or more")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}; it is between 0 and 1")

    @property
    def options(self) -> Options:
        """Those of ``association_test``."""
        assert self.design in {None, *get_args(Design)}
        return {
            "alternative": self.alternative,
            "permutations": self.permutations,
            "resamples": self.resamples,
            "confidence": self.confidence,
            "seed": self.seed,
            "design": self.design,
        }

    def is_due(self, update: int, *, steps: int, kept: bool) -> bool:
        """Whether bias is measured after this update of a run of ``steps``; ``kept``: its checkpoint stays."""
        if update in {0, steps} or update in self.steps:
            return True
        if self.every is None:
            return kept and not self.steps
        return update % self.every == 0


def check_tracked(section: TrackSection, config: EncoderConfig) -> None:
    """InputError, a line per problem, for stimuli that ``make_tracker`` would refuse: lists, clips, designs."""
    tests = [read_stimuli(path) for path in section.stimuli]
    check_settings(section.options, tests)
    check_audio(tests, sample_rate=SAMPLE_RATE, min_samples=config.frontend.receptive_field)


def make_tracker(
    section: TrackSection,
    folder: Path,
    config: EncoderConfig,
    *,
    mel_stats: MelStats | None,
    run: Mapping[str, Any],
    warn: Callable[[str], None],
) -> BiasTracker:
    """The tracker of a run, its stimuli decoded. InputError, a line per problem, before anything is trained."""
    return BiasTracker(
        section.stimuli,
        folder / RESULTS,
        name=NAME,
        per_layer=section.per_layer,
        vectors=section.vectors,
        states=section.states,
        mel_stats=mel_stats,
        min_samples=config.frontend.receptive_field,
        run=run,
        warn=warn,
        **section.options,
    )


def forget(folder: Path, run: Mapping[str, Any]) -> None:
    """Take back all that a run of this name tracked in its folder, whatever its recipe was: for one that begins.

    A run that was killed before its first checkpoint may have had another recipe, so its records are no run's now.
    """

    def of_no_run(record: BiasResult) -> bool:
        known, step = record.run or {}, record.step
        return step is not None and record.model == NAME.format(step=step) and known.get("name") == run["name"]

    if (folder / RESULTS).is_file():
        remove_results(folder / RESULTS, of_no_run)
