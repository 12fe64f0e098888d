"""Who speaks in each set and for how long: what `speechbias stimuli` prints."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from speechbias.audio import AudioFacts
from speechbias.results import SETS
from speechbias.stimuli.sets import StimulusSet


@dataclass(frozen=True)
class SetSummary:
    """One line of the summary: who speaks in one set, and for how long."""

    set: str
    group: str
    clips: int
    speakers: int  # known ones
    unknown_speakers: int  # clips whose speaker is blank
    sex: dict[str, int]  # clips by column `gender` or `sex`
    age: tuple[float, float, float] | None  # least, mean, most, in years, by column `age`
    seconds: float | None  # of all clips; None without audio
    mean_seconds: float | None


@dataclass(frozen=True)
class Summary:
    """The summary of a test, one line per set; ``str()`` of it is a text table."""

    sets: tuple[SetSummary, ...]

    def __str__(self) -> str:
        return render_summary(self)


def summarise(stimuli: StimulusSet, facts: Mapping[Path, AudioFacts] | None = None) -> Summary:
    """Counts, balance and durations of the four sets; durations need ``check_audio``'s facts."""
    return Summary(tuple(_summarise_set(stimuli, key, facts) for key in SETS))


def _summarise_set(stimuli: StimulusSet, key: str, facts: Mapping[Path, AudioFacts] | None) -> SetSummary:
    members = stimuli.sets[key]
    sex = Counter(s.columns.get("gender") or s.columns.get("sex") or "" for s in members)
    ages = [age for s in members if (age := _parse_age(s.columns.get("age", ""))) is not None]
    seconds = None if facts is None else sum(facts[s.path].seconds for s in members)
    return SetSummary(
        set=key,
        group=stimuli.groups[key],
        clips=len(members),
        speakers=len({s.speaker for s in members} - {""}),
        unknown_speakers=sum(not s.speaker for s in members),
        sex={label: count for label, count in sorted(sex.items()) if label},
        age=(min(ages), sum(ages) / len(ages), max(ages)) if ages else None,
        seconds=seconds,
        mean_seconds=seconds / len(members) if seconds is not None and members else None,
    )


def _parse_age(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def render_summary(summary: Summary) -> str:
    """The summary as a text table, one line per set."""
    lines = [("set", "group", "clips", "speakers", "sex", "age", "total", "mean")]
    for each in summary.sets:
        unknown = f" + {each.unknown_speakers} unknown" if each.unknown_speakers else ""
        lines.append(
            (
                each.set,
                each.group,
                str(each.clips),
                f"{each.speakers}{unknown}",
                ", ".join(f"{count} {label}" for label, count in each.sex.items()) or "-",
                "-" if each.age is None else f"{each.age[0]:g}-{each.age[2]:g}, mean {each.age[1]:.1f}",
                "-" if each.seconds is None else f"{each.seconds / 60:.1f} min",
                "-" if each.mean_seconds is None else f"{each.mean_seconds:.2f} s",
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
