"""The ridge predictor against scikit-learn and refits; its two p's against a slow loop, and at their level."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge

from speechbias.inference import selections
from speechbias.inference.designs import relabel_attributes
from speechbias.inference.ridge import (
    STRENGTHS,
    fit,
    gap_in_sds,
    mean_eigenvalue,
    shuffle_labels,
    unheard_answers,
)


def clips(seed=0, *, talkers=4, each=6, others=14, dim=9, planted=0.0):
    """Vectors of talkers with voices of their own, half of whose clips are 1, ``planted`` apart; and of others."""
    rng = np.random.default_rng(seed)
    names = [f"t{number}" for number in range(talkers) for _ in range(each)]
    labels = np.tile(np.arange(each) < each // 2, talkers).astype(float)
    order = np.argsort(-labels, kind="stable")  # A first
    voices = np.repeat(rng.normal(size=(talkers, dim)), each, axis=0)
    training = voices + rng.normal(size=(talkers * each, dim))
    training[:, 0] += planted * labels
    return training[order], labels[order], [names[k] for k in order], rng.normal(size=(others, dim)) + 0.3


def kernels(training, others):
    return training @ training.T, others @ training.T


def fitted(training, others, names):
    kernel, cross = kernels(training, others)
    return fit(kernel, cross, names, unit=mean_eigenvalue(kernel))


def sklearn(training, labels, strength, unit):
    return SklearnRidge(alpha=strength * unit, solver="cholesky").fit(training, labels)


def unit_of(training):
    """Eigenvalues of the centred kernel are those of the scatter matrix, and zeros; there are n - 1 of them."""
    return ((training - training.mean(0)) ** 2).sum() / (len(training) - 1)


def test_predictions_are_those_of_scikit_learn_and_of_the_normal_equations():
    training, labels, names, others = clips()
    ridge, unit = fitted(training, others, names), unit_of(training)
    z, mean = training - training.mean(0), labels.mean()
    for strength, matrix in zip(STRENGTHS, ridge.predictions, strict=True):
        expected = sklearn(training, labels, strength, unit).predict(others)
        np.testing.assert_allclose(matrix @ labels, expected, rtol=1e-7)
        w = np.linalg.solve(z.T @ z + strength * unit * np.eye(9), z.T @ (labels - mean))
        np.testing.assert_allclose(matrix @ labels, (others - training.mean(0)) @ w + mean, rtol=1e-7)


def test_the_scale_of_vectors_does_not_matter():
    training, _, names, others = clips()
    ridge, small = fitted(training, others, names), fitted(1e-4 * training, 1e-4 * others, names)
    np.testing.assert_allclose(small.predictions, ridge.predictions, atol=1e-8)
    np.testing.assert_allclose(small.errors, ridge.errors, atol=1e-8)


@pytest.mark.parametrize("each", [1, 6])
def test_a_talkers_errors_are_those_of_a_predictor_without_it(each):
    training, labels, names, others = clips(each=each, talkers=24 // each)
    if each == 1:
        labels = (np.arange(24) < 12).astype(float)
    ridge, unit, people = fitted(training, others, names), unit_of(training), np.array(names)
    for strength, errors in zip(STRENGTHS, ridge.errors, strict=True):
        expected = np.empty(24)
        for name in set(names):
            held = people == name
            without = sklearn(training[~held], labels[~held], strength, unit)
            expected[held] = labels[held] - without.predict(training[held])
        np.testing.assert_allclose(errors @ labels, expected, rtol=1e-6, atol=1e-10)
    chosen, error = ridge.choose(labels[None])
    squares = [np.mean((errors @ labels) ** 2) for errors in ridge.errors]
    assert chosen[0] == np.argmin(squares)
    assert error[0] == pytest.approx(min(squares))
    np.testing.assert_allclose(ridge.predict(labels[None])[0], ridge.predictions[chosen[0]] @ labels)


def test_who_is_asked_was_not_heard_by_the_predictor_nor_by_the_choice_of_its_strength():
    training, labels, names, _ = clips(seed=3, planted=1.0)
    kernel, people, unit = training @ training.T, np.array(names), unit_of(training)
    expected = np.empty(24, bool)
    for name in set(names):
        held = people == name
        heard, wanted, rest = training[~held], labels[~held], people[~held]
        squares = []
        for strength in STRENGTHS:
            errors = [
                wanted[rest == other]
                - sklearn(heard[rest != other], wanted[rest != other], strength, unit).predict(heard[rest == other])
                for other in set(rest)
            ]
            squares.append(np.concatenate(errors) @ np.concatenate(errors))
        best = sklearn(heard, wanted, STRENGTHS[int(np.argmin(squares))], unit)
        expected[held] = best.predict(training[held]) > wanted.mean()
    assert unheard_answers(kernel, labels, names, unit=unit).tolist() == expected.tolist()
    changed = training.copy()
    changed[people == "t0"] += 100.0  # nothing that is said of others can come from it ...
    answers = unheard_answers(changed @ changed.T, labels, names, unit=unit)
    assert answers[people == "t0"].tolist() != expected[people == "t0"].tolist()  # ... of itself it can


def loop(ridge, labels, names, n_x, alternative):
    """Both p's by every relabelling within talkers, one after the other."""
    from itertools import combinations, product  # noqa: PLC0415

    people = np.array(names)
    of = [np.flatnonzero(people == name) for name in dict.fromkeys(names)]
    choices = [list(combinations(rows, int(labels[rows].sum()))) for rows in of]

    def statistics(y):
        errors = [np.mean((matrix @ y) ** 2) for matrix in ridge.errors]
        prediction = ridge.predictions[int(np.argmin(errors))] @ y
        gap = (prediction[:n_x].mean() - prediction[n_x:].mean()) / prediction.std(ddof=1)
        return {"two-sided": abs(gap), "greater": gap, "less": -gap}[alternative], min(errors)

    observed, drawn = statistics(labels), []
    for chosen in product(*choices):
        y = np.zeros(len(labels))
        y[np.concatenate(chosen)] = 1
        drawn.append(statistics(y))
    gaps, errors = np.array(drawn).T
    return np.mean(gaps >= observed[0] - 1e-9), np.mean(errors <= observed[1] + 1e-9)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_every_relabelling_trains_a_predictor_of_its_own(alternative, monkeypatch):
    training, labels, names, others = clips(seed=5, talkers=3, each=4, planted=2.0)
    ridge = fitted(training, others, names)
    relabelling = relabel_attributes((names[:6], names[6:]))
    monkeypatch.setattr(selections, "CHUNK", 50)  # several of them
    found = shuffle_labels(
        ridge, labels, relabelling, n_x=7, alternative=alternative, permutations=5, rng=np.random.default_rng(0)
    )
    gap, predictor = loop(ridge, labels, names, 7, alternative)
    assert found.p_gap == pytest.approx(gap)
    assert found.p_predictor == pytest.approx(predictor)
    assert found.p_predictor_min == 1 / 216
    assert found.p_gap_min == (2 if alternative == "two-sided" else 1) / 216


def shuffled(seed, planted=0.0, moved=0.0):
    training, labels, names, others = clips(seed, each=10, planted=planted)
    others[:7, 0] += moved
    ridge = fitted(training, others, names)
    relabelling = relabel_attributes((names[:20], names[20:]))
    options = {"alternative": "two-sided", "permutations": 199, "rng": np.random.default_rng(seed)}
    return shuffle_labels(ridge, labels, relabelling, n_x=7, **options)


def test_where_there_is_nothing_to_learn_both_p_keep_their_level():
    """Over 250 corpora the share below 0.1 lies within four standard errors of it; X and Y differ in every one."""
    found = [shuffled(seed, moved=2.0) for seed in range(250)]
    for p in ([each.p_gap for each in found], [each.p_predictor for each in found]):
        assert 0.024 < np.mean(np.array(p) <= 0.1) < 0.176


def test_a_planted_direction_is_learnt_and_the_gap_along_it_found():
    found = [shuffled(seed, planted=3.0, moved=3.0) for seed in range(20)]
    assert np.mean([each.p_predictor <= 0.05 for each in found]) == 1
    assert np.mean([each.p_gap <= 0.05 for each in found]) > 0.4  # shuffled labels, too, point along what varies most


def test_a_gap_is_d_of_predictions():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2, 9))
    expected = [(row[:4].mean() - row[4:].mean()) / row.std(ddof=0) for row in rows]
    np.testing.assert_allclose(gap_in_sds(rows, 4, 0), expected)
    assert np.isnan(gap_in_sds(np.ones((1, 9)), 4, 1)[0])
