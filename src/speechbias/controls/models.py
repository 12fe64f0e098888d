"""Controls that need the model, of whatever a survey measured: speech against noise, and the untrained twin.

Records of kind ``control`` in the same results file, added after the measurements, whose bytes they do not touch. Each
is written as it is found, and is not made again; embeddings lie in the survey's cache, so killed work goes on.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from speechbias.controls.noise import noise_control
from speechbias.controls.planted import describe
from speechbias.controls.twin import missing, twin_control
from speechbias.embeddings import Embeddings, assemble, pool
from speechbias.encoder import Encoder
from speechbias.errors import InputError
from speechbias.results import BiasResult, append_records, read_records, read_results
from speechbias.stimuli import AudioCheck, StimulusSet
from speechbias.survey import Survey, is_vectors

Target = tuple[StimulusSet, BiasResult]


def control_models(survey: Survey) -> list[dict[str, Any]]:
    """Both controls for the layer means of a survey that was measured; returns all records, those that were there too.

    Embeddings from files have no model to ask, and no record. InputError as measuring would raise it.
    """
    held = {(str(r.get("of")), r.get("control")): r for r in read_records(survey.out) if r["kind"] == "control"}
    found: list[dict[str, Any]] = []
    check_audio = cache(survey.check_audio)  # which decodes everything
    for model in survey.models:
        if is_vectors(model):
            continue
        encoder = survey.load(model)
        check = check_audio(encoder.sample_rate, encoder.min_samples)
        targets = _targets(survey, encoder, check)
        todo = {
            which: [target for target in targets if (target[1].measurement, which) not in held]
            for which in ("noise", "twin")
        }
        made = [*_noise(survey, encoder, check, todo["noise"]), *_twins(survey, model, encoder, check, todo["twin"])]
        held |= {(str(record["of"]), record["control"]): record for record in made}
        found += [held[result.measurement, which] for _, result in targets for which in ("noise", "twin")]
    return found


def _targets(survey: Survey, encoder: Encoder, check: AudioCheck) -> list[Target]:
    """The tests of which the results file holds this encoder's mean over states."""
    on_file = {result.identity: result for result in read_results(survey.out)}
    wanted = [(test, survey.identities(encoder, test, check)[0]) for test in check.sets]
    return [(test, on_file[identity]) for test, identity in wanted if identity in on_file]


def _noise(survey: Survey, encoder: Encoder, check: AudioCheck, targets: list[Target]) -> Iterator[dict[str, Any]]:
    for test, result in targets:
        made = noise_control(encoder, test, check.facts, cache=survey.cache, workers=survey.workers)
        yield _written(survey, describe(result, "noise") | made)


def _twins(
    survey: Survey, model: str, encoder: Encoder, check: AudioCheck, targets: list[Target]
) -> Iterator[dict[str, Any]]:
    if not targets:
        return
    try:
        twin = survey.load_twin(model)
        why = "is untrained itself" if twin.sha256 == encoder.sha256 else None
    except InputError as error:
        twin, why = None, str(error)
    for test, result in targets:
        if twin is None or why is not None:
            made = missing(why or "")
        else:
            made = twin_control(
                result,
                twin,
                out=survey.out,
                measured=read_results(survey.out),
                embed=lambda test=test: _embedded(survey, twin, test, check),  # type: ignore[misc]
            )
        yield _written(survey, describe(result, "twin") | made)


def _embedded(survey: Survey, twin: Encoder, test: StimulusSet, check: AudioCheck) -> Embeddings:
    files = [check.facts[clip.path] for clip in test.stimuli]
    pooled = pool(twin, files, workers=survey.workers, cache=survey.cache, progress=survey.progress)
    return assemble(twin, test, check, pooled)


def _written(survey: Survey, record: dict[str, Any]) -> dict[str, Any]:
    append_records(survey.out, [record])
    return record
