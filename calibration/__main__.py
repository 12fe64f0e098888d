"""``make calibrate``: run what is not finished, and write docs/validity.md.

python -m calibration [--times 5] [--workers 2] [--render] [--quick] [--folder docs]
"""

import argparse
from pathlib import Path

from calibration.inferences import all_cells
from calibration.page import render
from calibration.run import Store, found_in, run_cells, with_draws

DOCS = Path(__file__).parents[1] / "docs"
QUICK = 4  # draws of a cell: whether everything runs, not what it gives


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m calibration", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=float, default=1.0, help="so many times the usual draws")
    parser.add_argument("--workers", type=int, default=2, help="processes, one core each")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} draws of each cell; needs --folder")
    parser.add_argument("--render", action="store_true", help="only write the page, from what is stored")
    parser.add_argument("--folder", type=Path, help="where validity.md and validity.json are (default: docs/)")
    asked = parser.parse_args(arguments)
    if asked.quick and asked.folder is None:
        parser.error("--quick would write over docs/validity.md: give a --folder")
    folder = asked.folder or DOCS
    store = Store(folder / "validity.json")
    if not asked.render:
        cells = with_draws(all_cells(), times=asked.times, most=QUICK if asked.quick else None)
        run_cells(cells, store, workers=asked.workers, say=lambda line: print(line, flush=True))
    (folder / "validity.md").write_text(render(found_in(store.path)), encoding="utf-8")
    print(f"{folder / 'validity.md'} written")


if __name__ == "__main__":
    main()
