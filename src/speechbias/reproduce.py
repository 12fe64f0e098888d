"""The paper's tables and figures, made anew: Table 2, the sizes of nine models of three families, Figures 1 and 3.

Counted is everything of a pre-training model: encoder, mask embedding, quantizer, projections, 504 label embeddings
(500 clusters and the 4 special symbols of fairseq's dictionary). Models stand on the meta device: no weights, no time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from speechbias.models.config import Family, sized
from speechbias.paper import TABLE_2
from speechbias.report import student_pairs, write_figure1, write_figure3
from speechbias.report.curves import find_curves
from speechbias.results import BiasResult, PairedDifference, Together

ORDER: Mapping[Family, str] = {"melhubert": "MelHuBERT", "wav2vec2": "wav2vec 2.0", "hubert": "HuBERT"}
COUNTED = (
    "Counted: everything of the pre-training model: quantizer, projections, 504 label embeddings, mask embedding."
)


@dataclass(frozen=True)
class Table2Row:
    """One size: n_l, d_m, f_s, n_h, and per family the parameters as we count and as the paper prints them."""

    size: str
    layers: int
    dim: int
    ffn: int
    heads: int
    counted: Mapping[Family, int]
    printed: Mapping[Family, str]

    def rounded(self, family: Family) -> str:
        """Our count as the paper prints it: millions, one decimal."""
        return f"{self.counted[family] / 1e6:.1f}M"

    def agrees(self, family: Family) -> bool:
        """Whether our count, rounded, is what the paper prints."""
        return self.rounded(family) == self.printed[family]


def figure1(measured: Mapping[Path, Sequence[BiasResult]], out: Path) -> tuple[Path, ...]:
    """Figure 1 from results files: bias against steps; those of a run are judged together where vectors are kept.

    The files that ``write_figure1`` writes. InputError where no model was measured at two steps.
    """
    from speechbias.families import judge_steps  # noqa: PLC0415 (embeddings)

    records = [record for found in measured.values() for record in found]
    places = _places(measured)
    together: dict[str, Together] = {}
    for curve in find_curves(records):
        for run in curve.runs:
            together |= judge_steps([record for at in run.records.values() for record in at.values()], places)
    return write_figure1(records, out, together=together)


def figure3(measured: Mapping[Path, Sequence[BiasResult]], out: Path) -> tuple[Path, ...]:
    """Figure 3 from results files: d of students and their teacher, and differences where vectors are kept.

    The files that ``write_figure3`` writes. InputError where no student was measured.
    """
    records = [record for found in measured.values() for record in found]
    return write_figure3(records, out, differences=differences_of(measured))


def differences_of(measured: Mapping[Path, Sequence[BiasResult]]) -> dict[str, PairedDifference]:
    """By identity of its record, how far each student is from its teacher; of results files and what they hold."""
    records = [record for found in measured.values() for record in found]
    pairs = student_pairs(records)
    if not pairs:
        return {}
    from speechbias.students import compare_students  # noqa: PLC0415 (embeddings)

    return compare_students(pairs, _places(measured))


def _places(measured: Mapping[Path, Sequence[BiasResult]]) -> dict[str, Path]:
    return {record.identity: path.parent for path, found in measured.items() for record in found}


def table2() -> list[Table2Row]:
    """The paper's Table 2, counted."""
    return [
        Table2Row(
            shape.size,
            shape.layers,
            shape.dim,
            shape.ffn,
            shape.heads,
            counted={family: _count(family, shape.size) for family in ORDER},
            printed={family: shape.parameters[family] for family in ORDER},
        )
        for shape in TABLE_2
    ]


def _count(family: Family, size: str) -> int:
    import torch  # noqa: PLC0415 (seconds)

    from speechbias.models.objectives import count_parameters, objective, published_settings  # noqa: PLC0415

    with torch.device("meta"):
        return count_parameters(objective(sized(family, size), published_settings(family, size)))


def table2_in_words(rows: Sequence[Table2Row]) -> Group:
    """Ours above the paper's, in its own order of rows and columns, and whether they agree."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("size")
    for name in ("n_l", "d_m", "f_s", "n_h", *ORDER.values()):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        shape = (row.layers, row.dim, row.ffn, row.heads)
        table.add_row(row.size, *map(str, shape), *(f"{row.counted[family]:,}" for family in ORDER))
        table.add_row("  paper", *[""] * len(shape), *(row.printed[family] for family in ORDER), end_section=True)
    return Group(table, Text(COUNTED), Text(verdict(rows)))


def all_agree(rows: Sequence[Table2Row]) -> bool:
    """Whether every count, rounded, is what the paper prints."""
    return all(row.agrees(family) for row in rows for family in ORDER)


def verdict(rows: Sequence[Table2Row]) -> str:
    """Whether every count agrees with the printed one; if not, which does not."""
    cells = [(row, family) for row in rows for family in ORDER]
    wrong = [
        f"{ORDER[family]} {row.size} is {row.rounded(family)}, printed {row.printed[family]}"
        for row, family in cells
        if not row.agrees(family)
    ]
    if all_agree(rows):
        return f"Rounded to one decimal, all {len(cells)} agree with what the paper prints."
    return f"{len(wrong)} of {len(cells)} do not agree with what the paper prints: {'; '.join(wrong)}."
