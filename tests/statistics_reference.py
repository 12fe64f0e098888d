"""Slow and obvious ways to the numbers of ``speat`` and ``inference``: the oracles of their tests.

They share no code with the package, and enumerate from the wording of each design, not from units and strata.
Clips are numbered through X, then Y (or A, then B); a labelling is the set of those that are called X (or A).
"""

import math
from collections import Counter
from itertools import combinations

import numpy as np
from scipy.stats import norm

TIE = 1e-9


def cosine(a, b):
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))


def association_loop(w, A, B):
    """Equation 1 for one embedding."""
    return sum(cosine(w, a) for a in A) / len(A) - sum(cosine(w, b) for b in B) / len(B)


def effect_size_loop(X, Y, A, B, ddof=1):
    """Equation 2 in three nested loops."""
    x, y = [association_loop(w, A, B) for w in X], [association_loop(w, A, B) for w in Y]
    mean = (sum(x) + sum(y)) / (len(x) + len(y))
    variance = sum((s - mean) ** 2 for s in (*x, *y)) / (len(x) + len(y) - ddof)
    return (sum(x) / len(x) - sum(y) / len(y)) / math.sqrt(variance)


def d_of(s, in_x, ddof=1):
    """D of scalars ``s`` when the clips ``in_x`` are called X."""
    x = [s[i] for i in range(len(s)) if i in in_x]
    y = [s[i] for i in range(len(s)) if i not in in_x]
    return (np.mean(x) - np.mean(y)) / np.std(s, ddof=ddof)


def named(first, second):
    """Speaker of every clip; a blank one is its own."""
    return [s or f"unknown {i}" for i, s in enumerate((*first, *second))]


def counts(clips, ids):
    return Counter(ids[i] for i in clips)


def labellings(design, first, second, pairs=None):
    """Every labelling of a design, from its words in the contract."""
    n_x, n = len(first), len(first) + len(second)
    ids, observed = named(first, second), range(len(first))
    if design == "speaker":
        x_speakers = {ids[i] for i in observed}
        every = list(dict.fromkeys(ids))
        return [{i for i in range(n) if ids[i] in chosen} for chosen in combinations(every, len(x_speakers))]
    subsets = [set(chosen) for chosen in combinations(range(n), n_x)]
    if design == "within-speaker":
        repeated = {s for s, count in Counter(ids).items() if count > 1}
        wanted = counts(observed, ids)
        return [c for c in subsets if all(counts(c, ids)[s] == wanted[s] for s in repeated)]
    if design == "pair":
        of = (*pairs["X"], *pairs["Y"])
        return [c for c in subsets if len({of[i] for i in c}) == n_x]
    return subsets


def attribute_labellings(first, second):
    """Within each talker, counts kept; whole talkers where every talker stands in one set only."""
    ids = named(first, second)
    if not set(ids[: len(first)]) & set(ids[len(first) :]):
        return labellings("speaker", first, second)
    wanted = counts(range(len(first)), ids)
    return [set(c) for c in combinations(range(len(ids)), len(first)) if counts(c, ids) == wanted]


def oriented(value, alternative):
    return abs(value) if alternative == "two-sided" else value if alternative == "greater" else -value


def share_as_far(values, observed, alternative):
    """Share of the values at least as far out as the observed one."""
    least = oriented(observed, alternative) - TIE
    return sum(oriented(value, alternative) >= least for value in values) / len(values)


def p_by_enumeration(s, every, n_x, alternative):
    values = [d_of(s, clips) for clips in every]
    return share_as_far(values, d_of(s, set(range(n_x))), alternative)


def attribute_d(cosines, n_x, in_a):
    """D of ``cosines`` (targets, attributes) when the attribute clips ``in_a`` are called A."""
    a = [i for i in range(cosines.shape[1]) if i in in_a]
    b = [i for i in range(cosines.shape[1]) if i not in in_a]
    return d_of(cosines[:, a].mean(axis=1) - cosines[:, b].mean(axis=1), set(range(n_x)))


def p_attribute_by_enumeration(cosines, n_x, n_a, every, alternative):
    values = [attribute_d(cosines, n_x, clips) for clips in every]
    return share_as_far(values, attribute_d(cosines, n_x, set(range(n_a))), alternative)


def clips_of(units, selected):
    """The clips that a row of chosen units labels."""
    return {clip for unit in selected for clip in units[unit]}


def tail_by_counting(s, n_x, t):
    """P(sum over X* >= t) for integers ``s`` >= 0, exactly: by how many subsets of each size give each sum."""
    ways = np.zeros((n_x + 1, int(sum(s)) + 1))
    ways[0, 0] = 1
    for value in map(int, s):
        ways[1:, value:] += ways[:-1, : ways.shape[1] - value].copy()
    return ways[n_x, t:].sum() / ways[n_x].sum()


def bca(draws, d, jackknife, confidence):
    """BCa limits and a from d's of resamples and lists of leave-one-out d's, one list per sample."""
    z0 = norm.ppf((np.sum(draws < d) + np.sum(draws == d) / 2) / len(draws))
    influences = [[(len(sample) - 1) * (np.mean(sample) - value) for value in sample] for sample in jackknife]
    third = sum(sum(u**3 for u in sample) / len(sample) ** 3 for sample in influences)
    second = sum(sum(u**2 for u in sample) / len(sample) ** 2 for sample in influences)
    a = third / second**1.5 / 6
    limits = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = z0 + norm.ppf(tail)
        limits.append(np.quantile(draws, norm.cdf(z0 + z / (1 - a * z))))
    return limits, z0, a
