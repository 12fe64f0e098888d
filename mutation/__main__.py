"""``python -m mutation [FILE...] [--sample N] [--seed S] [--log LOG] [--list]``: try mutants, tell who survived.

Resumable: what was caught stays caught as long as the module's text is the same; survivors are tried again, since
tests may have been added. ``--sample`` tries N of all, drawn by ``--seed``; samples of one seed nest.
"""

import argparse
import hashlib
import json
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from mutation.counts import Count, read_equivalent, total
from mutation.mutants import Mutant, mutants_of
from mutation.plan import EQUIVALENT, PACKAGE, PLAN
from mutation.trial import Trial, attempt, prepare

HEADER = f"{'':28} {'all':>5} {'equiv':>5} {'tried':>5} {'caught':>5}"


def main(words: Sequence[str]) -> int:
    options = _parse(words)
    equivalent = read_equivalent(EQUIVALENT)
    every = {file: mutants_of(file, _source(file)) for file in options.files}
    drawn = draw(
        [mutant for mutants in every.values() for mutant in mutants], options.sample, options.seed, equivalent
    )
    chosen = {file: [mutant for mutant in drawn if mutant in mutants] for file, mutants in every.items()}
    log = _Log(options.log)
    if not options.list:
        prepare()
        for file, mutants in chosen.items():
            _try(file, mutants, log, again=not options.resume)
    counts = {file: _count(file, mutants, chosen[file], log, equivalent) for file, mutants in every.items()}
    print(HEADER)
    for file, count in counts.items():
        print(count.line(file))
    print(total(counts.values()).line("in all"))
    return 0


def draw(mutants: Sequence[Mutant], sample: int | None, seed: int, equivalent: Mapping[str, str]) -> list[Mutant]:
    """Those to try: all that are not equivalent, or the first ``sample`` of them in an order that the seed gives."""
    able = [mutant for mutant in mutants if mutant.name not in equivalent]
    if sample is None:
        return able
    # The order is over all mutants, so that a new entry of the list of equivalents leaves the sample otherwise alone.
    order = random.Random(seed).sample(range(len(mutants)), len(mutants))
    return [mutants[i] for i in order if mutants[i].name not in equivalent][:sample]


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mutation", description="Does a test notice a fault?")
    parser.add_argument("files", nargs="*", choices=[[], *PLAN], metavar="FILE", help="below src/speechbias; all")
    parser.add_argument("--sample", type=int, help="so many of all, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=Path("mutants.jsonl"))
    parser.add_argument("--resume", action="store_true", help="do not try survivors again")
    parser.add_argument("--list", action="store_true", help="only count what the log holds")
    options = parser.parse_args(words)
    options.files = options.files or list(PLAN)
    return options


def _source(file: str) -> str:
    return (PACKAGE / file).read_text(encoding="utf-8")


def _try(file: str, mutants: Iterable[Mutant], log: "_Log", *, again: bool) -> None:
    done = {"caught", "ended"} if again else {"caught", "ended", "survived"}
    waiting = [mutant for mutant in mutants if log.outcome(file, mutant.name) not in done]
    if not waiting:
        return
    plain = attempt(None, file, PLAN[file])
    if plain.outcome != "survived":
        sys.exit(f"{file}: its tests fail without any fault: {plain.by}")
    for mutant in waiting:
        trial = attempt(mutant, file, PLAN[file], cpu_seconds=20 + int(3 * plain.cpu_seconds))
        log.add(file, mutant.name, trial)
        if trial.outcome == "survived":
            print(f"survived  {mutant.name}", flush=True)


def _count(
    file: str, mutants: Sequence[Mutant], chosen: Sequence[Mutant], log: "_Log", equivalent: Mapping[str, str]
) -> Count:
    outcomes = [outcome for mutant in chosen if (outcome := log.outcome(file, mutant.name))]
    caught = sum(outcome != "survived" for outcome in outcomes)
    return Count(len(mutants), sum(mutant.name in equivalent for mutant in mutants), len(outcomes), caught)


class _Log:
    """JSON lines, one per trial; the last one of a mutant of the module's present text counts."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.texts: dict[str, str] = {}
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        records = map(json.loads, lines)
        self.outcomes = {(record["mutant"], record["text"]): record["outcome"] for record in records}

    def outcome(self, file: str, mutant: str) -> str | None:
        return self.outcomes.get((mutant, self._text(file)))

    def add(self, file: str, mutant: str, trial: Trial) -> None:
        text = self._text(file)
        self.outcomes[mutant, text] = trial.outcome
        record = {"mutant": mutant, **asdict(trial), "text": text}
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")

    def _text(self, file: str) -> str:
        if file not in self.texts:
            self.texts[file] = hashlib.sha256(_source(file).encode()).hexdigest()[:12]
        return self.texts[file]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
