"""SpEAT's own lists of the archive, as far as their recordings are there."""

from collections import defaultdict
from dataclasses import dataclass
from importlib import resources

from speechbias.corpora.accent_archive.speakers import GROUPS, Speaker, in_order, read_archive, refuse_if_empty
from speechbias.corpora.corpus import Part, Request, abbreviate, read_rows
from speechbias.paper import SILENCES


@dataclass(frozen=True)
class Listed:
    """One line of SpEAT's lists."""

    group: str
    pair: str  # blank where the category is not paired
    id: str
    name: str
    sex: str


def read_list(category: str) -> tuple[Listed, ...]:
    """SpEAT's stimuli of ``gender``, ``native``, ``age`` or ``age-uk``."""
    file = resources.files("speechbias.corpora.accent_archive") / "lists.csv"
    with resources.as_file(file) as path:
        rows = read_rows(path)
    return tuple(
        Listed(row["group"], row["pair"], row["id"], row["name"], row["sex"])
        for row in rows
        if row["category"] == category
    )


def build_listed_pairs(category: str, request: Request) -> Part:
    """Complete pairs of SpEAT's list; a missing recording drops its pair partner too."""
    archive, listed = read_archive(request), read_list(category)
    pairs = defaultdict(list)
    for each in listed:
        pairs[each.pair].append(each)
    missing = [each for each in listed if each.id not in archive]
    lost = {each.pair for each in missing}
    placed = [
        archive[each.id].place("XY"[GROUPS[category].index(each.group)], each.group, pair=each.pair)
        for each in listed
        if each.pair not in lost
    ]
    notes = [f"{category}: {len(pairs) - len(lost)} of SpEAT's {len(pairs)} pairs"]
    if lost:
        names = abbreviate(each.name for each in missing)
        notes[0] += f"; {len(lost)} left out, because a recording is not in this copy ({names})"
    if category == "native":
        silence = SILENCES["native-count"]
        notes.append(f"{silence.topic}. Here: {silence.chosen}; {silence.reason}")
    refuse_if_empty(request, placed, category)
    return Part(tuple(placed), tuple(notes))


def build_listed_ages(category: str, request: Request) -> Part:
    """SpEAT's list cut down to equal numbers of women and men in both groups; the most extreme ages stay."""
    archive, listed = read_archive(request), read_list(category)
    cells: dict[tuple[str, str], list[Speaker]] = {(each.group, each.sex): [] for each in listed}
    for each in listed:
        if each.id in archive:
            cells[each.group, each.sex].append(archive[each.id])
    size = min(len(cell) for cell in cells.values())
    full = len(listed) // len(cells)
    placed = []
    for (group, _), cell in cells.items():
        cell.sort(key=lambda speaker: (speaker.age if group == "Young" else -speaker.age, in_order(speaker)))
        placed += [speaker.place("XY"[GROUPS[category].index(group)], group) for speaker in cell[:size]]
    notes = [f"{category}: {2 * size} of SpEAT's {2 * full} per group, {size} women and {size} men each"]
    if size < full:
        missing = [each.name for each in listed if each.id not in archive]
        balanced = sum(len(cell) - size for cell in cells.values())
        notes[0] += (
            f"; {len(missing)} recordings are not in this copy ({abbreviate(missing)}), {balanced} more left out to "
            "balance sex"
        )
    refuse_if_empty(request, placed, category)
    return Part(tuple(placed), tuple(notes))
