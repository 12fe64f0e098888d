"""Phone errors: edit distances by jiwer, phones in the place of words, summed over a corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from speechbias.extras import MissingExtraError


@dataclass(frozen=True)
class Errors:
    """Of one utterance or of many: what an alignment of fewest edits counts, and the phones of the reference."""

    substitutions: int
    deletions: int
    insertions: int
    phones: int

    @property
    def total(self) -> int:
        """All edits."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """PER: edits per phone of the reference; above 1 where much is inserted."""
        return self.total / self.phones

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(*(getattr(self, name) + getattr(other, name) for name in Errors.__dataclass_fields__))


def count_errors(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> list[Errors]:
    """The errors of each utterance."""
    jiwer = _jiwer()
    found = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        made = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
        found.append(Errors(made.substitutions, made.deletions, made.insertions, len(reference)))
    return found


def error_rate(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> float:
    """PER of a corpus: all edits by all phones of the references."""
    jiwer = _jiwer()
    made = jiwer.process_words([" ".join(each) for each in references], [" ".join(each) for each in hypotheses])
    return float(made.substitutions + made.deletions + made.insertions) / sum(map(len, references))


def _jiwer() -> Any:
    try:
        import jiwer  # noqa: PLC0415 (an extra)
    except ImportError:
        raise MissingExtraError("probing needs jiwer: pip install 'speechbias[probe]'") from None
    return jiwer
