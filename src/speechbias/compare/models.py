"""From embeddings to comparisons: which d is compared with which, on the same resamples of the same clips."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Unpack

import numpy as np

from speechbias.compare.comparison import METHOD, Comparison, adjust
from speechbias.compare.members import Array, Layer, Member, MembersTest, crop_of, open_members
from speechbias.embeddings import Embeddings
from speechbias.errors import InputError
from speechbias.inference import Design, check_options
from speechbias.inference.cautions import FEW_TALKERS, FEW_UNITS, range_of, warn_of_talkers
from speechbias.inference.designs import name_blanks, relabel
from speechbias.inference.differences import Differences, differences
from speechbias.inference.intervals import Between, Interval, Strata, attribute_interval
from speechbias.inference.options import Options
from speechbias.inference.permutation import permutation_test
from speechbias.results import SETS


def compare_models(
    embeddings: Sequence[Embeddings],
    *,
    baseline: int = 0,
    all_pairs: bool = False,
    layers: Sequence[Layer] = ("mean",),
    resamples: int = 10_000,
    confidence: float = 0.95,
    ddof: int = 1,
    seed: int = 0,
    design: Design | None = None,
    both_zero: bool = False,
) -> list[Comparison]:
    """D of each model minus d of the ``baseline`` (its number), or of all pairs, on the same clips, layer by layer.

    ``embeddings``: as ``embed`` or ``stored_vectors`` gives them, ``array`` (stimuli, states, dim), of one set of
    stimuli; states and dim may differ between models, and ``layers`` ("mean" or numbers) are in all of them.
    ``design`` as for ``association_test``; what it draws is drawn for all models alike. ``both_zero`` adds the
    relabelling test that both d's are zero. The p's of Holm and Benjamini-Hochberg are over everything returned.

    Raises ``InputError`` for fewer than two models, other clips or speakers, and a group of one speaker only. SpEAT
    and the paper compare d's by eye; the paired bootstrap-t is described in ``inference.differences``.
    """
    if not 0 <= baseline < len(embeddings):
        raise InputError(f"There is no model {baseline} among {len(embeddings)}. Take a number from 0 on.")
    numbers = list(combinations(range(len(embeddings)), 2)) if all_pairs else []
    numbers = [(j, i) for i, j in numbers] or [(i, baseline) for i in range(len(embeddings)) if i != baseline]
    members = [Member(each, layer) for layer in layers for each in embeddings]
    pairs = [(k * len(embeddings) + i, k * len(embeddings) + j) for k in range(len(layers)) for i, j in numbers]
    options = Options(resamples=resamples, confidence=confidence, ddof=ddof, seed=seed, design=design)
    return adjust(compare_members(members, pairs, both_zero=both_zero, **options))


def compare_layers(
    embeddings: Embeddings,
    *,
    baseline: Layer = 0,
    resamples: int = 10_000,
    confidence: float = 0.95,
    ddof: int = 1,
    seed: int = 0,
    design: Design | None = None,
) -> list[Comparison]:
    """D of every hidden state of one model minus that of the state ``baseline``; otherwise as ``compare_models``.

    InputError as there, and for a ``baseline`` that the model has not.
    """
    others = [k for k in range(embeddings.array.shape[1]) if k != baseline]
    members = [Member(embeddings, layer) for layer in (baseline, *others)]
    options = Options(resamples=resamples, confidence=confidence, ddof=ddof, seed=seed, design=design)
    return adjust(compare_members(members, [(k, 0) for k in range(1, len(members))], **options))


def compare_members(
    members: Sequence[Member], pairs: Sequence[tuple[int, int]], *, both_zero: bool = False, **options: Unpack[Options]
) -> list[Comparison]:
    """The comparisons ``pairs`` (member, baseline), one family of max-T; their p's of Holm are still to come."""
    if not pairs:
        raise InputError("There is one model only: nothing to compare. Name results of two or more.")
    test = open_members(members, check_options(options))
    between = (np.array([i for i, _ in pairs]), np.array([j for _, j in pairs]))
    found, numbers = _differences(test, between)
    zeros = _both_zero(test, between) if both_zero else [None] * len(pairs)
    shared = _describe(test)
    shared["adjusted_over"] = shared["family"] = (
        f"{len(pairs)} comparisons on the same clips" if len(pairs) > 1 else "1 comparison"
    )
    return [
        Comparison(
            **_names(members[i], members[j]),
            d=float(found.d[i]),
            d_baseline=float(found.d[j]),
            p_both_zero=zero,
            **each,
            **shared | {"warnings": [*shared["warnings"], *_warn_of_states(members[i], members[j])]},
        )
        for (i, j), each, zero in zip(pairs, numbers, zeros, strict=True)
    ]


def _differences(test: MembersTest, between: Between) -> tuple[Differences, list[dict[str, Any]]]:
    """The differences ``between`` members, and the numbers of each for its record."""
    settings, n_x = test.settings, test.n_x
    sampling: dict[str, Any] = {name: settings[name] for name in ("ddof", "resamples", "confidence")}
    found = differences(test.s, between, test.units, n_x=n_x, rng=test.stream(2), **sampling)
    wider, left_out = attribute_interval(
        test.cosines, test.units, test.talkers, n_x=n_x, n_a=test.n_a, rng=test.stream(3), between=between, **sampling
    )
    return found, _numbers_of(found, wider, left_out if len(test.talkers.units) < FEW_TALKERS else None)


def _both_zero(test: MembersTest, between: Between) -> list[float]:
    """P of the larger of two |d|'s when X and Y are relabelled: that both are zero, not that they are equal."""
    clips, permutations = test.clips, test.settings["permutations"]
    relabelling = relabel(test.design, (clips.speakers["X"], clips.speakers["Y"]), clips.pairs)
    options = {"n_x": test.n_x, "alternative": "two-sided", "permutations": permutations, "rng": test.stream(0)}
    return [
        float(permutation_test(test.s[:, [i, j]], relabelling, family=(0, 1), **options).p_adjusted.min())  # type: ignore[arg-type]
        for i, j in zip(*between, strict=True)
    ]


def _names(one: Member, base: Member) -> dict[str, Any]:
    """Which d's are compared."""
    model, baseline = one.of.model, base.of.model
    return {
        "layer": one.layer,
        "baseline_layer": base.layer,
        "model": model.name,
        "baseline": baseline.name,
        "step": model.step,
        "baseline_step": baseline.step,
        "model_sha256": model.sha256,
        "baseline_sha256": baseline.sha256,
        "states": model.states,
        "dtype": model.dtype,
    }


def _describe(test: MembersTest) -> dict[str, Any]:
    """What all comparisons of a test have in common."""
    clips, settings = test.clips, test.settings
    options = {name: settings[name] for name in ("resamples", "seed", "confidence", "ddof")}
    return {
        "test": clips.test,
        "method": METHOD,
        "design": test.design,
        "n": {name: int(clips.n[name]) for name in SETS},
        "n_speakers": {name: len(set(name_blanks(clips.speakers[name], name))) for name in SETS},
        "groups": dict(clips.groups),
        "attribute_talkers": len(test.talkers.units),
        "stimuli_sha256": clips.stimuli_sha256,
        "crop_seconds": crop_of(clips),
        "warnings": _warn(test.units, test.n_x, len(test.talkers.units)),
        **options,
    }


def _numbers_of(found: Differences, wider: Interval, left_out: Array | None) -> list[dict[str, Any]]:
    """The numbers of each difference; ``left_out`` (talkers, differences): without each talker."""
    p_value = found.p_value.tolist()
    return [
        {
            "difference": float(found.difference[k]),
            "ci_low": float(found.low[k]),
            "ci_high": float(found.high[k]),
            "ci_attributes": (float(wider.low[k]), float(wider.high[k])),
            "leave_one_talker_out": None if left_out is None else range_of(left_out[:, k]),
            "p_value": p_value[k],
            "p_holm": p_value[k],
            "p_bh": p_value[k],
            "p_adjusted": float(found.p_adjusted[k]),
            "band_low": float(found.band_low[k]),
            "band_high": float(found.band_high[k]),
            "standard_error": float(found.standard_error[k]),
            "redrawn": int(found.redrawn[k] + wider.redrawn[k]),
        }
        for k in range(len(p_value))
    ]


def _warn_of_states(one: Member, base: Member) -> list[str]:
    """A mean over other states is another measure; of a model with one state every convention is the same."""
    model, baseline = one.of.model, base.of.model
    several = min(each.of.array.shape[1] for each in (one, base)) > 1
    if model.states == baseline.states or not several:
        return []
    said = f"{one.name} counts states as {model.states!r}, {base.name} as {baseline.states!r}"
    return [f"{said}: a difference may be of that"]


def _warn(units: Strata, n_x: int, talkers: int) -> list[str]:
    few = units.fewest(n_x)
    texts = []
    if few < FEW_UNITS:
        texts.append(f"only {few} independent units in a group: p and interval of a difference are a rough guide")
    return [*texts, *warn_of_talkers(talkers)]
