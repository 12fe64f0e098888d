"""Section 3.1: models beside features, categories, size, shape."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from speechbias.paper import TABLE_3, TABLE_3_COLUMNS
from speechbias.reproduce.findings.evidence import Evidence, means, share
from speechbias.reproduce.findings.finding import Effect, Finding, Statement, all_verdict, opposite, sign_verdict
from speechbias.reproduce.rows import FEATURES, MODELS, row_of
from speechbias.results import BiasResult

ALIKE = 1.1  # times as many parameters: the paper's slim and small differ by 4 to 6 %
LARGER = 1.5  # times as many, from which one model is larger than another
SECTION = "3.1"
LARGEST = {"Age": "base", "Native": "large", "Gender": "base"}  # of the wav2vec 2.0 models, as the text has it
HEARD = "Mel Spectrogram"  # by MelHuBERT


def findings(evidence: Evidence) -> Iterator[Finding]:
    """All of the section."""
    yield from (_models_above_features(evidence, test) for test in TABLE_3_COLUMNS)
    yield from (_melhubert_above_mel(evidence, test) for test in TABLE_3_COLUMNS)
    yield _gender_is_largest(evidence)
    yield from (_size_is_not_monotone(evidence, test) for test in TABLE_3_COLUMNS)
    yield from (_largest_of_wav2vec2(evidence, test) for test in LARGEST)
    yield from (_wide_below_deep(evidence, test) for test in TABLE_3_COLUMNS)


def _models_above_features(evidence: Evidence, test: str) -> Finding:
    most = max(_printed(name, test) for name in FEATURES)
    above = sum(_printed(row.name, test) > most for row in MODELS)
    statement = Statement(
        SECTION,
        "pre-trained models have a larger d than classical features",
        test,
        paper=f"{above} of {len(MODELS)} models above every feature",
    )
    return _above(evidence, statement, evidence.trained(test), evidence.features(test))


def _melhubert_above_mel(evidence: Evidence, test: str) -> Finding:
    names = [row.name for row in MODELS if row.family == "melhubert"]
    above = sum(_printed(name, test) > _printed(HEARD, test) for name in names)
    statement = Statement(
        SECTION,
        "MelHuBERT has a larger d than the mel spectrogram that it hears",
        test,
        paper=f"{above} of {len(names)} models",
    )
    models = [record for record in evidence.trained(test) if record.family == "melhubert"]
    heard = [record for record in evidence.features(test) if record.model == FEATURES[HEARD]]
    return _above(evidence, statement, models, heard)


def _above(
    evidence: Evidence, statement: Statement, models: Sequence[BiasResult], features: Sequence[BiasResult]
) -> Finding:
    """Mean less mean."""
    if not models or not features:
        return statement.absent()
    found = evidence.effect([*models, *features], means(len(models), len(features)))
    note = f"mean of {_count(models, 'model')} less mean of {_count(features, 'feature')}"
    return statement.judged(found, sign_verdict(found.low, found.high, sign=1), note)


def _gender_is_largest(evidence: Evidence) -> Finding:
    hits = sum(ds[TABLE_3_COLUMNS.index("Gender")] == max(ds) for ds in (TABLE_3[row.name] for row in MODELS))
    statement = Statement(
        SECTION,
        "most pre-trained models have their largest d on Gender",
        "all tests",
        "training runs",
        "share",
        f"{hits} of {len(MODELS)} models",
    )
    by_model: dict[str, dict[str, float]] = {}
    for test in TABLE_3_COLUMNS:
        for record in evidence.trained(test):
            by_model.setdefault(record.model_sha256, {})[test] = record.d
    whole = [ds for ds in by_model.values() if len(ds) == len(TABLE_3_COLUMNS)]
    if not whole:
        return statement.absent()
    value, low, high = share(sum(ds["Gender"] == max(ds.values()) for ds in whole), len(whole))
    note = f"share of {_count(whole, 'model')}; most: above a half"
    return statement.judged(Effect(value, low, high), sign_verdict(low - 0.5, high - 0.5, sign=1), note)


def _size_is_not_monotone(evidence: Evidence, test: str) -> Finding:
    """A pair of one family whose larger model has the smaller d, beyond noise, is enough; not so for the contrary."""
    falls, of = _falls_in_the_paper(test)
    statement = Statement(
        SECTION,
        "a larger model does not always have a larger d",
        test,
        paper=f"{falls} of {of} pairs of one family fall with size",
    )
    trained = evidence.trained(test)
    pairs = [
        (large, small)
        for one, other in combinations(trained, 2)
        for large, small in [sorted((one, other), key=_size, reverse=True)]
        if large.family == small.family and _size(small) and _size(large) >= LARGER * _size(small)
    ]
    if not pairs:
        return statement.absent()
    whole = {*map(row_of, trained)} >= {*MODELS}
    least, says = all_verdict(_differences(evidence, pairs), sign=1, whole=whole)
    note = f"larger less smaller, the lowest of {_count(pairs, 'pair')}, its interval for all of them at once"
    return statement.judged(
        least, opposite(says), note if whole else f"{note}; not all of the paper's models are here"
    )


def _largest_of_wav2vec2(evidence: Evidence, test: str) -> Finding:
    """One size beside each other size."""
    size = LARGEST[test]
    others = {row.name: _printed(row.name, test) for row in MODELS if row.family == "wav2vec2" and row.size != size}
    second = max(others, key=lambda name: others[name])
    statement = Statement(
        SECTION,
        f"of the wav2vec 2.0 models {size} has the largest d",
        test,
        paper=f"{size} {_printed(f'Wav2Vec2 {size}', test)}, next {second.split()[1]} {others[second]}",
    )
    rows = [(row, record) for record in evidence.trained(test) if (row := row_of(record)) and row.family == "wav2vec2"]
    pairs = [(one, other) for row, one in rows if row.size == size for beside, other in rows if beside.size != size]
    if not pairs:
        return statement.absent()
    whole = {row.size for row, _ in rows} == {row.size for row in MODELS if row.family == "wav2vec2"}
    least, says = all_verdict(_differences(evidence, pairs), sign=1, whole=whole)
    note = f"{size} less another, the lowest of {_count(pairs, 'pair')}, its interval for all of them at once"
    return statement.judged(least, says, note if whole else f"{note}; not all four sizes are here")


def _wide_below_deep(evidence: Evidence, test: str) -> Finding:
    names = {name.partition(" ")[0] for name in TABLE_3 if name.endswith(" slim")}
    below = sum(_printed(f"{name} small", test) < _printed(f"{name} slim", test) for name in names)
    statement = Statement(
        SECTION,
        "of two models of one family and number of parameters the wide, shallow one has the smaller d",
        test,
        paper=f"{below} of {len(names)} families",
    )
    pairs = [
        (wide, deep)
        for one, other in combinations(evidence.trained(test), 2)
        for wide, deep in [sorted((one, other), key=lambda record: record.num_states)]
        if wide.family == deep.family
        and wide.num_states < deep.num_states
        and _size(wide)
        and max(_size(wide), _size(deep)) <= ALIKE * min(_size(wide), _size(deep))
    ]
    if not pairs:
        return statement.absent()
    wide, deep = zip(*pairs, strict=True)
    found = evidence.effect([*wide, *deep], means(len(wide), len(deep)))
    note = f"wide less deep, mean of {_count(pairs, 'pair')}"
    return statement.judged(found, sign_verdict(found.low, found.high, sign=-1), note)


def _differences(evidence: Evidence, pairs: Sequence[Sequence[BiasResult]]) -> list[Effect]:
    """First less second of each pair; the intervals hold for all of them at once."""
    return [evidence.effect(pair, means(1, 1), confidence=1 - 0.05 / len(pairs)) for pair in pairs]


def _size(record: BiasResult) -> int:
    return record.parameters or 0


def _count(found: Sequence[object], of: str) -> str:
    return f"{len(found)} {of}{'' if len(found) == 1 else 's'}"


def _printed(name: str, test: str) -> float:
    """A cell of Table 3."""
    return TABLE_3[name][TABLE_3_COLUMNS.index(test)]


def _falls_in_the_paper(test: str) -> tuple[int, int]:
    """Pairs of one family in Table 3, small and slim against base, base against large: how many fall, of how many."""
    falls = of = 0
    for name in ("Wav2Vec2", "HuBERT", "MelHuBERT"):
        for larger, smaller in (
            ("base", "slim"),
            ("base", "small"),
            ("large", "base"),
            ("large", "slim"),
            ("large", "small"),
        ):
            if f"{name} {larger}" in TABLE_3:
                of += 1
                falls += _printed(f"{name} {larger}", test) < _printed(f"{name} {smaller}", test)
    return falls, of
