"""The gap of a measurement, from its stored vectors, as a record of kind ``valence``."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speechbias.embeddings import Embeddings
from speechbias.errors import InputError
from speechbias.inference.cautions import FEW_TALKERS
from speechbias.level import alpha_of
from speechbias.results import SCHEMA, BiasResult
from speechbias.valence.gap import PERMUTATIONS, Corpus, Predictor, predict_gap
from speechbias.vectors import sets_of_layer, stored_vectors

Measured = tuple[BiasResult, Path]  # a measurement, and the folder of its results file

AT_CHANCE = "the predictor does not tell A from B on talkers that it has not heard, so its gap means nothing"
OPTIONS = ("design", "alternative", "permutations", "resamples", "confidence", "ddof", "seed")
SAME = ("test", "model", "family", "layer", "states", "dtype", "recipe", "d", "groups")


def measure_valence(
    result: BiasResult,
    folder: Path,
    *,
    trained_on: Sequence[Measured] | None = None,
    shuffles: int = PERMUTATIONS,
) -> dict[str, Any]:
    """The gap of a measurement whose results file lies in ``folder``: a record of kind ``valence``.

    The predictor is trained on the measurement's own A and B, or on those of the one of ``trained_on`` that is of the
    same model. InputError as ``stored_vectors`` and ``predict_gap``, and where none or several of those fit.
    """
    clips = stored_vectors(result, folder)
    sets = sets_of_layer(clips, result.layer)
    source, name = (clips, result.test) if trained_on is None else _find_corpus(result, trained_on)
    of = sets_of_layer(source, result.layer)
    corpus = Corpus(of["A"], of["B"], source.speakers, name)
    settings = {option: getattr(result, option) for option in OPTIONS}
    try:
        gap, predictor = predict_gap(
            sets["X"], sets["Y"], corpus, speakers=clips.speakers, pairs=clips.pairs, shuffles=shuffles, **settings
        )
    except InputError as error:
        raise InputError(*(f"{result.test}, {result.model}: {problem}" for problem in error.problems)) from None
    return {
        "kind": "valence",
        "schema": SCHEMA,
        **{name: getattr(result, name) for name in SAME},
        **asdict(gap),
        **asdict(predictor),
        **settings,
        "shuffles": shuffles,
        "trained_on": name,
        "talkers": len(set(corpus.talkers)),
        "n": {**{each: result.n[each] for each in "XY"}, "A": len(corpus.A), "B": len(corpus.B)},
        "warnings": _warn(predictor, corpus, clips if trained_on is None else None, settings["confidence"]),
        **result.about,
    }


def _find_corpus(result: BiasResult, measured: Sequence[Measured]) -> tuple[Embeddings, str]:
    """The emotional clips of the same model elsewhere. InputError where there are none, or several that differ."""
    where = f"{result.test}, {result.model}"
    fitting = {each.stimuli_sha256: (each, folder) for each, folder in measured if _same_model(each, result)}
    if not fitting:
        raise InputError(
            f"{where}: the file of --trained-on holds no measurement of this model with the same states, precision "
            "and pooling; measure it there"
        )
    found = [(stored_vectors(each, folder), each.test) for each, folder in fitting.values()]
    first = found[0][0].sets()
    for clips, _ in found[1:]:
        sets = clips.sets()
        if any(sets[name].shape != first[name].shape or not (sets[name] == first[name]).all() for name in "AB"):
            names = ", ".join(test for _, test in found)
            raise InputError(
                f"{where}: --trained-on holds {names} with different clips of A and B; name a file of one"
            )
    return found[0]


def _same_model(one: BiasResult, other: BiasResult) -> bool:
    names = ("model_sha256", "states", "dtype", "recipe", "num_states", "dim")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _warn(predictor: Predictor, corpus: Corpus, own: Embeddings | None, confidence: float) -> list[str]:
    """``own``: the test's clips where the predictor was trained on them; elsewhere nobody knows who is who."""
    warnings = []
    if predictor.p_predictor >= alpha_of(confidence):
        warnings.append(AT_CHANCE)
    if (talkers := len(set(corpus.talkers))) < FEW_TALKERS:
        warnings.append(f"only {talkers} attribute talkers: the accuracy on talkers not heard is a rough guide")
    if own is not None:
        targets = {*own.speakers["X"], *own.speakers["Y"]} - {""}
        heard = len(targets & {*own.speakers["A"], *own.speakers["B"]})
        if heard:
            warnings.append(f"{heard} speakers of X and Y speak in A or B too: the predictor has heard them")
    return warnings
