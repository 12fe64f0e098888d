"""The rows of Table 4: which models' phone error rates stand in it, of which sizes, beside which of the paper's.

A row is one model compressed in one way. Pruned models stand with the size nearest to the paper's middle one (72 of
144 heads, 1536 of 3072 rows, a sparsity of 0.4, as shares of what there was) and with the smallest, students with the
one of fewest layers. All rates of a table are of one split. Rates are shares in records and per cent in the table.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechbias.encoder import WITH_HEADS
from speechbias.errors import InputError
from speechbias.paper import TABLE_4, TABLE_4_MIDDLE, Utility
from speechbias.report.error_rates import called, is_rate, of_one_protocol
from speechbias.report.names import clean
from speechbias.report.numerals import format_rate
from speechbias.report.sparsities import FAMILIES

Record = Mapping[str, Any]
Key = tuple[str, str, str, str | None, str]  # family, what it was made from, method, criterion, variant
METHODS = {"distillation": "distilled", "heads": "heads", "rows": "rows", "weights": "weights"}  # the paper's order
NAN = float("nan")


@dataclass(frozen=True)
class Size:
    """The models of one row that are of one size: the same cuts with several seeds, or a single one."""

    left: str  # "6 of 12"
    rates: tuple[float, ...]

    @property
    def text(self) -> str:
        """``14.1``, or the lowest and highest of several."""
        low, high = map(format_rate, (min(self.rates), max(self.rates)))
        return low if low == high else f"{low} to {high}"


@dataclass(frozen=True)
class Row:
    """One model compressed in one way: its rate before, those of the middle size and of the smallest, the paper's."""

    model: str
    family: str
    method: str
    criterion: str | None
    variant: str  # "int8", "with heads"; blank: float32, states of blocks
    base: float | None
    sizes: tuple[Size, ...]
    paper: Utility | None

    @property
    def name(self) -> str:
        """The family as the paper writes it, and which model of it."""
        family = FAMILIES.get(self.family, self.family)
        return family if self.model in {"", family} else f"{family} {self.model}"

    @property
    def method_text(self) -> str:
        """How, and where it is not the lowest L1 norms that went, by what."""
        text = METHODS[self.method]
        how = () if self.criterion in {None, "l1"} else (clean(self.criterion or ""),)
        return ", ".join((text, *how, *filter(None, (self.variant,))))


def find_rows(records: Sequence[Record]) -> tuple[list[Row], str]:
    """Rows from all kinds of records, and the split whose rates they are: the first that a record names.

    All are of one test set, phone set and recipe, those of the first record: others do not compare.

    InputError where no compressed model has a rate.
    """
    rates = rates_of(records)
    split = str(rates[0].get("split", "")) if rates else ""
    rates = _last(of_one_protocol(rates))
    groups: dict[Key, list[Record]] = defaultdict(list)
    for each in rates:
        if method := _method(each):
            groups[str(each.get("family", "")), _origin(each), method, each.get("criterion"), _variant(each)].append(
                each
            )
    if not groups:
        raise InputError(
            "table4: no record of a compressed model's phone error rate is here. Probe the models (speechbias probe "
            "RECIPE.toml --model BASE --model COMPRESSED ... --out DIR) and give DIR/results.jsonl."
        )
    names = _names({(key[0], key[1]) for key in groups}, rates)
    made = [_row(key, found, rates, names[key[1]]) for key, found in groups.items()]
    order, methods = list(FAMILIES), list(METHODS)
    place = {each.family: order.index(each.family) if each.family in order else len(order) for each in made}
    made.sort(
        key=lambda row: (place[row.family], row.model, methods.index(row.method), row.criterion != "l1", row.variant)
    )
    return made, split


def rates_of(records: Sequence[Record]) -> list[Record]:
    """Those of phone error rates that are numbers."""
    return [each for each in records if each.get("kind") == "per" and is_rate(each.get("per"))]


def _row(key: Key, found: Sequence[Record], rates: Sequence[Record], name: str) -> Row:
    family, origin, method, criterion, variant = key
    base = _base(origin, rates)
    sizes: dict[tuple[float, str], list[float]] = defaultdict(list)
    for each in _trained_longest(found):
        sizes[_left(each, method)].append(each["per"])
    ordered = [Size(text, tuple(sorted(sizes[share, text]))) for share, text in sorted(sizes)]
    chosen = ordered[:1]
    if method in TABLE_4_MIDDLE and len(sizes) > 1:
        middle = min(sorted(sizes)[1:], key=lambda size: abs(size[0] - TABLE_4_MIDDLE[method]))
        chosen = [Size(middle[1], tuple(sorted(sizes[middle]))), *chosen]
    paper = next((each for each in TABLE_4 if (each.family, each.method) == (family, method)), None)
    rate = None if base is None else float(base["per"])
    return Row(name, family, method, criterion, variant, rate, tuple(chosen), paper)


def _base(origin: str, rates: Sequence[Record]) -> Record | None:
    """The model that others were made from, by its hash, or by a name that one model alone has; plain rates first."""
    by_hash = [each for each in rates if each.get("model_sha256") == origin]
    by_name = [each for each in rates if each.get("model") == origin]
    if len({each.get("model_sha256") for each in by_name}) > 1:
        by_name = []
    return min(by_hash or by_name, key=_variant, default=None)


def _names(origins: Iterable[tuple[str, str]], rates: Sequence[Record]) -> dict[str, str]:
    """What tells apart what models were made from: nothing where a family has one, else name or hash."""
    of: dict[str, list[str]] = defaultdict(list)
    for family, origin in sorted(origins):
        of[family].append(origin)
    names: dict[str, str] = {}
    for found in of.values():
        bases = {origin: _base(origin, rates) for origin in found}
        plain = {origin: called(base) if base else clean(origin[:8]) for origin, base in bases.items()}
        alike = Counter(plain.values())
        for origin, name in plain.items():
            told = name if alike[name] == 1 else f"{name} [{clean(origin[:8])}]"
            names[origin] = told if len(found) > 1 else ""
    return names


def _variant(record: Record) -> str:
    """How a rate was taken where it was not in float32 from the states of blocks."""
    dtype = str(record.get("dtype") or "float32")
    heads = "with heads" if record.get("states") == WITH_HEADS else ""
    return " ".join(filter(None, (heads, dtype if dtype != "float32" else "")))


def _method(record: Record) -> str | None:
    if record.get("method") in TABLE_4_MIDDLE:
        return str(record["method"]) if record.get("parameters_removed") else None
    return "distillation" if record.get("distilled_from") else None


def _origin(record: Record) -> str:
    return str(record.get("pruned_from") or record.get("distilled_from") or "")


def _left(record: Record, method: str) -> tuple[float, str]:
    """What is left as a share, by which sizes are ordered, and in words."""
    if method == "distillation":
        layers = int(record.get("student_layers") or record.get("num_states", 1) - 1)  # heads may count as states
        return float(layers), f"{layers} layer{'s' if layers != 1 else ''}"
    left, of = float(record.get("remaining") or NAN), float(record.get("of") or NAN)
    if method == "weights":
        return left / of, f"{100 * left / of:.0f} %"
    return left / of, f"{left:g} of {of:g}"


def _last(rates: Iterable[Record]) -> list[Record]:
    """Of several rates of one model, taken alike, the last."""
    return list({(each.get("model_sha256") or each.get("model"), _variant(each)): each for each in rates}.values())


def _trained_longest(found: Sequence[Record]) -> list[Record]:
    """Of the records of one run at one size the last step."""
    kept: dict[Any, Record] = {}
    for place, each in enumerate(found):
        run = each.get("run")
        key = (
            (run.get("name"), run.get("seed"), each.get("remaining"), each.get("num_states"))
            if isinstance(run, Mapping)
            else place
        )
        if key not in kept or (each.get("step") or 0) >= (kept[key].get("step") or 0):
            kept[key] = each
    return list(kept.values())
