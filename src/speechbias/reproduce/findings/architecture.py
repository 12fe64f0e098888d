"""Section 3.1: models beside features, categories, size, shape."""

from collections.abc import Iterator
from itertools import combinations

from speechbias.paper import TABLE_3, TABLE_3_COLUMNS
from speechbias.reproduce.findings.evidence import Evidence, means, share
from speechbias.reproduce.findings.finding import Finding, Says, sign_verdict
from speechbias.reproduce.rows import FEATURES, MODELS
from speechbias.results import BiasResult

ALIKE = 1.1  # times as many parameters: the paper's slim and small differ by 4 to 6 %
LARGER = 1.5  # times as many, from which one model is larger than another
SECTION = "3.1"


def findings(evidence: Evidence) -> Iterator[Finding]:
    """All of the section."""
    for test in TABLE_3_COLUMNS:
        yield _models_above_features(evidence, test)
    yield _gender_is_largest(evidence)
    for test in TABLE_3_COLUMNS:
        yield _size_is_not_monotone(evidence, test)
    for test in TABLE_3_COLUMNS:
        yield _wide_below_deep(evidence, test)


def _models_above_features(evidence: Evidence, test: str) -> Finding:
    column = TABLE_3_COLUMNS.index(test)
    most = max(TABLE_3[name][column] for name in FEATURES)
    above = sum(TABLE_3[row.name][column] > most for row in MODELS)
    statement = "pre-trained models have a larger d than classical features"
    paper = f"{above} of {len(MODELS)} models above every feature"
    models, features = evidence.trained(test), evidence.features(test)
    if not models or not features:
        return Finding(SECTION, statement, test, "stimuli", Says.absent, paper=paper)
    found = evidence.effect([*models, *features], means(len(models), len(features)))
    note = f"mean of {len(models)} models less mean of {len(features)} features"
    says = sign_verdict(found.low, found.high, sign=1)
    return Finding(
        SECTION, statement, test, "stimuli", says, found.value, found.low, found.high, paper=paper, note=note
    )


def _gender_is_largest(evidence: Evidence) -> Finding:
    statement = "most pre-trained models have their largest d on Gender"
    hits = sum(ds[TABLE_3_COLUMNS.index("Gender")] == max(ds) for ds in (TABLE_3[row.name] for row in MODELS))
    paper = f"{hits} of {len(MODELS)} models"
    by_model: dict[str, dict[str, float]] = {}
    for test in TABLE_3_COLUMNS:
        for record in evidence.trained(test):
            by_model.setdefault(record.model_sha256, {})[test] = record.d
    whole = [ds for ds in by_model.values() if len(ds) == len(TABLE_3_COLUMNS)]
    if not whole:
        return Finding(SECTION, statement, "all tests", "training runs", Says.absent, unit="share", paper=paper)
    value, low, high = share(sum(ds["Gender"] == max(ds.values()) for ds in whole), len(whole))
    says = sign_verdict(low - 0.5, high - 0.5, sign=1)
    note = f"share of {len(whole)} models; most: above a half"
    return Finding(
        SECTION, statement, "all tests", "training runs", says, value, low, high, unit="share", paper=paper, note=note
    )


def _size_is_not_monotone(evidence: Evidence, test: str) -> Finding:
    """A pair of one family whose larger model has the smaller d, beyond noise, is enough."""
    statement = "a larger model does not always have a larger d"
    falls, of = _falls_in_the_paper(TABLE_3_COLUMNS.index(test))
    paper = f"{falls} of {of} pairs of one family fall with size"
    pairs = [
        (large, small)
        for one, other in combinations(evidence.trained(test), 2)
        for large, small in [sorted((one, other), key=_size, reverse=True)]
        if large.family == small.family and _size(small) and _size(large) >= LARGER * _size(small)
    ]
    if not pairs:
        return Finding(SECTION, statement, test, "stimuli", Says.absent, paper=paper)
    level = 1 - 0.05 / len(pairs)
    found = [evidence.effect(pair, means(1, 1), confidence=level) for pair in pairs]
    least = min(found, key=lambda each: each.value)
    if any(each.high is not None and each.high < 0 for each in found):
        says, least = Says.supported, min((e for e in found if e.high is not None), key=lambda e: e.high or 0.0)
    else:
        rising = all(each.low is not None and each.low > 0 for each in found)
        says = Says.contradicted if rising else Says.unclear
    note = f"larger less smaller, the lowest of {len(pairs)} pairs, its interval for all of them at once"
    return Finding(
        SECTION, statement, test, "stimuli", says, least.value, least.low, least.high, paper=paper, note=note
    )


def _wide_below_deep(evidence: Evidence, test: str) -> Finding:
    statement = "of two models of one family and number of parameters the wide, shallow one has the smaller d"
    column = TABLE_3_COLUMNS.index(test)
    names = {name.partition(" ")[0] for name in TABLE_3 if name.endswith(" slim")}
    below = sum(TABLE_3[f"{name} small"][column] < TABLE_3[f"{name} slim"][column] for name in names)
    paper = f"{below} of {len(names)} families"
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
        return Finding(SECTION, statement, test, "stimuli", Says.absent, paper=paper)
    wide, deep = zip(*pairs, strict=True)
    found = evidence.effect([*wide, *deep], means(len(wide), len(deep)))
    note = f"wide less deep, mean of {len(pairs)} pairs"
    says = sign_verdict(found.low, found.high, sign=-1)
    return Finding(
        SECTION, statement, test, "stimuli", says, found.value, found.low, found.high, paper=paper, note=note
    )


def _size(record: BiasResult) -> int:
    return record.parameters or 0


def _falls_in_the_paper(column: int) -> tuple[int, int]:
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
                falls += TABLE_3[f"{name} {larger}"][column] < TABLE_3[f"{name} {smaller}"][column]
    return falls, of
