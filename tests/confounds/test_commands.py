"""From the command line: measure with its audit, `stimuli check`, `confounds`, crops, and the page of it all."""

import json
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from recordings import RATE, tone, write_csv
from speechbias.adjusted import Adjustment, adjust_results
from speechbias.audits import audit_survey
from speechbias.checkpoint import load_encoder
from speechbias.cli import app
from speechbias.confounds import Cropped
from speechbias.embeddings import Model
from speechbias.errors import InputError
from speechbias.report import write_report
from speechbias.results import BiasResult, append_records, read_records, read_results, write_vectors
from speechbias.speat import association
from speechbias.stimuli import read_stimuli
from speechbias.survey import Survey
from speechbias.vectors import read_vectors

FAST = {"permutations": 500, "resamples": 200}


def write_longer(folder, *, clips=8):
    """X lasts longer than Y; every clip begins at a high pitch and ends at a low one."""
    rng = np.random.default_rng(0)
    rows = []
    for key, seconds in (("X", 0.6), ("Y", 0.45), ("A", 0.5), ("B", 0.5)):
        for number in range(clips):
            length = seconds + rng.uniform(0, 0.15)
            pitch = {"A": 200, "B": 120}.get(key, 150) * rng.uniform(0.9, 1.1)
            wave = np.concatenate([tone(pitch, seconds=0.3, seed=number), tone(80, seconds=length - 0.3, seed=number)])
            soundfile.write(folder / f"{key}{number}.wav", wave, RATE)
            rows.append({"path": f"{key}{number}.wav", "set": key, "group": f"set {key}", "speaker": f"{key}{number}"})
    return write_csv(folder / "longer.csv", rows)


def survey(folder, out="results.jsonl", **changes):
    tests = [read_stimuli(folder / "longer.csv")]
    return Survey(
        models=["mfcc", "mel"], tests=tests, out=folder / out, options=FAST, cache=folder / "cache", **changes
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A survey with its audit, d adjusted, and the report of it."""
    folder = tmp_path_factory.mktemp("confounds")
    write_longer(folder)
    asked = survey(folder)
    list(asked.measure())
    (folder / "bias only.jsonl").write_bytes((folder / "results.jsonl").read_bytes())
    audit_survey(asked)
    records = adjust_results(
        folder / "results.jsonl", Adjustment(("duration", "level"), permutations=200, resamples=200)
    )
    append_records(folder / "results.jsonl", records)
    results = folder / "results.jsonl"
    others = [record for record in read_records(results) if record["kind"] != "bias"]
    write_report(read_results(results), folder / "report", others=others)
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_the_audit_follows_the_measurements_and_leaves_their_bytes(folder):
    before, after = (folder / name for name in ("bias only.jsonl", "results.jsonl"))
    assert after.read_bytes().startswith(before.read_bytes())
    kinds = [record["kind"] for record in read_records(after)]
    assert kinds == ["bias", "bias", "confounds", "adjusted", "adjusted"]
    audit = read_records(after)[2]
    assert audit["stimuli_sha256"] == read_results(after)[0].stimuli_sha256
    flagged = [covariate["name"] for covariate in audit["covariates"] if covariate["targets"]["flagged"]]
    assert "duration" in flagged


def test_an_audit_that_is_there_is_not_made_again(folder, monkeypatch):
    monkeypatch.setattr("speechbias.audits.describe_clips", None)
    before = (folder / "results.jsonl").read_bytes()
    (held,) = audit_survey(survey(folder))
    assert held == read_records(folder / "results.jsonl")[2]
    assert (folder / "results.jsonl").read_bytes() == before


def test_the_same_survey_gives_the_same_bytes(folder):
    again = survey(folder, "again/results.jsonl")
    list(again.measure())
    audit_survey(again)
    wanted = (folder / "results.jsonl").read_bytes().splitlines()[:3]
    assert (folder / "again" / "results.jsonl").read_bytes().splitlines() == wanted


def test_adjusted_d_is_that_of_the_vectors_and_durations(folder):
    record = read_records(folder / "results.jsonl")[3]
    result = read_results(folder / "results.jsonl")[0]
    clips = read_vectors(folder / result.vectors["path"])
    x, y, a, b = (each[:, 0].astype(float) for each in clips.sets().values())
    s = association(np.concatenate([x, y]), a, b)
    waves = [soundfile.read(folder / f"{key}{i}.wav")[0] for key in "XY" for i in range(8)]
    z = np.array([[len(wave) / RATE, 10 * np.log10(np.mean(wave**2))] for wave in waves])
    rows = np.column_stack([np.ones(16), np.arange(16) < 8, z])
    slopes = np.linalg.lstsq(rows, s, rcond=None)[0]
    assert record["d"] == pytest.approx(result.d)
    assert record["d_adjusted"] == pytest.approx(slopes[1] / s.std(ddof=1), rel=1e-4)  # levels: float32 waves
    assert record["d"] == pytest.approx(record["d_adjusted"] + sum(record["shares"].values()))
    assert record["ci_low"] < record["d_adjusted"] < record["ci_high"]
    assert 0 < record["p_value"] <= 1
    assert record["differences"]["duration"] > 0.5


def test_what_cannot_be_adjusted_is_said(folder, tmp_path):
    results = folder / "results.jsonl"
    with pytest.raises(InputError, match="no covariate height"):
        adjust_results(results, Adjustment(("height",)))
    with pytest.raises(InputError, match="caliper"):
        adjust_results(results, Adjustment(("duration",), caliper=0.0))
    with pytest.raises(InputError, match="no audit of these clips"):
        adjust_results(folder / "bias only.jsonl", Adjustment(("duration",)))
    (tmp_path / "results.jsonl").write_bytes(results.read_bytes())  # without its vectors
    with pytest.raises(InputError, match=r"^longer, mfcc: \S* is not there; keep the folder"):
        adjust_results(tmp_path / "results.jsonl", Adjustment(("duration",)))


def test_confounds_prints_and_appends(folder, tmp_path):
    out = tmp_path / "adjusted.jsonl"
    fast = ("--permutations", 100, "--resamples", 100)
    done = run("confounds", folder / "results.jsonl", "--covariates", "duration", *fast, "-o", out)
    assert done.exit_code == 0
    assert "held equal: duration" in done.output
    assert [record["covariates"] for record in read_records(out)] == [["duration"], ["duration"]]
    run("confounds", folder / "results.jsonl", "--covariates", "duration", *fast, "-o", out)
    assert len(read_records(out)) == 2  # the same records are there once


def test_stimuli_check_shows_the_audit(folder, tmp_path):
    done = run("stimuli", "check", folder / "longer.csv", "-o", tmp_path / "audit.jsonl")
    assert "duration (s)" in done.output
    assert "set X and set Y differ by more than 0.5 SD in duration (+" in done.output
    (record,) = read_records(tmp_path / "audit.jsonl")
    assert (tmp_path / record["facts"]["path"]).is_file()
    line = run("stimuli", "check", folder / "longer.csv", "--json")
    assert json.loads(line.stdout)["covariates"] == record["covariates"]
    assert "duration (s)" not in run("stimuli", "check", folder / "longer.csv", "--no-audit").output


def test_crops_are_measured_and_audited_as_such(folder):
    results = folder / "cropped.jsonl"
    cropped = survey(folder, "cropped.jsonl", crop=0.25)
    list(cropped.measure())
    (record,) = audit_survey(cropped)
    assert record["crop_seconds"] == 0.25
    duration = next(each for each in record["covariates"] if each["name"] == "duration")
    assert duration["targets"] == {"difference": 0.0, "low": None, "high": None, "flagged": False, "sd": 0.0}
    result = read_results(results)[0]
    assert result.recipe["crop_seconds"] == 0.25
    vectors = read_vectors(folder / result.vectors["path"]).array
    wave = soundfile.read(folder / "X0.wav", dtype="float32")[0]
    start = (len(wave) - 4000) // 2
    np.testing.assert_allclose(vectors[0], load_encoder("mfcc").pooled(wave[start : start + 4000]), rtol=1e-5)
    whole = read_results(folder / "results.jsonl")[0]
    assert result.identity != whole.identity
    assert adjust_results(results, Adjustment(("level",), permutations=50, resamples=100))
    both = [read_results(path) + read_records(path) for path in (folder / "results.jsonl", results)]
    measured, others = ([r for each in both for r in each if isinstance(r, kind)] for kind in (BiasResult, dict))
    page = write_report(measured, folder / "both", others=others).page.read_text()
    assert "mfcc (crop 0.25 s)" in page
    assert "longer, the middle 0.25 s of each clip" in page
    assert page.count("also differ in other things") == 1  # once a test, however many audits it has


def test_clips_shorter_than_the_crop_are_refused(folder):
    with pytest.raises(InputError, match=r"row \d+: Y\d.wav lasts .*; --crop 0.58 needs 580.0 ms or more"):
        list(survey(folder, "no.jsonl", crop=0.58).measure())
    with pytest.raises(InputError, match="--crop is -1"):
        survey(folder, "no.jsonl", crop=-1.0).check()
    for short in (0.01, 1e-9):
        with pytest.raises(InputError, match=r"^--crop is \S+, but mfcc needs 0.025 s or more\. Give a longer crop"):
            survey(folder, "no.jsonl", crop=short).check()
    with pytest.raises(InputError, match="--crop is inf"):
        survey(folder, "no.jsonl", crop=float("inf")).check()
    embedded = Survey(models=["a.npz"], tests=[], out=folder / "no.jsonl", crop=0.3)
    with pytest.raises(InputError, match="cannot be cropped"):
        embedded.check()


def test_a_cropped_encoder_says_what_it_is():
    encoder = load_encoder("mfcc")
    cropped = Cropped(encoder, 0.5)
    assert (cropped.sha256, cropped.min_samples) == (encoder.sha256, 8000)
    wave = tone(120, seconds=1.0)
    np.testing.assert_array_equal(cropped.hidden_states(wave), encoder.hidden_states(wave[4000:12000]))


def test_a_cropped_encoder_is_as_large_and_as_pruned_as_the_whole_one():
    """And as distilled, and fitted on the same speakers: records and refusals must not depend on a crop."""
    encoder = SimpleNamespace(
        **dict.fromkeys(("name", "family", "states", "dtype", "sha256", "hidden_states", "pooled"), ""),
        **dict.fromkeys(("num_states", "dim", "sample_rate", "frame_shift", "min_samples"), 1),
        recipe={},
        parameters=7,
        pruned={"method": "heads"},
        distilled={"student_layers": 2},
        fitted_on=frozenset({"someone"}),
    )
    cropped = Cropped(encoder, 0.5)
    assert (cropped.parameters, cropped.fitted_on) == (7, {"someone"})
    assert Model.of(cropped).made_smaller == {"method": "heads", "student_layers": 2}


def test_page_and_markdown_show_it(folder):
    page = (folder / "report" / "index.html").read_text()
    assert "What else differs between the groups" in page
    assert "d with covariates held equal" in page
    assert "duration, level" in page
    assert "wav" not in page.split('<section id="confounds"')[1].split("</section>")[0]
    assert (
        "*set X* and *set Y* differ by more than 0.5 SD in duration (+"
        in (folder / "report" / "model-card.md").read_text()
    )
    table = (folder / "report" / "table.md").read_text()
    assert "| duration (s) |" in table
    assert "**+" in table.split("| duration (s) |")[1].splitlines()[0]


def test_a_report_passes_over_damaged_records(folder, tmp_path):
    broken = [{"kind": "confounds", "schema": 1, "test": "longer"}, {"kind": "adjusted", "schema": 1}]
    write_report(read_results(folder / "results.jsonl"), tmp_path, others=broken)
    assert "What else differs" not in (tmp_path / "index.html").read_text()


def write_holes(folder, name, **changes):
    """The same results, but that one clip of X and two of Y have no duration; and the values of the clips."""
    lines = (folder / "results.jsonl").read_text().splitlines()[:3]
    measured = [json.dumps(json.loads(line) | changes) for line in lines[:2]]
    audit = json.loads(lines[2])
    with np.load(folder / audit["facts"]["path"]) as file:
        values = {key: file[key] for key in "XYAB"}
    values["X"][3, 0] = values["Y"][[0, 7], 0] = np.nan
    out = folder / name
    audit["facts"] = write_vectors(out, values)
    out.write_text("\n".join([*measured, json.dumps(audit)]) + "\n")
    return out, lines, values


def test_clips_without_a_covariate_are_left_out_of_all_three(folder):
    out, lines, values = write_holes(folder, "holes.jsonl")
    record = adjust_results(out, Adjustment(("duration",), caliper=3.0, permutations=50, resamples=100))[0]
    assert (record["n"], record["left_out"]) == ({"X": 7, "Y": 6}, 3)
    x, y, a, b = (
        each[:, 0].astype(float)
        for each in read_vectors(folder / json.loads(lines[0])["vectors"]["path"]).sets().values()
    )
    s = association(np.concatenate([np.delete(x, 3, axis=0), y[1:7]]), a, b)
    assert record["d"] == pytest.approx((s[:7].mean() - s[7:].mean()) / s.std(ddof=1))
    z = np.concatenate([np.delete(values["X"][:, 0], 3), values["Y"][1:7, 0]])
    rows = np.column_stack([np.ones(13), np.arange(13) < 7, z])
    assert record["d_adjusted"] == pytest.approx(np.linalg.lstsq(rows, s, rcond=None)[0][1] / s.std(ddof=1))
    assert record["matched"]["pairs"] >= 2
    assert abs(record["matched"]["differences"]["duration"]) < record["differences"]["duration"]


def test_in_pairs_the_partner_of_a_clip_without_a_value_goes_too(folder):
    """What is left are pairs, permuted within themselves: 2^5 orders, not those of clips that are anybody's."""
    plain = read_results(folder / "results.jsonl")[0]
    with np.load(folder / plain.vectors["path"]) as file:
        arrays = {key: file[key] for key in file.files} | {f"pairs_{key}": np.arange(8) for key in "XY"}
    stored = write_vectors(folder / "results.jsonl", arrays)
    out, _, values = write_holes(folder, "pairs.jsonl", design="pair", vectors=stored)
    record = adjust_results(out, Adjustment(("duration",), permutations=4000, resamples=100))[0]
    kept = [1, 2, 4, 5, 6]
    assert (record["n"], record["left_out"]) == ({"X": 5, "Y": 5}, 6)
    x, y, a, b = (arrays[key][:, 0].astype(float) for key in "XYAB")
    s = association(np.concatenate([x[kept], y[kept]]), a, b)
    z = np.concatenate([values[key][kept, 0] for key in "XY"])
    assert record["p_value"] == pytest.approx(freedman_lane_of_pairs(s, z), abs=0.03)


def freedman_lane_of_pairs(s, z):
    """Every swap within pairs, refitted: the share whose partial correlation is as far from 0."""
    n = len(s) // 2
    group, rest = np.repeat([1.0, 0.0], n), np.column_stack([np.tile(np.eye(n), (2, 1)), z])  # a level for each pair
    fitted = rest @ np.linalg.lstsq(rest, s, rcond=None)[0]

    def correlation(values):
        left, of_group = (v - rest @ np.linalg.lstsq(rest, v, rcond=None)[0] for v in (values, group))
        return abs(left @ of_group) / np.linalg.norm(left)

    hits = []
    for swaps in product([False, True], repeat=n):
        order = np.where([*swaps, *swaps], (np.arange(2 * n) + n) % (2 * n), np.arange(2 * n))
        hits.append(correlation(fitted + (s - fitted)[order]) >= correlation(s) - 1e-9)
    return np.mean(hits)


def test_what_is_the_same_in_all_clips_is_named(folder):
    with pytest.raises(InputError, match=r"longer, mfcc: clipping: the same in all clips, so held equal already"):
        adjust_results(folder / "results.jsonl", Adjustment(("duration", "clipping")))


def test_one_measurement_without_an_audit_does_not_stop_the_others(folder, tmp_path):
    lines = (folder / "results.jsonl").read_text().splitlines()
    other = json.loads(lines[0]) | {"test": "vectors only", "stimuli_sha256": "ee" * 32}
    damaged = json.dumps({"kind": "confounds", "schema": 1, "covariates": 3})
    (folder / "some.jsonl").write_text("\n".join([json.dumps(other), damaged, *lines[:3]]) + "\n")
    fast = ("--permutations", 100, "--resamples", 100)
    done = run("confounds", folder / "some.jsonl", "--covariates", "duration", *fast, "-o", tmp_path / "a.jsonl")
    assert "left out: vectors only, mfcc: " in done.stderr
    assert [record["model"] for record in read_records(tmp_path / "a.jsonl")] == ["mfcc", "mel"]
    with pytest.raises(InputError, match="vectors only, mfcc"):
        adjust_results(folder / "some.jsonl", Adjustment(("duration",), permutations=50, resamples=100))


def test_values_that_the_audit_lacks_are_named(folder):
    lines = (folder / "results.jsonl").read_text().splitlines()[:3]
    audit = json.loads(lines[2])
    audit["covariates"] = [each for each in audit["covariates"] if each["name"] != "rate"]
    (folder / "no rate.jsonl").write_text("\n".join([*lines[:2], json.dumps(audit)]) + "\n")
    with pytest.raises(InputError, match=r"lacks rate.*extra `audit`"):
        adjust_results(folder / "no rate.jsonl", Adjustment(("rate", "duration")))
