"""Which model stands in which row of Table 3: by its shape, which is what the paper's names say of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from speechbias.models.config import Family, sized
from speechbias.paper import TABLE_3, TABLE_3_COLUMNS, WEIGHTS
from speechbias.results import BiasResult

FAMILIES: dict[str, Family] = {"Wav2Vec2": "wav2vec2", "HuBERT": "hubert", "MelHuBERT": "melhubert"}
FEATURES = {"STFT": "stft", "Spectrogram": "spectrogram", "Mel Spectrogram": "mel", "MFCC": "mfcc"}
COUNTED = {"s3prl", "hf", "speat-2023"}  # conventions that give a state per layer and one more


@dataclass(frozen=True)
class PaperRow:
    """A row of Table 3: a model of a family in a size, or a feature."""

    name: str
    family: Family | None  # None: a feature
    size: str

    @property
    def key(self) -> str:
        """How its run folder and files are called: ``wav2vec2-slim``; of a feature what MODEL it is."""
        return f"{self.family}-{self.size}" if self.family else FEATURES[self.name]

    @property
    def shape(self) -> tuple[str, int, int]:
        """Family, hidden states, width."""
        assert self.family is not None
        config = sized(self.family, self.size)
        return self.family, config.num_layers + 1, config.dim


def _row(name: str) -> PaperRow:
    family, _, size = name.partition(" ")
    return PaperRow(name, None, "") if name in FEATURES else PaperRow(name, FAMILIES[family], size)


ROWS: tuple[PaperRow, ...] = tuple(map(_row, TABLE_3))
MODELS = tuple(row for row in ROWS if row.family)


def is_plain(record: BiasResult) -> bool:
    """Whether whole clips were heard, their frames averaged, and nothing removed from the states, as in the paper."""
    return record.pooling == "mean" and record.crop_seconds is None and "removal" not in record.recipe


def row_of(record: BiasResult) -> PaperRow | None:
    """The row that a measurement belongs to.

    None for other shapes, for pruned, distilled and untrained models, and for what was measured otherwise
    (``is_plain``).
    """
    if record.method or record.distilled_from or record.step == 0 or not is_plain(record):
        return None
    if record.family == "features":
        return next((row for row in ROWS if not row.family and row.key == record.model), None)
    if record.states not in COUNTED:
        return None
    shape = (record.family, record.num_states, record.dim)
    return next((row for row in MODELS if row.shape == shape), None)


def in_no_row(records: Iterable[BiasResult]) -> list[str]:
    """What records call the trained models that were measured on a test of Table 3 and have the shape of no row."""
    trained = (
        record
        for record in records
        if record.family != "features" and not (record.method or record.distilled_from or record.step == 0)
    )
    asked = (record for record in trained if column_of(record) and is_plain(record))
    return list(dict.fromkeys(record.called for record in asked if row_of(record) is None))


def column_of(record: BiasResult) -> str | None:
    """Age, Native or Gender, by the name of the test."""
    return next((name for name in TABLE_3_COLUMNS if name.casefold() == record.test.casefold()), None)


def is_published(row: PaperRow, record: BiasResult) -> bool:
    """Whether the weights are those that the paper took: of a published model by its name, of a feature always.

    A checkpoint of a run is none, whatever the run is called: ``wav2vec2-base`` may be one of the user's own.
    """
    if row.family is None:
        return True
    return row.name in WEIGHTS and record.run is None and WEIGHTS[row.name].are(record.model)


def last_steps(records: Iterable[BiasResult]) -> Sequence[BiasResult]:
    """Of the records of one run only those of its last step, per test; all others as they are."""
    last: dict[tuple[object, ...], int] = {}
    found = list(records)
    for each in found:
        last[_run(each)] = max(last.get(_run(each), 0), each.step or 0)
    return [each for each in found if each.run is None or (each.step or 0) == last[_run(each)]]


def _run(record: BiasResult) -> tuple[object, ...]:
    run = record.run or {}
    return run.get("name"), run.get("recipe"), run.get("seed"), record.family, record.dim, record.test
