"""Table 2: the parameters of nine models of three families, counted.

Counted is everything of a pre-training model: encoder, mask embedding, quantizer, projections, 504 label embeddings
(500 clusters and the 4 special symbols of fairseq's dictionary). Models stand on the meta device: no weights, no time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from speechbias.models.config import Family, sized
from speechbias.paper import TABLE_2

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
