"""What a probe found, as a record of kind ``per``, and utterance by utterance beside it.

A record names no speaker and no recording; the table has paths, in which corpora may write who speaks.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from speechbias.embeddings import Model, library_versions
from speechbias.encoder import Encoder
from speechbias.probe.errors import Errors, count_errors
from speechbias.probe.groups import Intervals, by_group
from speechbias.probe.splits import Splits
from speechbias.probe.sweep import Bench, Rate, Swept
from speechbias.probe.utterances import Utterance
from speechbias.results import SCHEMA

COLUMNS = ("path", "reference", "hypothesis", "errors")


def make_record(
    encoder: Encoder, splits: Splits, bench: Bench, swept: Swept, *, infeasible: int
) -> tuple[dict[str, Any], str]:
    """The record of a model's best probe on the test set, and a table of its utterances. No time stamps in either."""
    recipe, chosen = bench.recipe, swept.chosen
    probe = chosen.probe
    probe.load_state_dict(dict(chosen.best.weights))
    tested = [bench.utterances[row] for row in bench.test]
    heard = bench.transcribe(probe, bench.test)
    errors = count_errors([each.phones for each in tested], heard)
    whole = sum(errors[1:], errors[0])
    section, model = recipe.probe, Model.of(encoder)
    intervals = Intervals(seed=recipe.run.seed, resamples=section.resamples, confidence=section.confidence)
    speakers = [each.speaker for each in tested]
    groups, gaps = by_group(errors, speakers, [each.groups for each in tested], section.groups, intervals)
    record = {
        "kind": "per",
        "schema": SCHEMA,
        "model": model.name,
        "split": section.split,
        "per": whole.rate,
        "n_utterances": len(tested),
        "n_speakers": None if "" in speakers else len(set(speakers)),
        **intervals.bounds(intervals.resampled("", errors, speakers)),
        "confidence": section.confidence,
        **_tried(chosen),
        "tried": [_tried(rate) for rate in swept.rates],
        "errors": {**vars(whole)},
        "groups": groups,
        "gaps": gaps,
        **_encoded_by(encoder, model),
        "weights": probe.shares(),
        **_settings(bench, splits),
        "n_infeasible": infeasible,
        "seed": recipe.run.seed,
        "probe_sha256": recipe.sha256,
        "corpus_sha256": splits.sha256,
        "versions": library_versions(),
        **_where_they_apply(model),
    }
    return record, _table(tested, heard, errors)


def _encoded_by(encoder: Encoder, model: Model) -> dict[str, Any]:
    return {
        "model_sha256": model.sha256,
        "family": model.family,
        "states": model.states,
        "dtype": model.dtype,
        "num_states": encoder.num_states,
        "dim": encoder.dim,
    }


def _settings(bench: Bench, splits: Splits) -> dict[str, Any]:
    """What is recognised, in which words it is looked up, and on how many utterances it was learnt."""
    section, lexicon = bench.recipe.probe, splits.lexicon
    return {
        "phones": str(section.phones),
        "eos": section.eos,
        "lexicon": None if lexicon is None else {"name": lexicon.name, "sha256": lexicon.sha256},
        "n_train": len(bench.train),
        "n_dev": len(bench.dev),
    }


def _tried(rate: Rate) -> dict[str, Any]:
    best = rate.best
    return {"learning_rate": rate.lr, "dev_per": best.dev_per, "best_update": best.update, "updates": rate.update}


def _where_they_apply(model: Model) -> Mapping[str, Any]:
    """Step, run, size and how it was made smaller, by the names that records of bias have."""
    said = {"step": model.step, "run": model.run, "parameters": model.parameters}
    return {name: value for name, value in (said | dict(model.made_smaller)).items() if value is not None}


def _table(utterances: Sequence[Utterance], heard: Sequence[Sequence[str]], errors: Sequence[Errors]) -> str:
    """Rows parted by tabs: path, reference, hypothesis, errors."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    for each, said, wrong in zip(utterances, heard, errors, strict=True):
        writer.writerow((each.key, " ".join(each.phones), " ".join(said), wrong.total))
    return written.getvalue()


def in_words(record: Mapping[str, Any]) -> str:
    """One record in a line; checkpoints of all runs are called step-..., so the run is named too."""
    run = record.get("run") or {}
    name = " ".join(filter(None, (run.get("name"), record["model"])))
    name = "".join(letter if letter.isprintable() else " " for letter in name)  # a terminal obeys what is not
    return (
        f"{name}: PER {100 * record['per']:.1f} % on {record['n_utterances']} utterances of "
        f"{record['split']} (dev {100 * record['dev_per']:.1f} %, learning rate {record['learning_rate']:g} of "
        f"{len(record['tried'])}, update {record['best_update']})"
    )
