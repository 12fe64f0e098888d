"""Whole runs: they learn, they go on after a kill with the same bits, and refuse what makes no sense."""

import json
import os
import re
import shutil
import signal

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from exportable import MEL_STATS, saved, tiny
from probing import RATE, TONES, draw_phones, say, write_recipe, write_speech
from recordings import read_rows, write_csv
from speechbias import cli
from speechbias.checkpoint import load_encoder
from speechbias.errors import InputError
from speechbias.models.config import FAMILIES
from speechbias.probe import sweep as station
from speechbias.probe.folder import refuse_another
from speechbias.probe.model import Probe, ctc_loss
from speechbias.probe.recipe import read_probe_recipe
from speechbias.probe.record import in_words
from speechbias.probe.run import probe
from speechbias.probe.sweep import Bench
from speechbias.probe.utterances import Utterance
from speechbias.results import append_records, read_records
from speechbias.training.step import seeded

DONE = {"record.json", "utterances.tsv", "probe.safetensors", "log.jsonl", "corpus.sha256"}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_speech(tmp_path_factory.mktemp("speech"), count=12)


@pytest.fixture(scope="module")
def whole(table, tmp_path_factory):
    """A run that nobody stopped: its folder."""
    folder = tmp_path_factory.mktemp("whole")
    probe(read_probe_recipe(write_recipe(folder / "r.toml", table)), folder / "run")
    return folder / "run"


def run_one(tmp_path, table, out="run", *, resume=False, models=("mel",), warn=lambda _: None, **changes):
    recipe = read_probe_recipe(write_recipe(tmp_path / "r.toml", table, models=models, **changes))
    return probe(recipe, tmp_path / out, resume=resume, warn=warn)


def files(folder, name="mel"):
    """Bytes of everything that a model's run leaves."""
    (place,) = folder.glob(f"models/{name}-*")
    return {path.name: path.read_bytes() for path in place.iterdir()} | {
        "results": (folder / "results.jsonl").read_bytes()
    }


class Planted:
    """States in which each frame says its phone, a third of the frames nothing, beside a state of noise."""

    def __init__(self, utterances, seed):
        draws = np.random.default_rng(seed)
        self.made = []
        for each in utterances:
            rows = [list(TONES).index(phone) for phone in each.phones for _ in range(4)]
            said = np.eye(len(TONES) + 1)[[len(TONES) if n % 4 == 3 else row for n, row in enumerate(rows)]]
            self.made.append(torch.tensor(np.stack([said, draws.standard_normal(said.shape)]), dtype=torch.float32))
        self.frames = np.array([each.shape[1] for each in self.made])

    def batch(self, rows):
        return torch.cat([self.made[row] for row in rows], dim=1)


def test_eight_utterances_are_learnt_by_heart_from_the_state_that_says_them(tmp_path):
    said = draw_phones(8)
    utterances = [Utterance(f"{n}", None, RATE, f"{n}", tuple(phones), "", "") for n, phones in enumerate(said)]
    changes = {"optim": {"rates": [1e-5, 3e-2]}, "run": {"steps": 100, "evaluate": 50}, "probe": {"utterances": 8}}
    recipe = read_probe_recipe(write_recipe(tmp_path / "r.toml", "t.csv", **changes))
    eight = range(8)
    bench = Bench(recipe, utterances, Planted(utterances, 0), eight, eight, eight, (2, len(TONES) + 1))
    swept = station.sweep(bench, tmp_path, label="planted", warn=print)
    assert swept.chosen.lr == 3e-2
    assert swept.chosen.best.dev_per == 0
    assert swept.rates[0].best.dev_per > 0.5
    assert swept.chosen.probe.shares()[0] > 0.6
    assert bench.transcribe(swept.chosen.probe, eight) == said


def test_a_record_says_what_was_found_and_names_nobody(whole):
    (record,) = read_records(whole / "results.jsonl")
    assert record["kind"] == "per"
    assert record["model"] == "mel"
    assert record["split"] == "test"
    tried = record["tried"]
    assert [each["learning_rate"] for each in tried] == [1e-2, 1e-3]
    best = min(tried, key=lambda each: each["dev_per"])
    assert record["learning_rate"] == best["learning_rate"]
    assert record["dev_per"] == best["dev_per"]
    assert record["n_utterances"] == 3
    assert record["n_speakers"] == 3
    assert set(record["groups"]) == {"gender"}
    assert record["phones"] == "39"
    assert record["lexicon"] is None
    assert record["weights"] == [1.0]
    assert record["num_states"] == 1
    assert record["dim"] == 80
    assert record["updates"] == 6
    errors = record["errors"]
    assert (
        record["per"] == sum(errors[name] for name in ("substitutions", "deletions", "insertions")) / errors["phones"]
    )
    (place,) = whole.glob("models/*")
    assert {path.name for path in place.iterdir()} == DONE
    rows = [line.split("\t") for line in (place / "utterances.tsv").read_text().splitlines()]
    assert rows[0] == ["path", "reference", "hypothesis", "errors"]
    assert len(rows) == 4
    assert sum(int(row[3]) for row in rows[1:]) == round(record["per"] * errors["phones"])
    assert not re.search(r"\bs[0-3]\b", (whole / "results.jsonl").read_text() + (place / "utterances.tsv").read_text())
    log = [json.loads(line) for line in (place / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4, 6]
    assert set(log[0]["rates"]) == {"0.01", "0.001"}
    assert min(line["rates"]["0.001"]["dev_per"] for line in log) == tried[1]["dev_per"]


def test_a_line_of_a_record_names_the_run_and_commands_no_terminal(whole):
    (record,) = read_records(whole / "results.jsonl")
    line = in_words(record | {"model": "a\x1b[31m\nb", "run": {"name": "mine"}})
    assert line.startswith("mine a [31m b: PER ")


def test_each_rate_is_what_it_is_alone(whole, table, tmp_path):
    run_one(tmp_path, table, optim={"rates": [1e-3]})
    (both,), (alone,) = (read_records(folder / "results.jsonl") for folder in (whole, tmp_path / "run"))
    assert alone["tried"] == both["tried"][1:]


@pytest.mark.parametrize("cache", [{"cache": False}, {"keep_cache": True}])
def test_the_cache_changes_no_bit(whole, table, tmp_path, cache):
    run_one(tmp_path, table, probe=cache)
    made = files(tmp_path / "run") if "cache" in cache else None
    if made:
        assert made == files(whole)
    else:
        assert (tmp_path / "run" / "results.jsonl").read_bytes() == (whole / "results.jsonl").read_bytes()
        (place,) = (tmp_path / "run").glob("models/*")
        assert len(list((place / "states").glob("*/states.bin"))) == 1


@pytest.mark.parametrize("end", [(how, at) for how in ("asked", "killed") for at in (1, 3, 5)])
def test_a_sweep_that_is_ended_anywhere_goes_on_with_the_same_bits(whole, table, tmp_path, monkeypatch, end):
    how, at = end
    real, calls = station.Rate.step, iter(range(1, 100))

    def ending(self):
        if next(calls) == 2 * at:  # of two rates
            if how == "killed":
                raise RuntimeError("killed")
            os.kill(os.getpid(), signal.SIGTERM)
        real(self)

    monkeypatch.setattr(station.Rate, "step", ending)
    if how == "killed":
        with pytest.raises(RuntimeError, match="killed"):
            run_one(tmp_path, table)
    else:
        assert run_one(tmp_path, table).asked == "SIGTERM"
    monkeypatch.undo()
    if list((tmp_path / "run").glob("models/*/sweep.pt")):
        with pytest.raises(InputError, match=r"interrupted sweep; go on with it by --resume, or choose"):
            run_one(tmp_path, table)
    assert run_one(tmp_path, table, resume=True).asked is None
    assert files(tmp_path / "run") == files(whole)


def test_a_killed_command_of_several_models_does_what_is_missing(whole, table, tmp_path, monkeypatch):
    real, made = station.sweep, []

    def second_dies(*args, **options):
        made.append(options["label"])
        if len(made) == 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr("speechbias.probe.run.sweep", second_dies)
    with pytest.raises(KeyboardInterrupt):
        run_one(tmp_path, table, models=("mel", "mfcc"))
    assert [each["model"] for each in read_records(tmp_path / "run" / "results.jsonl")] == ["mel"]
    ended = run_one(tmp_path, table, models=("mfcc", "mel"), resume=True)
    assert made == ["mel", "mfcc", "mfcc"]
    assert [each["model"] for each in ended.records] == ["mfcc", "mel"]
    assert [each["model"] for each in read_records(tmp_path / "run" / "results.jsonl")] == ["mel", "mfcc"]
    before = (tmp_path / "run" / "results.jsonl").read_bytes()
    run_one(tmp_path, table, models=("mel", "mfcc"))
    assert len(made) == 3
    assert (tmp_path / "run" / "results.jsonl").read_bytes() == before
    assert files(tmp_path / "run")["record.json"] == files(whole)["record.json"]


def test_a_rate_that_stands_still_ends_before_the_others(table, tmp_path):
    changes = {"optim": {"rates": [1e-30, 3e-2]}, "run": {"steps": 60, "evaluate": 5, "patience": 2}}
    run_one(tmp_path, table, probe={"normalise": True}, **changes)
    (record,) = read_records(tmp_path / "run" / "results.jsonl")
    still, moving = record["tried"]
    assert still["updates"] == 15
    assert moving["updates"] > 15
    assert record["learning_rate"] == 3e-2
    assert moving["best_update"] < moving["updates"] or moving["updates"] == 60


def test_a_rate_that_says_blanks_alone_is_waited_for_while_its_loss_falls(tmp_path):
    recipe = read_probe_recipe(write_recipe(tmp_path / "r.toml", "t.csv"))
    rate = station.Rate(1e-3, Bench(recipe, [], None, [], [], [], (1, 4)))
    for dev_loss, ended in [(5.0, False), (4.0, False), (3.0, False), (3.0, False), (float("nan"), True)]:
        rate.judge(1.0, dev_loss, patience=2)
        assert rate.ended is ended
    assert rate.best.dev_per == 1.0


def test_batches_of_one_update_are_averaged():
    """Of equal batches, two halves give the gradient of the whole."""
    states = torch.randn(2, 12, 4, generator=torch.Generator().manual_seed(0))
    with seeded(0):
        model = Probe(2, 4, 4, hidden=3)
    ctc_loss(model(states), [6, 6], [[1, 2], [3]]).backward()
    whole = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for part, target in ((states[:, :6], [1, 2]), (states[:, 6:], [3])):
        (ctc_loss(model(part), [6], [target]) / 2).backward()
    for parameter, gradient in zip(model.parameters(), whole, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_what_ctc_cannot_say_is_left_out_of_training_alone(table, tmp_path):
    rows = read_rows(table)
    rows[0]["phones"] = " ".join(list(TONES) * 20)
    rows[9]["phones"] = " ".join(list(TONES) * 20)  # of the test, and stays there
    odd = write_csv(table.parent / "infeasible.csv", rows)
    warned = []
    run_one(tmp_path, odd, warn=warned.append)
    (record,) = read_records(tmp_path / "run" / "results.jsonl")
    assert record["n_infeasible"] == 1
    assert record["n_train"] == 5
    assert record["n_utterances"] == 3
    assert any("1 training utterances have fewer frames than CTC needs" in each for each in warned)
    assert next((tmp_path / "run").glob("models/*/infeasible.tsv")).read_text() == "clips/say-00.wav\n"
    for row in rows:
        row["phones"] = rows[0]["phones"]
    odd = write_csv(table.parent / "infeasible-all.csv", rows)
    with pytest.raises(InputError, match="CTC cannot say any of 6 training utterances"):
        run_one(tmp_path, odd, "none")


def test_a_clip_without_a_frame_is_tested_as_silence_even_alone_in_its_batch(table, tmp_path):
    rows = read_rows(table)
    soundfile.write(table.parent / "clips" / "short.wav", say(["AA"])[:20], RATE, subtype="PCM_16")
    rows[9]["path"] = "clips/short.wav"
    odd = write_csv(table.parent / "short.csv", rows)
    run_one(tmp_path, odd, probe={"test_rows": "path=clips/short.wav"})
    (place,) = (tmp_path / "run").glob("models/*")
    cells = (place / "utterances.tsv").read_text().splitlines()[1].split("\t")
    assert cells == ["clips/short.wav", rows[9]["phones"], "", str(len(rows[9]["phones"].split()))]


def test_statistics_of_mel_frames_may_move_and_the_recipe_stays_the_same(table, tmp_path):
    shas = []
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, MEL_STATS)
        path = write_recipe(tmp_path / "r.toml", table, model={"mel_stats": name})
        shas.append(read_probe_recipe(path).sha256)
        (tmp_path / "run" / "models").mkdir(parents=True, exist_ok=True)
        refuse_another(tmp_path / "run", read_probe_recipe(path))
        (tmp_path / "run" / "recipe.toml").write_text(read_probe_recipe(path).to_toml())
    assert shas[0] == shas[1] == read_probe_recipe(write_recipe(path, table)).sha256


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "melhubert", "pruned", "student"])
def test_models_of_ours_are_probed_with_all_their_states(table, tmp_path, kind):
    family = kind if kind in FAMILIES else "hubert"
    changes = {"heads": (4, 2, 1), "ffn": (8, 32, 16)} if kind == "pruned" else {}
    meta = {
        "melhubert": {"mel_stats": MEL_STATS},
        "student": {"provenance": {"distillation": {"teacher_sha256": "t" * 64}}},
    }
    saved(tmp_path / "model", tiny(family, **changes), **meta.get(kind, {}))
    run_one(tmp_path, table, models=(str(tmp_path / "model"),), run={"steps": 2})
    (record,) = read_records(tmp_path / "run" / "results.jsonl")
    assert record["family"] == family
    assert record["num_states"] == len(record["weights"]) == 4
    assert np.sum(record["weights"]) == pytest.approx(1)
    assert record.get("distilled_from") == ("t" * 64 if kind == "student" else None)
    assert record["model_sha256"] == load_encoder(tmp_path / "model").sha256


def test_another_recipe_or_corpus_has_another_folder(whole, table, tmp_path):
    run_one(tmp_path, table)
    moved = tmp_path / "moved"
    shutil.copytree(table.parent, moved)
    elsewhere = {part: str(moved / "phones.csv") for part in ("train", "dev", "test")}
    assert run_one(tmp_path, table, probe=elsewhere).records[0]["model"] == "mel"
    with pytest.raises(InputError, match=r"\[run\] steps was 6 and is now 8; .* choose another --out"):
        run_one(tmp_path, table, run={"steps": 8})
    assert run_one(tmp_path, table, probe={"cache": False, "keep_cache": True}).records  # these change no digit
    rows = read_rows(table)
    rows[9]["phones"] = "AA"
    kept = table.read_bytes()
    write_csv(table, rows)
    try:
        with pytest.raises(InputError, match="the corpus is not that of its record"):
            run_one(tmp_path, table)
    finally:
        table.write_bytes(kept)
    next((tmp_path / "run").glob("models/*/record.json")).write_text("{")
    with pytest.raises(InputError, match=r"record.json is damaged"):
        run_one(tmp_path, table)


def test_a_damaged_state_is_refused(table, tmp_path, monkeypatch):
    real, calls = station._save, iter(range(100))

    def dying(*args):
        real(*args)
        if next(calls) == 1:
            raise RuntimeError("killed")

    monkeypatch.setattr(station, "_save", dying)
    with pytest.raises(RuntimeError):
        run_one(tmp_path, table)
    (path,) = (tmp_path / "run").glob("models/*/sweep.pt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"sweep.pt is damaged; remove it"):
        run_one(tmp_path, table, resume=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"probe": {"test": []}}, r"\[probe\]: test names no audio"),
        ({"probe": {"dev": []}}, "dev_rows is of dev"),
        ({"probe": {"phones": 40}}, r"phones is 40; take one of 39, 71"),
        ({"probe": {"seconds": 3.0}}, "either so many seconds or so many utterances"),
        ({"probe": {"dev_share": 1.0}}, "dev_share is 1.0"),
        ({"probe": {"resamples": 5}}, "resamples is 5"),
        ({"probe": {"hidden": 0}}, "hidden is 0"),
        ({"probe": {"groups": ["gender", "Speaker"]}}, "groups holds 'Speaker', which names people or recordings"),
        ({"probe": {"lexikon": "x"}}, "the nearest is 'lexicon'"),
        ({"optim": {"rates": []}}, "give one or more"),
        ({"optim": {"rates": [1e-2, 1e-2]}}, "give each once"),
        ({"run": {"steps": 0}}, "steps is 0"),
        ({"model": {"models": []}}, "name the models to probe"),
        ({"probe": {"train": "synthetic"}}, "brings its own dev and test"),
    ],
)
def test_recipes_that_make_no_sense(table, tmp_path, changes, said):
    with pytest.raises(InputError, match=said) as caught:
        read_probe_recipe(write_recipe(tmp_path / "r.toml", table, **changes))
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)


def test_recipes_name_models_and_files_from_where_they_lie(table, tmp_path, monkeypatch):
    (tmp_path / "mel").mkdir()
    (tmp_path / "model").mkdir()
    path = write_recipe(tmp_path / "r.toml", "t.csv", models=("mel", "model", "some/hub-id", "random:hubert-small"))
    read = read_probe_recipe(path, seed=7)
    assert read.model.models == ("mel", str(tmp_path / "model"), "some/hub-id", "random:hubert-small")
    assert read.probe.train == (str(tmp_path / "t.csv"),)
    assert read.run.seed == 7
    monkeypatch.chdir(tmp_path)
    assert read_probe_recipe(path, models=["mel", "model"]).model.models == ("mel", str(tmp_path / "model"))
    (tmp_path / "again.toml").write_text(read.to_toml())
    assert read_probe_recipe(tmp_path / "again.toml") == read
    assert read.sha256 != read_probe_recipe(path).sha256


def test_the_command_line(table, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", table)
    answer = CliRunner().invoke(cli.app, ["probe", str(recipe), "--out", str(tmp_path / "run")])
    assert answer.exit_code == 0
    assert "results.jsonl: phone error rates of 1 model. Next:" in answer.output
    assert "mel: PER" in answer.output
    with pytest.raises(InputError, match="did you mean mel"):
        bad = ["probe", str(recipe), "--out", str(tmp_path / "b"), "--model", "mell"]
        CliRunner().invoke(cli.app, bad, catch_exceptions=False)


def test_records_of_other_kinds_are_added_once(tmp_path):
    path = tmp_path / "results.jsonl"
    one, two = ({"kind": "per", "schema": 1, "model": name} for name in "ab")
    assert append_records(path, [one, two, one]) == 2
    assert append_records(path, [two]) == 0
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert append_records(path, [{**one, "model": "c"}]) == 1
    assert [each["model"] for each in read_records(path)] == ["a", "b", "c"]
    path.write_text("no record\n")
    with pytest.raises(InputError, match="line 1 is not a record"):
        append_records(path, [one])
