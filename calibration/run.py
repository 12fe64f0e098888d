"""Run the cells that are not finished, by several processes. Each is kept when it ends; a killed run goes on."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from calibration.cells import DIGITS, Cell, Found, Result
from calibration.inferences import INFERENCES
from calibration.version import version

Numbers = Mapping[str, float]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Store:
    """``path`` holds a whole run; ``unfinished`` beside it what a run that goes on has got so far."""

    path: Path

    @property
    def unfinished(self) -> Path:
        """Gone when the run has ended."""
        return self.path.with_suffix(".unfinished.json")

    def read(self) -> dict[str, Numbers]:
        """What is finished, by key."""
        return {row["key"]: row["numbers"] for path in (self.path, self.unfinished) for row in _rows(path)}

    def write(self, cells: Iterable[Cell], numbers: Mapping[str, Numbers], *, whole: bool) -> None:
        """Of these cells what there is, in their order, whole or not at all."""
        rows = [
            {"inference": cell.inference, "cell": cell.name, "draws": cell.draws, "key": key, "numbers": numbers[key]}
            for cell in cells
            if (key := key_of(cell)) in numbers
        ]
        path = self.path if whole else self.unfinished
        part = path.with_suffix(".part")
        part.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")
        part.replace(path)
        if whole:
            self.unfinished.unlink(missing_ok=True)


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def key_of(cell: Cell) -> str:
    """What a finished cell is known by: its settings and the code that it depends on."""
    text = f"{cell.identity}\n{version(f'calibration.{cell.inference}')}"
    return sha256(text.encode()).hexdigest()[:16]


def run_cells(cells: Sequence[Cell], store: Store, *, workers: int, say: Say) -> None:
    """Compute what ``store`` lacks, and write the whole of it."""
    numbers = {key: found for key, found in store.read().items() if key in set(map(key_of, cells))}
    left = [cell for cell in cells if key_of(cell) not in numbers]
    say(f"{len(cells)} cells, {len(cells) - len(left)} of them finished before")
    began = time.monotonic()
    for done, (cell, found, seconds) in enumerate(_results(left, workers), start=1):
        numbers[key_of(cell)] = found
        store.write(cells, numbers, whole=False)
        passed = time.monotonic() - began
        say(f"[{done}/{len(left)}, {passed:.0f} s] {cell.inference}: {cell.name} ({seconds:.1f} s)")
    store.write(cells, numbers, whole=True)


def _results(cells: Sequence[Cell], workers: int) -> Iterator[tuple[Cell, Numbers, float]]:
    """In whichever order they end."""
    if workers == 1:
        yield from map(_run, cells)
        return
    with get_context("spawn").Pool(min(workers, max(len(cells), 1))) as pool:
        yield from pool.imap_unordered(_run, cells)


def _run(cell: Cell) -> tuple[Cell, Numbers, float]:
    """One cell, on one core; its numbers to so many digits."""
    began = time.monotonic()
    with threadpool_limits(1):
        found = INFERENCES[cell.inference].run(cell.draws, cell.rng(), **cell.settings)
    return cell, {name: float(f"{value:.{DIGITS}g}") for name, value in found.items()}, time.monotonic() - began


def found_in(path: Path) -> dict[str, Found]:
    """By inference, what a whole run has stored."""
    found: dict[str, dict[str, Result]] = {}
    for row in json.loads(path.read_text(encoding="utf-8")):
        found.setdefault(row["inference"], {})[row["cell"]] = Result(row["draws"], row["numbers"])
    return dict(found)


def with_draws(cells: Iterable[Cell], *, times: float, most: int | None = None) -> list[Cell]:
    """The same cells with more draws, or fewer."""
    return [replace(c, draws=min(max(round(c.draws * times), 2), most or c.draws * 1_000)) for c in cells]
