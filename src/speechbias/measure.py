"""Measurement: embeddings -> SpEAT effect sizes with p-values and intervals, per hidden state and for their mean.

``layer="mean"`` is the d of the embedding averaged over states, never the mean of the layers' d's. The states of one
model share their relabellings and resamples; their p_adjusted is max-T over these states.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, Unpack

import numpy as np

from speechbias.embeddings import Embeddings, Model, library_versions
from speechbias.errors import InputError
from speechbias.inference import AssociationTest, Options, associate, check_options, resolve_design
from speechbias.results import SETS, BiasResult, identity
from speechbias.stimuli import StimulusSet

Layer = int | Literal["mean"]


def measure_bias(embeddings: Embeddings, *, layer: Layer = "mean", **options: Unpack[Options]) -> BiasResult:
    """SpEAT's d of one layer ("mean" or the number of a hidden state), its p-values and intervals (equations 1, 2).

    Raises ``InputError`` where the layer does not exist, the embeddings are degenerate or no design fits.
    """
    return measure_layers(embeddings, layers=[layer], **options)[0]


def measure_layers(
    embeddings: Embeddings, *, layers: Sequence[Layer] | None = None, **options: Unpack[Options]
) -> list[BiasResult]:
    """As ``measure_bias`` for several layers at once; by default "mean" and then every state.

    Whichever are asked for, a single state's ``p_adjusted`` counts all states of the model. InputError for a layer
    that the model has not.
    """
    num_states = embeddings.array.shape[1]
    layers = every_layer(num_states) if layers is None else layers
    layers = [int(layer) if isinstance(layer, np.integer) else layer for layer in layers]
    for layer in layers:
        if layer != "mean" and not (isinstance(layer, int) and 0 <= layer < num_states):
            raise InputError(
                f"{embeddings.model.name} has no layer {layer}. Its states are 0 to {num_states - 1}, or take 'mean'."
            )
    tests = _associate(embeddings, layers, options)
    return [_result(embeddings, layer, test) for layer, test in tests.items()]


def every_layer(num_states: int) -> list[Layer]:
    """The mean over states, then each state by its number."""
    return ["mean", *range(num_states)]


def _associate(embeddings: Embeddings, layers: Sequence[Layer], options: Options) -> dict[Layer, AssociationTest]:
    """One test per layer. Max-T needs all states of the model, so a single state's p_adjusted counts them all."""
    array = embeddings.array.astype(np.float64)
    mean, num_states = array.mean(axis=1, keepdims=True), array.shape[1]
    alone = set(layers) == {"mean"}
    chosen: list[Layer] = ["mean"] if alone else [*range(num_states), "mean"]
    stacked = mean if alone else np.concatenate([array, mean], axis=1)
    ends = np.cumsum([embeddings.n[name] for name in SETS])[:-1]
    try:
        tests = associate(
            *np.split(stacked, ends),
            speakers=embeddings.speakers,
            pairs=embeddings.pairs,
            simultaneous=range(len(chosen) - 1),
            **options,
        )
    except InputError as error:
        raise InputError(*(f"{embeddings.test}, {embeddings.model.name}: {line}" for line in error.problems)) from None
    found = dict(zip(chosen, tests, strict=True))
    return {layer: found[layer] for layer in layers}


def _result(embeddings: Embeddings, layer: Layer, test: AssociationTest) -> BiasResult:
    """Everything that the test says, with what was measured."""
    model, num_states = embeddings.model, embeddings.array.shape[1]
    said = vars(test) | {"n": dict(test.n), "warnings": [*embeddings.warnings, *test.warnings]}
    return BiasResult(
        **said,
        test=embeddings.test,
        model=model.name,
        family=model.family,
        layer=layer,
        states=model.states,
        groups=dict(embeddings.groups),
        dtype=model.dtype,
        model_sha256=model.sha256,
        stimuli_sha256=embeddings.stimuli_sha256,
        vectors=None,
        skipped=[dict(clip) for clip in embeddings.skipped],
        versions=library_versions(),
        num_states=num_states,
        dim=embeddings.array.shape[2],
        adjusted_over=None if test.p_adjusted is None else f"{num_states} states of one model",
        recipe=dict(model.recipe),
        seconds=dict(embeddings.seconds),
        step=model.step,
        run=None if model.run is None else dict(model.run),
        parameters=model.parameters,
        **model.made_smaller,
    )


def check_settings(options: Options, tests: Iterable[StimulusSet]) -> None:
    """Raise the ``InputError`` that measuring would raise for these options or for a test's speakers and pairs."""
    settings = check_options(options)
    problems: list[str] = []
    for test in tests:
        try:
            resolve_design(test.speakers, pairs=test.pairs, design=settings["design"])
        except InputError as error:
            problems += [f"{test.name}.csv: {line}" for line in error.problems]
    if problems:
        raise InputError(*problems)


def identities(
    model: Model,
    stimuli: StimulusSet,
    *,
    num_states: int,
    stimuli_sha256: str,
    layers: Iterable[Layer],
    options: Options,
) -> list[str]:
    """The identities that measuring these layers will have, known before anything is embedded."""
    settings = check_options(options)
    design = resolve_design(stimuli.speakers, pairs=stimuli.pairs, design=settings["design"])
    parts = {
        "test": stimuli.name,
        "model": model.name,
        "model_sha256": model.sha256,
        "recipe": dict(model.recipe),
        "stimuli_sha256": stimuli_sha256,
        "states": model.states,
        "dtype": model.dtype,
        "num_states": num_states,
        "step": model.step,
        "run": model.run,
    }
    return [identity({**parts, **settings, "design": design, "layer": layer}) for layer in layers]
