"""How a command ends that cannot go on: asked to stop, a full disk; and what is then there."""

import os
import signal

import pytest
from typer.testing import CliRunner

import speechbias as sb
from exportable import saved, tiny
from full_disk import small_files
from probing import write_recipe, write_speech
from recordings import read_rows, write_csv, write_test
from speechbias import cli
from speechbias.export import export_checkpoint
from speechbias.probe import states, sweep
from speechbias.removal import remove
from speechbias.results import read_records

probes = pytest.importorskip("benchmarks.probe", reason="benchmarks/ is not on the path")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_speech(tmp_path_factory.mktemp("speech"), count=12)


def called(tmp_path, table, *options, **changes):
    recipe = write_recipe(tmp_path / "r.toml", table, **changes)
    return CliRunner().invoke(cli.app, ["probe", str(recipe), "--out", str(tmp_path / "run"), *options])


def asking(monkeypatch, module, name, at):
    """Patch a function so that the n-th call of it asks this process to stop."""
    real, calls = getattr(module, name), iter(range(1, 10**6))

    def patched(*args, **options):
        if next(calls) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **options)

    monkeypatch.setattr(module, name, patched)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ((states, "read_audio"), "SIGTERM: states so far are kept. Go on"),
        ((sweep, "ctc_loss"), "SIGTERM: saved. Go on"),
    ],
    ids=["states", "sweep"],
)
def test_a_command_that_is_asked_to_stop_ends_with_1_and_goes_on(table, tmp_path, monkeypatch, where, said):
    asking(monkeypatch, *where, 5)
    ended = called(tmp_path, table)
    assert ended.exit_code == 1
    assert said in ended.output
    monkeypatch.undo()
    assert called(tmp_path, table, "--resume").exit_code == 0
    assert len(read_records(tmp_path / "run" / "results.jsonl")) == 1


def test_a_full_disk_is_named(table, tmp_path):
    with small_files(20_000):
        ended = called(tmp_path, table)
    assert ended.exit_code == 1
    assert "states.bin" in ended.output
    assert "then go on with --resume" in ended.output
    assert called(tmp_path, table).exit_code == 0


def test_a_seed_of_the_command_line_makes_another_run(table, tmp_path):
    called(tmp_path, table)
    (before,) = read_records(tmp_path / "run" / "results.jsonl")
    (tmp_path / "other").mkdir()
    called(tmp_path / "other", table, "--seed", "1")
    (after,) = read_records(tmp_path / "other" / "run" / "results.jsonl")
    assert (before["seed"], after["seed"]) == (0, 1)
    assert before["tried"] != after["tried"]


def test_an_exported_encoder_is_probed_as_it_is_shipped(table, tmp_path):
    checkpoint = saved(tmp_path / "model", tiny("hubert"), whole=False)
    exported = export_checkpoint(checkpoint, tmp_path / "exported", format="onnx", latency=False)
    models = [str(checkpoint), str(exported)]
    assert called(tmp_path, table, model={"models": models}, run={"steps": 2}).exit_code == 0
    ours, shipped = read_records(tmp_path / "run" / "results.jsonl")
    assert shipped["num_states"] == ours["num_states"]
    assert shipped["weights"] == pytest.approx(ours["weights"], abs=1e-3)


def test_what_was_removed_from_is_another_model_than_its_base(table, tmp_path):
    fitted = sb.read_stimuli(write_test(tmp_path, name="fit", seed=0, clips=8))
    remove("mel", fitted, tmp_path / "without")
    assert called(tmp_path, table, model={"models": ["mel", str(tmp_path / "without")]}).exit_code == 0
    base, without = read_records(tmp_path / "run" / "results.jsonl")
    assert (base["model"], without["model"]) == ("mel", "without")
    assert base["model_sha256"] != without["model_sha256"]
    assert base["corpus_sha256"] == without["corpus_sha256"]
    assert base["dev_per"] != without["dev_per"]


@pytest.mark.slow
def test_a_whisper_encoder_is_probed(shared, table, tmp_path):
    pytest.importorskip("transformers")
    model = str(shared / "models" / "whisper-tiny.en")
    rows = read_rows(table)
    few = write_csv(table.parent / "few.csv", [rows[0], rows[6], rows[9]])  # each takes the time of 30 s
    assert called(tmp_path, few, model={"models": [model]}, run={"steps": 2}).exit_code == 0
    (record,) = read_records(tmp_path / "run" / "results.jsonl")
    assert (record["family"], record["num_states"], record["dim"]) == ("whisper", 5, 384)


def test_the_benchmark_runs_in_small(capsys):
    probes.main("mel", rounds=1, clips=2, seconds=1.0)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 5
    assert all("recomputed" in line for line in said)
