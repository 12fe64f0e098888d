"""The audit of whatever a survey measures: a record of ``kind "confounds"`` per test, in the same results file.

Added after the measurements, whose bytes it does not touch, and once: clips that were audited by the same means are
not listened to again.
"""

from typing import Any

from speechbias.confounds import KIND, audit_test, describe_clips, identify
from speechbias.inference import check_options
from speechbias.results import append_records, read_records, write_vectors
from speechbias.survey import Survey


def audit_survey(survey: Survey) -> list[dict[str, Any]]:
    """Audit every test of a survey that has clips; returns the records, also those that were there.

    Raises ``InputError`` as measuring would for unusable audio.
    """
    held = [r for r in read_records(survey.out) if r["kind"] == KIND] if survey.out.is_file() else []
    settings = check_options(survey.options)
    options: dict[str, Any] = {name: settings[name] for name in ("resamples", "confidence", "seed", "design")}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for check in survey.audio():
        for test in check.sets:
            identity = identify(test, check.facts, crop=survey.crop, **options)
            key = identity["test"], identity["stimuli_sha256"]
            if key in found:
                continue
            same = [record for record in held if identity.items() <= record.items()]
            if same:
                found[key] = same[-1]
                continue
            values = describe_clips(
                [check.facts[clip.path] for clip in test.stimuli],
                crop=survey.crop,
                workers=survey.workers,
                cache=survey.cache,
                progress=survey.progress,
            )
            audit = audit_test(test, check.facts, values, crop=survey.crop, **options)
            record = audit.record | {"facts": write_vectors(survey.out, audit.arrays)}
            append_records(survey.out, [record])
            found[key] = record
    return list(found.values())
