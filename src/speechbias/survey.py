"""Survey: many models x many tests onto one results file, every clip embedded once per model, resumable.

What the file already holds (same model, stimuli, layer, states and options) is not computed again. Everything that
can be wrong with the input is found before the first model runs; each test's records are appended as they are done.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

from speechbias.audio import AudioFacts
from speechbias.checkpoint import Demands, check_model, find_front, load_encoder, load_twin
from speechbias.checkpoint.series import in_order
from speechbias.confounds import Cropped
from speechbias.embeddings import Cache, Embeddings, Model, assemble, pool, refuse_fitted
from speechbias.encoder import Encoder
from speechbias.errors import InputError
from speechbias.fronts import Fronts
from speechbias.inference import Options
from speechbias.measure import Layer, check_settings, every_layer, identities, measure_layers
from speechbias.poolings import MEAN, check_pooling
from speechbias.results import BiasResult, append_results, check_writable, read_results, write_vectors
from speechbias.stimuli import AudioCheck, StimulusSet, check_audio, stimuli_sha256
from speechbias.vectors import read_vectors, to_arrays


@dataclass(frozen=True)
class Missing:
    """What is left of one model: ``held`` results, by test, and the ``files`` of the other tests."""

    held: Mapping[str, list[BiasResult]]
    files: Sequence[AudioFacts]


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
    crop: float | None = None  # seconds in the middle of each clip; shorter clips are refused
    pooling: str = MEAN  # of a clip's frames (``poolings``)

    def __post_init__(self) -> None:
        """Each model once, the checkpoints of a run in the order of their updates."""
        object.__setattr__(self, "models", in_order(self.models))

    def measure(self) -> Iterator[BiasResult]:
        """Measure every model on every test; yields each result once it is on disk, also those that were there.

        Raises ``InputError``, one line per problem, for unusable models, stimuli, audio or output: before anything
        is computed where that shows it, else after all that can be measured has been.
        """
        demands = self.check()
        problems: list[str] = []
        with self._fronts(demands) as fronts:
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
            self._check_crop,
            self._check_pooling,
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
            least = max(-(-self._least(d) * rate // d.sample_rate) for d in demands.values())
            check_audio(self.tests, sample_rate=rate, min_samples=least, needed_by=self._needed_by)
        return demands

    def audio(self) -> list[AudioCheck]:
        """The clips that its encoders hear; several where some of them leave out clips that others take."""
        demands: dict[str, Demands] = {}
        for model in self.models:
            if not is_vectors(model):
                self._ask(model, demands)
        heard = dict.fromkeys((d.sample_rate, self._least(d)) for d in demands.values())
        return [self.check_audio(rate, least) for rate, least in heard]

    def _least(self, demands: Demands) -> int:
        """Samples that a clip must have for an encoder, a crop included."""
        return max(demands.min_samples, round((self.crop or 0) * demands.sample_rate))

    def _check_crop(self) -> None:
        if self.crop is None:
            return
        if not 0 < self.crop < float("inf"):
            raise InputError(f"--crop is {self.crop:g}. Give the seconds of each clip that count, for example 2.")
        if embedded := [model for model in self.models if is_vectors(model)]:
            raise InputError(f"{embedded[0]} holds embeddings, which cannot be cropped. Leave --crop out.")

    def _check_pooling(self) -> None:
        check_pooling(self.pooling)
        embedded = [model for model in self.models if is_vectors(model)]
        if self.pooling != MEAN and embedded:
            raise InputError(f"{embedded[0]} holds embeddings, pooled already. Leave --pooling out.")

    def _check_out(self) -> None:
        check_writable(self.out)
        self._held()

    def _held(self) -> list[BiasResult]:
        """What the results file holds already."""
        return read_results(self.out) if self.out.is_file() else []

    def _ask(self, model: str, demands: dict[str, Demands]) -> None:
        """Add what an encoder demands; refuse it where a crop is too short for it."""
        demands[model] = asked = check_model(model, device=self.device, states=self.states, mel_stats=self.mel_stats)
        if 0 < (self.crop or 0) < float("inf") and self._least(asked) > round((self.crop or 0) * asked.sample_rate):
            least = asked.min_samples / asked.sample_rate
            raise InputError(f"--crop is {self.crop:g}, but {model} needs {least:g} s or more. Give a longer crop.")

    def _fronts(self, demands: Mapping[str, Demands]) -> AbstractContextManager[Fronts | None]:
        """Front ends that several of the models have in common, kept beside the cache from one to the next."""
        if self.cache is None or self.crop is not None or self.pooling != MEAN:  # kept for means of whole clips
            return nullcontext()
        of = {model: self._front(model) for model in demands} if len(demands) > 1 else {}
        if not self._held() and not any(self.cache.glob("*/*.npz")):  # nothing is done yet
            return Fronts(self.cache / "fronts", of)
        check = cache(self.check_audio)  # which decodes everything
        return Fronts(self.cache / "fronts", of, todo=lambda model: self._todo(model, demands[model], check))

    def _front(self, model: str) -> str | None:
        """A model's front end; None where it cannot be read any more, which is said when its turn comes."""
        try:
            return find_front(model, device=self.device, dtype=self.dtype, states=self.states)
        except InputError:
            return None

    def _todo(self, model: str, demands: Demands, check_audio: Callable[[int, int], AudioCheck]) -> set[str]:
        """The clips that a model has still to embed, by the SHA-256 of their bytes; none if it cannot."""
        try:
            encoder = self._load(model, demands)
            check = check_audio(encoder.sample_rate, encoder.min_samples)
        except InputError:
            return set()
        files = self._missing(encoder, check).files
        kept = Cache(self.cache, encoder) if self.cache else None
        return {facts.sha256 for facts in files if kept is None or kept.get(facts.sha256) is None}

    def _embeddings(
        self, model: str, demands: Demands | None, fronts: Fronts | None
    ) -> Iterator[Embeddings | list[BiasResult]]:
        """One model's embeddings, test by test; where all its results are on file already, these instead."""
        if is_vectors(model):
            yield from [read_vectors(model, test) for test in self.tests] or [read_vectors(model)]
            return
        encoder = self._load(model, demands)
        check = self.check_audio(encoder.sample_rate, encoder.min_samples)
        missing = self._missing(encoder, check)
        for test in check.sets:
            refuse_fitted(encoder, test, check)
        by = partial(fronts.pooled, model) if fronts else None
        pooled = pool(
            encoder, missing.files, workers=self.workers, cache=self.cache, progress=self.progress, embed_by=by
        )  # fmt: skip
        for test in check.sets:
            if test.name in missing.held:
                yield missing.held[test.name]
            else:
                yield assemble(encoder, test, check, pooled)

    def load(self, model: str) -> Encoder:
        """The encoder of a model as this survey measures it. InputError as ``load_encoder``."""
        demands: dict[str, Demands] = {}
        self._ask(model, demands)
        return self._load(model, demands[model])

    def load_twin(self, model: str) -> Encoder:
        """Its untrained twin, measured the same way. InputError as ``checkpoint.load_twin``."""
        demands: dict[str, Demands] = {}
        self._ask(model, demands)
        return self._load(model, demands[model], by=load_twin)

    def _load(self, model: str, demands: Demands | None, by: Callable[..., Encoder] | None = None) -> Encoder:
        mel_stats = self.mel_stats if demands and demands.takes_mel_stats else None
        how = {"device": self.device, "dtype": self.dtype, "states": self.states, "pooling": self.pooling}
        encoder = (by or load_encoder)(model, **how, mel_stats=mel_stats)
        return encoder if self.crop is None else Cropped(encoder, self.crop)

    def check_audio(self, sample_rate: int, min_samples: int) -> AudioCheck:
        """The tests without unusable clips, for an encoder of this rate (Hz) and shortest wave."""
        return check_audio(
            self.tests,
            sample_rate=sample_rate,
            min_samples=min_samples,
            skip_bad=self.skip_bad,
            needed_by=self._needed_by,
        )

    @property
    def _needed_by(self) -> str:
        """What asks for clips of some length: no crop is shorter than what its encoders need."""
        return "this model" if self.crop is None else f"--crop {self.crop:g}"

    def _missing(self, encoder: Encoder, check: AudioCheck) -> Missing:
        """What of an encoder's results is on file, and the clips of the tests that are not."""
        on_file = {result.identity: result for result in self._held()}
        held, files = {}, []
        for test in check.sets:
            wanted = self.identities(encoder, test, check)
            if set(wanted) <= on_file.keys():
                held[test.name] = [on_file[identity] for identity in wanted]
            else:
                files += [check.facts[clip.path] for clip in test.stimuli]
        return Missing(held, files)

    def identities(self, encoder: Encoder, test: StimulusSet, check: AudioCheck) -> list[str]:
        """Of the measurements that an encoder has on a test, the mean over states first."""
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
