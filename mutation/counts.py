"""Shares of mutants caught, with exact binomial intervals, and the list of those that change nothing to be seen."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Count:
    """Of one module or of all: ``mutants``, the ``equivalent`` ones among them, and what came of the others."""

    mutants: int
    equivalent: int
    tried: int
    caught: int

    def line(self, name: str) -> str:
        """A row of the table; the interval where a sample was tried."""
        if not self.tried:
            return f"{name:28} {self.mutants:5} {self.equivalent:5} {0:5}"
        row = f"{name:28} {self.mutants:5} {self.equivalent:5} {self.tried:5} {self.caught:5}"
        row += f"  {100 * self.caught / self.tried:5.1f} %"
        if self.tried == self.mutants - self.equivalent:
            return row
        low, high = binomial_interval(self.caught, self.tried)
        return f"{row}  ({100 * low:.1f} to {100 * high:.1f})"


def total(counts: Iterable[Count]) -> Count:
    """The sum over modules."""
    rows = [(c.mutants, c.equivalent, c.tried, c.caught) for c in counts]
    return Count(*map(sum, zip(*rows, strict=True)))


def binomial_interval(hits: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson (1934)."""
    from scipy.stats import binomtest  # noqa: PLC0415

    interval = binomtest(hits, n).proportion_ci(CONFIDENCE, method="exact")
    return float(interval.low), float(interval.high)


def read_equivalent(path: Path) -> Mapping[str, str]:
    """Names of mutants and why no test could tell them from the original."""
    with path.open("rb") as file:
        groups = tomllib.load(file).get("because", [])
    return {name: group["why"] for group in groups for name in group["mutants"]}
