"""Audio of a test: every file decoded once, refused or warned about before anything is computed."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from speechbias.audio import AudioError, AudioFacts, count_samples, inspect_audio
from speechbias.errors import InputError
from speechbias.stimuli.sets import Skipped, Stimulus, StimulusSet, find_small_sets, locate, name_clip, number_rows


@dataclass(frozen=True)
class AudioCheck:
    """What is left to measure, and what is to be known of it."""

    sets: tuple[StimulusSet, ...]  # without the skipped rows
    facts: dict[Path, AudioFacts]  # of every stimulus's path that is left
    skipped: dict[str, list[Skipped]]  # by the name of the stimulus set
    warnings: dict[str, list[str]]  # likewise: what concerns the audio; each set has its own beside


def check_audio(
    sets: Sequence[StimulusSet],
    *,
    sample_rate: int,
    min_samples: int,
    skip_bad: bool = False,
    needed_by: str = "this model",
    progress: Callable[[int, int], None] | None = None,
) -> AudioCheck:
    """Decode every file once and refuse what cannot be measured, before anything is computed.

    ``sample_rate`` (Hz) and ``min_samples`` (its receptive field, at that rate) are the encoder's; with several
    encoders the largest of each in seconds; ``needed_by`` is who is said to need them. InputError names every bad
    row; with ``skip_bad`` these rows and their pair partners are left out instead, and only a set that falls below 2
    stimuli is refused.
    ``progress`` is called with (files done, files in all).
    """
    sets = [number_rows(each) for each in sets]
    if twice := sorted(name for name, count in Counter(each.name for each in sets).items() if count > 1):
        raise InputError(
            *(f"{name}.csv is given twice. Results are told apart by this name: rename." for name in twice)
        )
    inspected = _inspect_all({s.path for each in sets for s in each.stimuli}, progress)
    bad = {each.name: _find_bad_rows(each, inspected, sample_rate, min_samples, needed_by) for each in sets}
    if not skip_bad and any(bad.values()):
        raise InputError(*(line for each in sets for line in _refuse_rows(each, bad[each.name])))
    kept = tuple(each.without(bad[each.name]) for each in sets)
    if problems := [problem for each in kept for problem in find_small_sets(each)]:
        raise InputError(
            *(f"{problem.rstrip('.')}; what cannot be used was left out (--skip-bad)." for problem in problems)
        )
    left = {s.path for each in kept for s in each.stimuli}
    facts = {path: found for path, found in inspected.items() if path in left and isinstance(found, AudioFacts)}
    return AudioCheck(
        sets=kept,
        facts=facts,
        skipped={each.name: _list_skipped(each, bad[each.name]) for each in sets},
        warnings={each.name: _warn_of_audio(each, facts, sample_rate) for each in kept},
    )


def _inspect_all(
    paths: Collection[Path], progress: Callable[[int, int], None] | None
) -> dict[Path, AudioFacts | AudioError]:
    """Facts or the reason for refusal, per path; a file under two paths is read once."""
    by_file: dict[str, AudioFacts | AudioError] = {}
    inspected: dict[Path, AudioFacts | AudioError] = {}
    with ThreadPoolExecutor(1) as thread:  # Ctrl-C reaches the main thread only: libsndfile's callbacks swallow it
        for done, path in enumerate(sorted(paths), start=1):
            real = os.path.realpath(path)
            if real not in by_file:
                by_file[real] = thread.submit(_inspect, path).result()
            found = by_file[real]
            inspected[path] = replace(found, path=path) if isinstance(found, AudioFacts) else found
            if progress is not None:
                progress(done, len(paths))
    return inspected


def _inspect(path: Path) -> AudioFacts | AudioError:
    try:
        return inspect_audio(path)
    except AudioError as error:
        return error


def _find_bad_rows(
    stimuli: StimulusSet,
    inspected: Mapping[Path, AudioFacts | AudioError],
    sample_rate: int,
    min_samples: int,
    needed_by: str,
) -> dict[int, tuple[Stimulus, str, str]]:
    """Row -> (stimulus, why, remedy)."""
    bad = {}
    for s in stimuli.stimuli:
        found = inspected[s.path]
        if isinstance(found, AudioError):
            bad[s.row] = (s, found.why, found.remedy)
        elif count_samples(found, sample_rate) < min_samples:
            needed = 1000 * min_samples / sample_rate
            bad[s.row] = (s, f"lasts {1000 * found.seconds:.1f} ms; {needed_by} needs {needed:.1f} ms or more", "")
    return bad


def _refuse_rows(stimuli: StimulusSet, bad: Mapping[int, tuple[Stimulus, str, str]]) -> list[str]:
    lines = []
    for row, (s, why, remedy) in sorted(bad.items()):
        way_out = f"{remedy}, remove the row" if remedy else "Remove the row"
        lines.append(f"{stimuli.name}.csv, row {row}: {name_clip(s)} {why}. {way_out}, or measure with --skip-bad.")
    return lines


def _list_skipped(stimuli: StimulusSet, bad: Mapping[int, tuple[Stimulus, str, str]]) -> list[Skipped]:
    """All rows left out, in the order of the CSV; paths as the CSV has them."""
    partners = stimuli.partners(bad)
    skipped = [*stimuli.skipped]
    skipped += [Skipped(row=row, path=name_clip(s), why=why) for row, (s, why, _) in bad.items()]
    skipped += [
        Skipped(row=s.row, path=name_clip(s), why=f"its pair partner (row {partners[s.row]}) is left out")
        for s in stimuli.stimuli
        if s.row in partners
    ]
    return sorted(skipped, key=lambda each: each["row"])


def _warn_of_audio(stimuli: StimulusSet, facts: Mapping[Path, AudioFacts], sample_rate: int) -> list[str]:
    warnings = []
    low = {key: [facts[s.path].sample_rate for s in members] for key, members in stimuli.sets.items()}
    low = {key: [rate for rate in rates if rate < sample_rate] for key, rates in low.items()}
    if any(low.values()):
        parts = [
            f"{len(rates)} in {key} ({', '.join(f'{rate / 1000:g}' for rate in sorted(set(rates)))} kHz)"
            for key, rates in low.items()
            if rates
        ]
        warnings.append(f"recorded below the model's {sample_rate / 1000:g} kHz: {', '.join(parts)}")
    clipped = {key: sum(facts[s.path].clipped for s in members) for key, members in stimuli.sets.items()}
    if any(clipped.values()):
        parts = [f"{count} in {key}" for key, count in clipped.items() if count]
        warnings.append(f"clipped at full scale: {', '.join(parts)}")
    names = defaultdict(set)
    for s in stimuli.stimuli:
        names[facts[s.path].sha256].add(locate(s))
    same = sum(len(paths) for paths in names.values() if len(paths) > 1)
    if same:
        warnings.append(f"{same} clips hold the same audio as another one under a different name")
    return warnings
