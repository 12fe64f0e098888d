"""Survey: many models x many tests onto one results file, every clip embedded once per model, resumable.

What the file already holds (same model, stimuli, layer, states and options) is not computed again. Everything that
can be wrong with the input is found before the first model runs; each test's records are appended as they are done.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from speechbias.checkpoint import Demands, check_model, find_front, load_encoder
from speechbias.checkpoint.series import in_order
from speechbias.embeddings import Embeddings, Model, assemble, pool
from speechbias.encoder import Encoder
from speechbias.errors import InputError
from speechbias.fronts import Fronts
from speechbias.inference import Options
from speechbias.measure import Layer, check_settings, every_layer, identities, measure_layers
from speechbias.results import BiasResult, append_results, check_writable, read_results, write_vectors
from speechbias.stimuli import AudioCheck, StimulusSet, check_audio, stimuli_sha256
from speechbias.vectors import read_vectors, to_arrays


@dataclass(frozen=True)
class Survey:
    """What to measure, how to embed it, and where the results go; ``measure`` does it."""

    models: Sequence[str]
    tests: Sequence[StimulusSet]
    out: Path
    options: Options = field(default_factory=Options)
    per_layer: bool = False
    states: str = "s3prl"
    dtype: str = "float32"
    device: str = "cpu"
    mel_stats: Path | None = None  # for those models that are MelHuBERTs
    workers: int = 1
    cache: Path | None = None
    skip_bad: bool = False
    progress: bool = False

    def __post_init__(self) -> None:
        """Each model once, the checkpoints of a run in the order of their updates."""
        object.__setattr__(self, "models", in_order(self.models))

    def measure(self) -> Iterator[BiasResult]:
        """Measure every model on every test; yields each result once it is on disk, also those that were there.

        Raises ``InputError``, one line per problem, for unusable models, stimuli, audio or output: before anything
        is computed where that shows it, else after all that can be measured has been.
        """
        demands = self.check()
        fronts = self._fronts(demands)
        problems: list[str] = []
        for model in self.models:
            try:
                for embeddings in self._embeddings(model, demands.get(model), fronts):
                    if isinstance(embeddings, Embeddings):
                        yield from self._store(embeddings, problems)
                    else:
                        yield from embeddings
            except InputError as error:
                problems += error.problems
            if fronts:
                fronts.done(model)
        if problems:
            raise InputError(*dict.fromkeys(problems))

    def check(self) -> dict[str, Demands]:
        """What each encoder demands; ``InputError`` with every problem that can be seen without computing."""
        problems: list[str] = []
        encoders = [model for model in self.models if not is_vectors(model)]
        if encoders and not self.tests:
            problems.append(f"{encoders[0]} needs clips to embed. Name a stimulus CSV with --stimuli.")
        names = [test.name for test in self.tests]
        problems += [
            f"Two stimulus files are named {name}. Rename one: a test is called after its file."
            for name in sorted({name for name in names if names.count(name) > 1})
        ]
        checks: list[Callable[[], object]] = [
            self._check_out,
            partial(check_settings, self.options, self.tests),
        ]
        checks += [partial(read_vectors, model) for model in self.models if is_vectors(model)]
        demands: dict[str, Demands] = {}
        checks += [partial(self._ask, model, demands) for model in encoders]
        for check in checks:
            try:
                check()
            except InputError as error:
                problems += error.problems
        answered = demands.keys() == set(encoders)
        if self.mel_stats and answered and not any(d.takes_mel_stats for d in demands.values()):
            problems.append(f"No model here takes the mel statistics of {self.mel_stats}. Leave --mel-stats out.")
        if problems:
            raise InputError(*dict.fromkeys(problems))
        if len(demands) > 1 and not self.skip_bad:  # one encoder alone checks the audio itself before it computes
            rate = max(d.sample_rate for d in demands.values())
            least = max(-(-d.min_samples * rate // d.sample_rate) for d in demands.values())
            check_audio(self.tests, sample_rate=rate, min_samples=least)
        return demands

    def _check_out(self) -> None:
        check_writable(self.out)
        self._held()

    def _held(self) -> list[BiasResult]:
        """What the results file holds already."""
        return read_results(self.out) if self.out.is_file() else []

    def _ask(self, model: str, demands: dict[str, Demands]) -> None:
        """Add what an encoder demands."""
        demands[model] = check_model(model, device=self.device, states=self.states, mel_stats=self.mel_stats)

    def _fronts(self, demands: Mapping[str, Demands]) -> Fronts | None:
        """Front ends that several of the models have in common, kept beside the cache from one to the next."""
        if self.cache is None or len(demands) < 2:
            return None
        return Fronts(self.cache / "fronts", {model: self._front(model, of) for model, of in demands.items()})

    def _front(self, model: str, demands: Demands) -> str | None:
        mel_stats = self.mel_stats if demands.takes_mel_stats else None
        return find_front(model, device=self.device, dtype=self.dtype, states=self.states, mel_stats=mel_stats)

    def _embeddings(
        self, model: str, demands: Demands | None, fronts: Fronts | None
    ) -> Iterator[Embeddings | list[BiasResult]]:
        """One model's embeddings, test by test; where all its results are on file already, these instead."""
        if is_vectors(model):
            yield from [read_vectors(model, test) for test in self.tests] or [read_vectors(model)]
            return
        mel_stats = self.mel_stats if demands and demands.takes_mel_stats else None
        encoder = load_encoder(model, device=self.device, dtype=self.dtype, states=self.states, mel_stats=mel_stats)
        check = check_audio(
            self.tests, sample_rate=encoder.sample_rate, min_samples=encoder.min_samples, skip_bad=self.skip_bad
        )
        held = {result.identity: result for result in self._held()}
        wanted = {test.name: self._identities(encoder, test, check) for test in check.sets}
        missing = [test for test in check.sets if not set(wanted[test.name]) <= held.keys()]
        files = [check.facts[clip.path] for test in missing for clip in test.stimuli]
        by = fronts.pooled if fronts else None
        pooled = pool(
            encoder, files, workers=self.workers, cache=self.cache, progress=self.progress, embed_by=by
        )  # fmt: skip
        for test in check.sets:
            if test in missing:
                yield assemble(encoder, test, check, pooled)
            else:
                yield [held[identity] for identity in wanted[test.name]]

    def _identities(self, encoder: Encoder, test: StimulusSet, check: AudioCheck) -> list[str]:
        sha256 = stimuli_sha256(test, {clip.path: check.facts[clip.path].sha256 for clip in test.stimuli})
        layers = self._layers(encoder.num_states)
        return identities(
            Model.of(encoder),
            test,
            num_states=encoder.num_states,
            stimuli_sha256=sha256,
            layers=layers,
            options=self.options,
        )

    def _layers(self, num_states: int) -> list[Layer]:
        return every_layer(num_states) if self.per_layer else ["mean"]

    def _store(self, embeddings: Embeddings, problems: list[str]) -> Iterator[BiasResult]:
        """Measure one test and store it; one that cannot be measured (degenerate, no design) stops no other."""
        try:
            results = measure_layers(embeddings, layers=self._layers(embeddings.array.shape[1]), **self.options)
        except InputError as error:
            problems += error.problems
            return
        stored = write_vectors(self.out, to_arrays(embeddings))
        results = [replace(result, vectors=stored) for result in results]
        append_results(self.out, results)
        yield from results


def is_vectors(model: str) -> bool:
    """Whether MODEL is a file of embeddings rather than an encoder."""
    return model.lower().endswith(".npz")
