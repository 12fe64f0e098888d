"""Records on disk: whole or not at all, the same bytes from the same run, nothing twice."""

import dataclasses
import json
import multiprocessing
import os
import resource
import signal

import numpy as np
import pytest

from speechbias.errors import InputError
from speechbias.results import (
    BiasResult,
    append_results,
    check_writable,
    read_records,
    read_results,
    write_vectors,
)

RESULT = BiasResult(
    test="gender", model="mel", family="features", layer="mean", states="s3prl", d=0.5, p_value=0.01, p_method="exact",
    p_min=0.001, p_attribute=0.02, p_adjusted=None, alternative="two-sided", ci_low=0.1, ci_high=0.9, confidence=0.95,
    ci_attributes=(0.0, 1.0), design="independent", n=dict.fromkeys("XYAB", 5), n_speakers=dict.fromkeys("XYAB", 5),
    groups={"X": "female", "Y": "male", "A": "positive", "B": "negative"}, ddof=1, permutations=1000, resamples=1000,
    seed=0, dtype="float32", model_sha256="0", stimuli_sha256="1", vectors=None,
)  # fmt: skip


def other(**changes):
    return dataclasses.replace(RESULT, **changes)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "deep" / "results.jsonl"
    assert append_results(path, [RESULT, other(layer=3, p_adjusted=0.04)]) == 2
    assert read_results(path) == [RESULT, other(layer=3, p_adjusted=0.04)]
    first = json.loads(path.read_text().splitlines()[0])
    assert (first["schema"], first["kind"], first["ci_attributes"]) == (1, "bias", [0.0, 1.0])
    assert first["p_adjusted"] is None
    assert "step" not in first


@pytest.mark.parametrize("change", [{"layer": 1}, {"seed": 1}, {"model_sha256": "9"}, {"design": "speaker"},
                                    {"stimuli_sha256": "9"}, {"states": "hf"}, {"dtype": "bfloat16"}])  # fmt: skip
def test_only_what_is_new_is_added(tmp_path, change):
    path = tmp_path / "results.jsonl"
    append_results(path, [RESULT])
    before = path.read_bytes()
    assert append_results(path, [other(d=0.7, warnings=["seen again"])]) == 0
    assert path.read_bytes() == before
    assert append_results(path, [RESULT, other(**change)]) == 1
    assert path.read_bytes().startswith(before)


PRUNED = {
    "method": "rows", "criterion": "random", "criterion_seed": 3, "remaining": 512, "of": 3072,
    "parameters": 43_000_000, "parameters_removed": 47_216_640, "pruned_from": "0" * 64,
}  # fmt: skip


def test_how_a_model_was_pruned_is_said_where_it_was_and_makes_no_other_measurement(tmp_path):
    path = tmp_path / "results.jsonl"
    append_results(path, [RESULT])
    assert not PRUNED.keys() & json.loads(path.read_text()).keys()
    assert append_results(path, [other(**PRUNED)]) == 0  # records of before sizes were recorded are still found
    append_results(path, [other(model="pruned", **PRUNED)])
    assert read_results(path)[1] == other(model="pruned", **PRUNED)
    assert json.loads(path.read_text().splitlines()[1]).items() >= PRUNED.items()


def test_nan_never_reaches_the_file(tmp_path):
    path = tmp_path / "results.jsonl"
    append_results(path, [RESULT])
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_results(path, [other(seed=1), other(seed=2, d=float("nan"))])
    assert read_results(path) == [RESULT]
    assert list(tmp_path.iterdir()) == [path]


def _append_under_a_size_limit(path, limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        append_results(path, [other(seed=seed) for seed in range(1, 50)])
    except OSError:
        os._exit(7)


def test_full_disk_leaves_the_old_records(tmp_path):
    path = tmp_path / "results.jsonl"
    append_results(path, [RESULT])
    before = path.read_bytes()
    child = multiprocessing.get_context("fork").Process(target=_append_under_a_size_limit, args=(path, 4000))
    child.start()
    child.join()
    assert child.exitcode == 7
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_lose_nothing(tmp_path):
    path = tmp_path / "results.jsonl"
    fork = multiprocessing.get_context("fork")
    writers = [
        fork.Process(target=lambda who=who: [append_results(path, [other(seed=100 * who + i)]) for i in range(20)])
        for who in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(result.seed for result in read_results(path)) == sorted(
        100 * w + i for w in range(4) for i in range(20)
    )


def test_vectors_have_their_hash_as_name_and_no_time_stamp(tmp_path):
    arrays = {"X": np.ones((2, 3, 4), np.float32)}
    first = write_vectors(tmp_path / "a.jsonl", arrays)
    second = write_vectors(tmp_path / "b.jsonl", arrays)
    assert first["sha256"] == second["sha256"]
    assert first["path"] == f"a.jsonl.vectors/{first['sha256'][:16]}.npz"
    np.testing.assert_array_equal(np.load(tmp_path / first["path"])["X"], arrays["X"])


@pytest.mark.parametrize(
    "content",
    [
        "not json\n",
        "[1, 2]\n",
        '{"kind": "bias"}\n',
        '{"kind": "bias", "schema": 99}\n',
        '{"kind": "bias", "schema": "1"}\n',
    ],
)
def test_what_is_no_result_is_refused_with_its_line(tmp_path, content):
    path = tmp_path / "results.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=r"results\.jsonl, line 1"):
        read_records(path)


def test_outputs_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "results.jsonl", "/dev/full", "/proc/results.jsonl"):
        with pytest.raises(InputError, match=r"-o"):
            check_writable(path)
    check_writable(tmp_path / "new" / "results.jsonl")


def test_a_result_prints_well():
    text = str(RESULT)
    assert "d = +0.50" in text
    assert "female (5)" in text
    assert "\nassociated" in text.replace("  ", "")
    assert "not associated" in str(other(p_attribute=0.2))


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\r"])
def test_line_separators_within_names_break_no_record(tmp_path, mark):
    path = tmp_path / "results.jsonl"
    odd = other(groups={**RESULT.groups, "X": f"fe{mark}male"})
    append_results(path, [odd])
    assert append_results(path, [odd, other(seed=1)]) == 1
    assert read_results(path) == [odd, other(seed=1)]


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "results.jsonl"
    link.symlink_to("disk/real.jsonl")
    check_writable(link)
    append_results(link, [RESULT])
    append_results(link, [other(seed=1)])
    assert link.is_symlink()
    assert len(read_results(tmp_path / "disk" / "real.jsonl")) == 2


def test_a_missing_last_line_break_glues_no_records_together(tmp_path):
    path = tmp_path / "results.jsonl"
    append_results(path, [RESULT])
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    append_results(path, [other(seed=1)])
    assert read_results(path) == [RESULT, other(seed=1)]


@pytest.mark.parametrize(
    "change",
    [
        {"d": None},
        {"p_value": "0.1"},
        {"groups": {}},
        {"skipped": [3]},
        {"ci_attributes": 3},
        {"remaining": "all"},
        {"parameters_removed": [1]},
        {"criterion": ["l1"]},
        {"pruned_from": 0},
        {"vectors": {}},
        {"vectors": "x.npz"},
        {"vectors": {"path": 3, "sha256": "0"}},
    ],
)
def test_records_that_are_not_whole_are_refused(tmp_path, change):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps({**RESULT.to_json(), **change}) + "\n")
    with pytest.raises(InputError, match=r"line 1 is not a whole record"):
        read_results(path)
