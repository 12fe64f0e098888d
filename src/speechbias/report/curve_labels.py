"""The names of curves: each is called after its model alone, so that a model has one name on every test.

Models of one name that meet on a test are numbered, ``hubert [2]``, and so is the second curve of a model on one and
the same test, which has other options.
"""

from collections.abc import Hashable, Mapping, Sequence

from speechbias.report.grid import Column

Key = tuple[Column, Hashable, Hashable]  # a curve: its test, its model, and the options of the measurement


def label_curves(names: Mapping[Key, Sequence[str]]) -> dict[Key, str]:
    """The label of each curve, from the names of its runs."""
    titles = {model: _title([found for key, found in names.items() if key[1] == model]) for _, model, _ in names}
    places = {key: _place(key, list(names)) for key in names}
    columns: dict[tuple[Hashable, int], set[Column]] = {}
    for key, place in sorted(places.items(), key=lambda item: item[1]):
        columns.setdefault((key[1], place), set()).add(key[0])
    labels: dict[tuple[Hashable, int], str] = {}
    for curve, found in columns.items():
        name, several = titles[curve[0]]
        label, number = name + several, 1
        while label in {other for one, other in labels.items() if columns[one] & found}:
            number += 1
            label = f"{name} [{number}]{several}"
        labels[curve] = label
    return {key: labels[key[1], place] for key, place in places.items()}


def _title(found: Sequence[Sequence[str]]) -> tuple[str, str]:
    """What the runs of a model are called together, and how many there are on the test that has most."""
    most = max(map(len, found))
    names = list(dict.fromkeys(name for names in found for name in names))
    return _common(names), f" ({most} runs)" if most > 1 else ""


def _place(key: Key, keys: Sequence[Key]) -> int:
    """Of the curves of one model on one test: options that the model has on most tests come first."""
    column, model, asked = key
    every = [other for _, same, other in keys if same == model]
    here = [other for test, same, other in keys if (test, same) == (column, model)]
    return sorted(here, key=lambda other: -every.count(other)).index(asked)


def _common(names: Sequence[str]) -> str:
    """``hubert`` of ``hubert-seed0`` and ``hubert-seed1``; the first name where nothing is common."""
    if len(set(names)) == 1:
        return names[0]
    shared = 0
    while len({name[: shared + 1] for name in names}) == 1 and shared < min(map(len, names)):
        shared += 1
    begun = names[0][:shared].rstrip("0123456789-_. ")
    for word in ("seed", "run", "s"):
        cut = begun.removesuffix(word).rstrip("-_. ")
        if cut != begun and begun.removesuffix(word) != cut:  # a word of its own: "-seed", not the end of "classes"
            begun = cut
            break
    return begun or names[0]
