"""The steps of a run judged together: from stored vectors what ``associate`` gives of all steps at once."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import speechbias as sb
from recordings import write_test
from speechbias.cli import app
from speechbias.errors import InputError
from speechbias.families import find_bands, judge_steps
from speechbias.inference import associate
from speechbias.results import SETS, read_results
from speechbias.vectors import read_vectors

OPTIONS = {"permutations": 2000, "resamples": 200, "seed": 3}
RUN = {"name": "mine", "recipe": "a", "seed": 0}


def read(module, wave):
    """Two states of a spectrum in four bands that the module weighs."""
    bands = np.abs(np.fft.rfft(wave, 512))[:256].reshape(4, 64).mean(1)
    first = torch.from_numpy(bands).float()
    return [first, module(first)]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A results file of four steps of one run, and its records."""
    folder = tmp_path_factory.mktemp("run")
    tracker = sb.BiasTracker(write_test(folder, clips=5), folder / "r.jsonl", pooled=read, run=RUN, **OPTIONS)
    torch.manual_seed(0)
    module = nn.Linear(4, 4)
    for step in (0, 5, 10, 15):
        tracker(step, module)
        with torch.no_grad():
            module.weight.add_(torch.randn(4, 4) / 2)
    return folder / "r.jsonl", read_results(folder / "r.jsonl")


@pytest.mark.parametrize("layer", ["mean", 0, 1])
def test_steps_are_a_family_as_states_are(layer, tracked):
    path, records = tracked
    found = judge_steps(records, {record.identity: path.parent for record in records})
    family = [record for record in records if record.layer == layer]
    stacked = {name: [] for name in SETS}
    for record in family:
        clips = read_vectors(path.parent / record.vectors["path"])
        array = clips.array.astype(np.float64)
        vectors = array.mean(axis=1) if layer == "mean" else array[:, layer]
        for name, part in zip(SETS, np.split(vectors, np.cumsum([clips.n[name] for name in SETS])[:-1]), strict=True):
            stacked[name].append(part)
    arrays = [np.stack(stacked[name], axis=1) for name in SETS]
    tests = associate(*arrays, speakers=clips.speakers, simultaneous=range(4), **OPTIONS)
    judged = [found[record.identity] for record in family]
    assert [each.p_adjusted for each in judged] == [test.p_adjusted for test in tests]
    assert [record.d for record in family] == pytest.approx([test.d for test in tests])
    assert {each.family for each in judged} == {"4 steps of one run"}
    for record, each in zip(family, judged, strict=True):
        assert each.low < record.d < each.high
        assert each.p_adjusted >= record.p_value - 1e-12


def test_records_whose_vectors_are_not_theirs_are_left_out(tracked, tmp_path):
    path, records = tracked
    folder = tmp_path / "r.jsonl.vectors"
    folder.mkdir()
    kept = [record for record in records if record.layer == "mean"]
    for record in kept[:3]:
        name = record.vectors["path"]
        (tmp_path / name).write_bytes((path.parent / name).read_bytes())
    (tmp_path / kept[2].vectors["path"]).write_bytes(b"others")
    found = judge_steps(kept, {record.identity: tmp_path for record in kept})
    assert found.keys() == {record.identity for record in kept[:2]}
    assert {each.family for each in found.values()} == {"2 steps of one run"}
    assert judge_steps(kept[:1], {kept[0].identity: tmp_path}) == {}
    assert judge_steps(kept, {record.identity: tmp_path / "nowhere" for record in kept}) == {}


def test_figure1_says_which_steps_hold_together(tracked, tmp_path):
    path, records = tracked
    done = CliRunner().invoke(app, ["reproduce", "figure1", str(path), "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader((tmp_path / "figure1.csv").read_text().splitlines()))
    found = judge_steps(records, {record.identity: path.parent for record in records})
    by_point = {(r.step, str(r.layer)): found[r.identity].p_adjusted for r in records}
    assert {(int(r["step"]), r["layer"]): float(r["p_adjusted_over_steps"]) for r in rows} == by_point
    assert "Ringed" in (tmp_path / "figure1.svg").read_text()
    alone = tmp_path / "alone.jsonl"  # without vectors it is drawn as before
    alone.write_text("".join(json.dumps({**r.to_json(), "vectors": None}) + "\n" for r in records))
    assert CliRunner().invoke(app, ["reproduce", "figure1", str(alone), "-o", str(tmp_path)]).exit_code == 0
    rows = list(csv.DictReader((tmp_path / "figure1.csv").read_text().splitlines()))
    assert {row["p_adjusted_over_steps"] for row in rows} == {""}


def test_bands_are_records_of_every_family(tracked):
    """Steps of the run, states of each of its checkpoints; what pruning left is a family of its own."""
    path, records = tracked
    places = {record.identity: path.parent for record in records}
    found = find_bands(records, places)
    judged = judge_steps([record for record in records if record.layer == "mean"], places)
    steps = [each for each in found if each["over"] == "steps"]
    assert [each["step"] for each in steps] == [0, 5, 10, 15]
    assert [(each["band_low"], each["p_adjusted"]) for each in steps] == [
        (each.low, each.p_adjusted) for each in judged.values()
    ]
    states = [each for each in found if each["over"] == "states"]
    assert [(each["step"], each["layer"]) for each in states] == [(k, n) for k in (0, 5, 10, 15) for n in (0, 1)]
    assert {each["members"] for each in states} == {"2 states of one model"}
    assert all(each["band_low"] < each["d"] < each["band_high"] for each in found)
    assert {each["kind"] for each in found} == {"band"}
    cut = [
        replace(record, method="rows", parameters_removed=record.step, pruned_from="x")
        for record in records
        if record.layer == "mean"
    ]
    sizes = find_bands(cut, {record.identity: path.parent for record in cut})
    assert [(each["over"], each["parameters_removed"]) for each in sizes] == [("sizes", k) for k in (0, 5, 10, 15)]
    again = [replace(record, model="last") for record in records if record.step == 15]
    everywhere = places | {record.identity: path.parent for record in again}
    assert [each["d"] for each in find_bands([*records, *again], everywhere)] == [each["d"] for each in found]
    apart = [replace(record, run={"name": "out"}, dim=4 + record.step) for record in records if record.layer == "mean"]
    assert find_bands(apart, {record.identity: path.parent for record in apart}) == []  # folders called alike
    seeds = [replace(record, seed=record.step) for record in records if record.layer == "mean"]
    assert find_bands(seeds, {record.identity: path.parent for record in seeds}) == []  # of other options each


def test_bands_from_the_command_line(tracked, tmp_path):
    path, _ = tracked
    done = CliRunner(env={"COLUMNS": "90"}).invoke(
        app, ["compare", str(path), "--bands", "-o", str(tmp_path / "b.jsonl")]
    )
    assert done.exit_code == 0, done.output
    assert "mine: 4 steps of one run" in " ".join(done.stdout.split())
    lines = (tmp_path / "b.jsonl").read_text().splitlines()
    assert len(lines) == 4 + 8
    both = CliRunner().invoke(app, ["compare", str(path), "--bands", "--all-pairs"])
    assert isinstance(both.exception, InputError)
    alone = tmp_path / "alone.jsonl"
    alone.write_text(path.read_text().splitlines()[0] + "\n")
    assert isinstance(CliRunner().invoke(app, ["compare", str(alone), "--bands"]).exception, InputError)
