"""Pre-training end to end: a run that is killed anywhere and resumed is the run that was not, bit for bit."""

import errno
import os
import shutil
import signal

import joblib
import numpy as np
import pytest
import torch
from sklearn.cluster import MiniBatchKMeans
from typer.testing import CliRunner

from speechbias import cli
from speechbias.checkpoint import load_encoder, read_checkpoint
from speechbias.errors import InputError
from speechbias.models.config import FAMILIES
from speechbias.training import watch
from speechbias.training.corpus import make_run_units
from speechbias.training.examples import Examples
from speechbias.training.pretrain import pretrain
from speechbias.training.recipe import read_recipe
from speechbias.training.run import RunFolder, held
from speechbias.training.states import TRAINER
from training_runs import assert_same, digest, dying_at, log_of, run_and_kill, steps_of, write_corpus, write_recipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "clips")


def train(recipe, out, **options):
    return pretrain(read_recipe(recipe), out, **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_recipe_makes_checkpoints_that_load_and_a_log(family, corpus, tmp_path):
    ended = train(write_recipe(tmp_path / "r.toml", family, corpus), tmp_path / "run")
    assert (ended.update, ended.asked) == (6, None)
    assert steps_of(tmp_path / "run") == [0, 2, 6]
    line, last = log_of(tmp_path / "run")
    assert (line["step"], last["step"]) == (4, 6)
    assert line["loss"] > 0
    assert digest(tmp_path / "run", 2) != digest(tmp_path / "run", 6)
    encoder = load_encoder(str(ended.checkpoint))
    assert encoder.family == family
    meta = read_checkpoint(str(ended.checkpoint)).meta
    assert meta.step == 6
    assert meta.provenance["utterances"] == 8
    assert str(tmp_path) not in str(meta)
    assert (meta.mel_stats is not None) == (family == "melhubert")
    assert (meta.quantiser is None) == (family == "wav2vec2")
    assert encoder.pooled(torch.randn(8000).numpy()).shape == (2, 16)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_that_stops_anywhere_goes_on_as_if_it_had_not(family, corpus, tmp_path, monkeypatch):
    recipe = write_recipe(tmp_path / "r.toml", family, corpus, steps=7, log=3)
    train(recipe, tmp_path / "whole")
    dying = dying_at(monkeypatch)
    for dying.at in (3, 6, 7, 11):
        with pytest.raises(ZeroDivisionError):
            train(recipe, tmp_path / "cut", resume=dying.at != 3)
    dying.at = None
    train(recipe, tmp_path / "cut", resume=True)
    assert_same(tmp_path / "cut", tmp_path / "whole", 7)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_whose_newest_checkpoint_is_damaged_ends_as_if_it_were_not(family, corpus, tmp_path, monkeypatch):
    recipe = write_recipe(tmp_path / "r.toml", family, corpus, steps=9, log=3)
    train(recipe, tmp_path / "whole")
    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        dying_at(patched, 14)  # the first batch of update 8
        train(recipe, tmp_path / "cut")
    assert log_of(tmp_path / "cut")[-1]["step"] == 6
    weights = tmp_path / "cut" / "checkpoints" / "step-00000006" / "encoder.safetensors"
    spoilt = bytearray(weights.read_bytes())
    spoilt[-5] ^= 0x20
    weights.write_bytes(spoilt)
    told = []
    train(recipe, tmp_path / "cut", resume=True, warn=told.append)
    assert [text for text in told if "goes on from update 4" in text]
    assert_same(tmp_path / "cut", tmp_path / "whole", 9)


def test_a_run_cannot_be_made_shorter_than_it_is(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", corpus)
    train(recipe, tmp_path / "run")
    before = (tmp_path / "run" / "recipe.toml").read_bytes()
    with pytest.raises(InputError, match=r"has made 6 updates, and \[run\] steps is 4"):
        train(write_recipe(tmp_path / "s.toml", "wav2vec2", corpus, steps=4), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "recipe.toml").read_bytes() == before


@pytest.mark.parametrize("family", ["wav2vec2", "melhubert"])
def test_a_corpus_that_has_changed_is_said_to_have(family, tmp_path):
    corpus = write_corpus(tmp_path / "clips")
    recipe = write_recipe(tmp_path / "r.toml", family, corpus)
    train(recipe, tmp_path / "run")
    (corpus / "clip-3.wav").unlink()
    longer = write_recipe(tmp_path / "s.toml", family, corpus, steps=8)
    with pytest.raises(InputError, match="was trained on another list of utterances than the 7 that are there"):
        train(longer, tmp_path / "run", resume=True)


def test_what_was_warned_of_is_not_said_again_after_a_restart(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "LEAST_CODES", 1e6)  # so that every line of the log is a reason
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", corpus, log=1)
    told = []
    train(recipe, tmp_path / "run", warn=told.append)
    longer = write_recipe(tmp_path / "longer.toml", "wav2vec2", corpus, steps=8, log=1)
    train(longer, tmp_path / "run", resume=True, warn=told.append)
    assert [text[:7] for text in told if "code perplexity" in text] == ["step 1:"]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_sigkill_at_random_moments_loses_nothing(family, corpus, tmp_path):
    """A checkpoint after every update, so that kills fall into saves as well."""
    recipe = write_recipe(tmp_path / "r.toml", family, corpus, steps=60, save=1, log=7, keep=[0, 10, 35])
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_and_kill("pretrain", recipe, whole=whole, killed=killed, kills=4)
    for step in (0, 10, 35, 60):
        assert digest(killed, step) == digest(whole, step)
    assert log_of(killed) == log_of(whole)
    assert steps_of(killed) == steps_of(whole) == [0, 10, 35, 60]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_saves_and_ends(number, corpus, tmp_path, monkeypatch):
    recipe = write_recipe(tmp_path / "r.toml", "melhubert", corpus, save=100, keep=[])
    train(recipe, tmp_path / "whole")
    original, before = Examples.__getitem__, signal.getsignal(number)

    def asking(self, item):
        if item == 5:  # the second batch of the third update
            os.kill(os.getpid(), number)
        return original(self, item)

    with monkeypatch.context() as patched:
        patched.setattr(Examples, "__getitem__", asking)
        ended = train(recipe, tmp_path / "run")
    assert ended.asked == number.name
    assert ended.update == 3
    assert steps_of(tmp_path / "run") == [3]
    assert train(recipe, tmp_path / "run", resume=True).update == 6
    assert digest(tmp_path / "run", 6) == digest(tmp_path / "whole", 6)
    assert signal.getsignal(number) == before


def test_who_asks_when_all_is_saved_is_not_told_that_nothing_was(corpus, tmp_path, monkeypatch):
    recipe, original, before = write_recipe(tmp_path / "r.toml", "wav2vec2", corpus), RunFolder.end, list_handlers()

    def late(run):
        os.kill(os.getpid(), signal.SIGTERM)
        original(run)

    monkeypatch.setattr(RunFolder, "end", late)
    ended = train(recipe, tmp_path / "run")
    assert (ended.update, ended.asked) == (6, None)
    assert list_handlers() == before


def list_handlers():
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)]


def test_readers_do_not_change_a_run(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "hubert", corpus)
    train(recipe, tmp_path / "one")
    recipe.write_text(recipe.read_text().replace("[optim]", "workers = 2\n[optim]"))
    train(recipe, tmp_path / "two")
    assert digest(tmp_path / "one", 6) == digest(tmp_path / "two", 6)


def test_a_seed_makes_another_run(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", corpus)
    train(recipe, tmp_path / "one")
    pretrain(read_recipe(recipe, seed=1), tmp_path / "two")
    assert digest(tmp_path / "one", 0) != digest(tmp_path / "two", 0)


def test_losses_that_are_not_finite_name_their_utterances_and_end_the_run(corpus, tmp_path, monkeypatch):
    original = Examples.__getitem__

    def poisoned(self, number):
        batch = original(self, number)
        if number >= 6:
            batch.inputs[0] = float("nan")
        return batch

    monkeypatch.setattr(Examples, "__getitem__", poisoned)
    recipe = write_recipe(tmp_path / "r.toml", "melhubert", corpus, steps=20, max_skipped=2, log=1)
    told = []
    with pytest.raises(InputError, match="2 updates one after the other without a finite loss"):
        train(recipe, tmp_path / "run", warn=told.append)
    named = [line["skipped_utterances"] for line in log_of(tmp_path / "run") if "skipped_utterances" in line]
    assert len(named) == 2
    assert all(name.startswith("clip-") for names in named for name in names)
    assert sum("not finite" in text for text in told) == 2
    assert steps_of(tmp_path / "run")[-1] == 4


def test_a_run_that_is_done_is_done_and_can_be_made_longer(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", corpus)
    train(recipe, tmp_path / "run")
    before = digest(tmp_path / "run", 6)
    assert train(recipe, tmp_path / "run", resume=True).update == 6
    assert digest(tmp_path / "run", 6) == before
    longer = write_recipe(tmp_path / "longer.toml", "wav2vec2", corpus, steps=8)
    assert train(longer, tmp_path / "run", resume=True).update == 8


def test_of_a_run_that_has_ended_only_what_is_kept_and_the_last_stay(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", corpus, steps=5, save=1, keep=[0, 2])
    train(recipe, tmp_path / "run")
    folders = [tmp_path / "run" / "checkpoints" / f"step-{step:08d}" for step in (0, 2, 5)]
    assert steps_of(tmp_path / "run") == [0, 2, 5]
    assert [(folder / TRAINER).exists() for folder in folders] == [False, False, True]
    longer = write_recipe(tmp_path / "r.toml", "wav2vec2", corpus, steps=7, save=1, keep=[0, 2])
    train(longer, tmp_path / "run", resume=True)
    train(longer, tmp_path / "whole")
    assert steps_of(tmp_path / "run") == [0, 2, 5, 7]
    assert steps_of(tmp_path / "whole") == [0, 2, 7]


def test_a_run_whose_recipe_and_log_were_damaged_goes_on_and_says_so(corpus, tmp_path):
    cut = tmp_path / "cut"
    recipe = write_recipe(tmp_path / "r.toml", "melhubert", corpus, steps=4, log=2, keep=[])
    train(recipe, cut)
    (cut / "recipe.toml").write_bytes(b"")
    (cut / "log.jsonl").unlink()
    longer, told = write_recipe(tmp_path / "longer.toml", "melhubert", corpus, log=2, keep=[]), []
    with pytest.raises(InputError, match=r"recipe.toml is empty: the run's own recipe is lost or damaged; give"):
        train(longer, cut, resume=True)
    assert train(recipe, cut, resume=True, warn=told.append).update == 4
    assert sum("the recipe given is that of the run's checkpoints" in text for text in told) == 1
    assert sum("log.jsonl: 2 of the 2 lines up to update 4 are lost" in text for text in told) == 1
    assert train(longer, cut, resume=True).update == 6
    assert [line["step"] for line in log_of(cut)] == [6]


@pytest.mark.parametrize(("number", "remedy"), [(errno.ENOSPC, "make room on that disk"), (errno.EIO, "mend that")])
def test_a_disk_that_takes_no_more_is_named_with_the_file_and_the_remedy(
    number, remedy, corpus, tmp_path, monkeypatch
):
    def full(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("speechbias.training.states.torch.save", full)
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", corpus)
    done = CliRunner().invoke(cli.app, ["pretrain", str(recipe), "--out", str(tmp_path / "run")])
    assert done.exit_code == 1
    place = tmp_path / "run" / "checkpoints" / "step-00000000"
    assert f"speechbias: {os.strerror(number)}: {place}. Checkpoints written so far are whole; {remedy}" in done.stderr


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_does_not_go_on_with_another_corpus(family, tmp_path):
    corpus = write_corpus(tmp_path / "clips")
    recipe = write_recipe(tmp_path / "r.toml", family, corpus, steps=4)
    train(recipe, tmp_path / "run")
    (corpus / "clip-3.wav").unlink()
    longer = write_recipe(tmp_path / "r.toml", family, corpus)
    with pytest.raises(InputError, match=r"another list of utterances|make units of this corpus"):
        train(longer, tmp_path / "run", resume=True)
    write_corpus(corpus)
    assert train(longer, tmp_path / "run", resume=True).update == 6


def test_units_in_the_run_folder_are_those_that_the_recipe_asks_for(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "hubert", corpus)
    make_run_units(read_recipe(recipe), tmp_path / "run")
    recipe.write_text(recipe.read_text().replace("clusters = 4", "clusters = 5"))
    with pytest.raises(InputError, match=r"holds other labels .clusters 4 there, 5 in the recipe"):
        train(recipe, tmp_path / "run")
    recipe.write_text(recipe.read_text().replace("clusters = 5", "clusters = 4").replace("share = 1.0", "share = 0.9"))
    with pytest.raises(InputError, match=r"holds other labels .share .* there, 0.9 in the recipe"):
        train(recipe, tmp_path / "run")


def test_labels_that_changed_are_not_trained_on(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "hubert", corpus, steps=4)
    train(recipe, tmp_path / "run")
    path = tmp_path / "run" / "units" / "labels.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([(whole[-1] + 1) % 4]))
    longer = write_recipe(tmp_path / "r.toml", "hubert", corpus)
    with pytest.raises(InputError, match=r"labels.npy is damaged"):
        train(longer, tmp_path / "run", resume=True)
    path.write_bytes(whole)
    assert train(longer, tmp_path / "run", resume=True).update == 6


def test_a_recipe_whose_first_start_failed_may_be_corrected(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", tmp_path / "nowhere", steps=4)
    with pytest.raises(InputError, match="does not exist"):
        train(recipe, tmp_path / "run")
    assert train(write_recipe(tmp_path / "r.toml", "wav2vec2", corpus), tmp_path / "run").update == 6


def test_units_are_not_made_where_another_process_is_at_work(corpus, tmp_path):
    recipe = read_recipe(write_recipe(tmp_path / "r.toml", "hubert", corpus))
    with held(tmp_path / "run"), pytest.raises(InputError, match="another process is training there"):
        make_run_units(recipe, tmp_path / "run")
    assert len(make_run_units(recipe, tmp_path / "run").labels) == 8


def test_what_auto_picks_is_said(corpus, tmp_path):
    recipe = str(write_recipe(tmp_path / "r.toml", "hubert", corpus))
    for verb in ("units", "pretrain"):
        done = CliRunner().invoke(cli.app, [verb, recipe, "--out", str(tmp_path / "run"), "--device", "auto"])
        assert done.exit_code == 0, done.output
        assert "device: c" in done.stderr


def test_a_quantiser_that_is_there_labels_another_corpus(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "hubert", corpus)
    first = make_run_units(read_recipe(recipe), tmp_path / "first")
    centres = first.labels.quantiser.centres
    kmeans = MiniBatchKMeans(4, n_init=1).fit(centres)
    kmeans.cluster_centers_ = centres.astype(np.float64)
    joblib.dump(kmeans, tmp_path / "km.bin")
    text = recipe.read_text()
    for number, source in enumerate((tmp_path / "first" / "units", tmp_path / "km.bin")):
        recipe.write_text(text.replace("[units]", f'[units]\nquantiser = "{source}"'))
        for _ in range(2):  # made, then found there
            made = make_run_units(read_recipe(recipe), tmp_path / f"other-{number}")
            assert np.array_equal(made.labels.flat, first.labels.flat)


def test_a_warm_up_that_outlasts_the_run_is_told(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "wav2vec2", corpus)
    recipe.write_text(recipe.read_text().replace("warmup = 2", "warmup = 6"))
    told = []
    train(recipe, tmp_path / "run", warn=told.append)
    assert any("it never reaches [optim] lr" in text for text in told)


def test_training_begins_at_a_checkpoint(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "hubert", corpus)
    train(recipe, tmp_path / "first")
    last = tmp_path / "first" / "checkpoints" / "last"
    text = recipe.read_text().replace("[data]", f'checkpoint = "{last}"\n[data]')
    recipe.write_text(text)
    train(recipe, tmp_path / "second")
    assert digest(tmp_path / "second", 0) == digest(tmp_path / "first", 6)
    recipe.write_text(text.replace("clusters = 4", "clusters = 5"))  # other labels: their embeddings are new
    train(recipe, tmp_path / "third")
    first, third = digest(tmp_path / "first", 6), digest(tmp_path / "third", 0)
    assert {name for name in first if third[name] != first[name]} == {"label_embeddings"}


def test_a_melhubert_that_begins_at_a_checkpoint_hears_through_its_statistics(corpus, tmp_path):
    train(write_recipe(tmp_path / "r.toml", "melhubert", corpus), tmp_path / "first")
    last = tmp_path / "first" / "checkpoints" / "last"
    other = write_corpus(tmp_path / "other", seed=5)
    text = write_recipe(tmp_path / "r.toml", "melhubert", other).read_text()
    np.save(tmp_path / "named.npy", np.stack([np.linspace(1, 9, 40), np.linspace(2, 3, 40)]))
    found, told = {}, {}
    for name, more in (("own", ""), ("corpus", 'mel_stats = "corpus"\n'), ("named", 'mel_stats = "named.npy"\n')):
        (tmp_path / "r.toml").write_text(text.replace("[data]", f'checkpoint = "{last}"\n{more}[data]'))
        told[name] = []
        train(tmp_path / "r.toml", tmp_path / name, warn=told[name].append)
        found[name] = statistics_of(tmp_path / name)
    train(write_recipe(tmp_path / "plain.toml", "melhubert", other), tmp_path / "plain")
    np.testing.assert_array_equal(found["own"], statistics_of(tmp_path / "first"))
    np.testing.assert_array_equal(found["corpus"], statistics_of(tmp_path / "plain"))
    np.testing.assert_array_equal(found["named"], np.load(tmp_path / "named.npy"))
    assert not np.array_equal(found["own"], found["corpus"])
    assert [name for name in told if any("mel statistics are those of" in text for text in told[name])] == ["own"]


def statistics_of(run):
    return read_checkpoint(str(run / "checkpoints" / "last")).meta.mel_stats


@pytest.mark.parametrize("family", FAMILIES)
def test_a_resumed_run_does_not_ask_for_the_checkpoint_that_it_began_at(family, corpus, tmp_path):
    train(write_recipe(tmp_path / "r.toml", family, corpus), tmp_path / "first")
    start = f'checkpoint = "{tmp_path / "first" / "checkpoints" / "last"}"\n[data]'
    for steps in (2, 4):
        recipe = write_recipe(tmp_path / "r.toml", family, corpus, steps=steps)
        recipe.write_text(recipe.read_text().replace("[data]", start))
        assert train(recipe, tmp_path / "run", resume=steps > 2).update == steps
        shutil.rmtree(tmp_path / "first", ignore_errors=True)
    with pytest.raises(InputError, match="first"):
        train(recipe, tmp_path / "another")


@pytest.mark.parametrize(
    ("family", "said", "message"),
    [
        ("hubert", "layers = 2", "has layers 1, .* says 2; leave layers out"),
        ("hubert", "dim = 32", "has dim 16, .* says 32"),
        ("wav2vec2", "ffn = 8", "has ffn 16, .* says 8"),
        ("hubert", "heads = 4", "has heads 2, .* says 4"),
        ("wav2vec2", "channels = 16", "has channels 8, .* says 16"),
        ("melhubert", "frame_ms = 10", "has frame_ms 20, .* says 10"),
        ("melhubert", 'size = "slim"', "has layers 1, the size 'slim' 12; leave size out"),
    ],
)
def test_a_shape_that_the_checkpoint_does_not_have_is_refused(family, said, message, starts, tmp_path):
    corpus, last = starts[0], starts[1][family]
    recipe = write_recipe(tmp_path / "r.toml", family, corpus)
    model = f'[model]\nfamily = "{family}"\ncheckpoint = "{last}"\n'
    rest = recipe.read_text().partition("[data]")[2]
    recipe.write_text(f"{model}{said}\n[data]{rest}")
    with pytest.raises(InputError, match=message):
        train(recipe, tmp_path / "run")
    recipe.write_text(f"{model}layers = 1\ndim = 16\n[data]{rest}")  # those that it has
    assert train(recipe, tmp_path / "fitting").update == 6


@pytest.fixture(scope="module")
def starts(corpus, tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("starts"), {}
    for family in FAMILIES:
        made[family] = train(write_recipe(folder / "r.toml", family, corpus, steps=1), folder / family).checkpoint
    return corpus, made


def test_a_checkpoint_of_another_family_is_refused(corpus, tmp_path):
    text = write_recipe(tmp_path / "r.toml", "hubert", corpus).read_text()
    (tmp_path / "r.toml").write_text(text.replace("[data]", 'checkpoint = "random:wav2vec2-small"\n[data]'))
    with pytest.raises(InputError, match="is a wav2vec2, the recipe's is hubert"):
        train(tmp_path / "r.toml", tmp_path / "run")


def test_units_of_a_hidden_state_teach_the_second_iteration(corpus, tmp_path):
    first = write_recipe(tmp_path / "r.toml", "hubert", corpus)
    train(first, tmp_path / "first")
    last = tmp_path / "first" / "checkpoints" / "last"
    more = f'features = "state"\nstate = 1\ncheckpoint = "{last}"\nclusters = 4'
    first.write_text(first.read_text().replace("clusters = 4", more))
    made = make_run_units(read_recipe(first), tmp_path / "second")
    assert made.labels.rate == 50
    train(first, tmp_path / "second")
    meta = read_checkpoint(str(tmp_path / "second" / "checkpoints" / "last")).meta
    assert meta.quantiser["features"]["kind"] == "state"


def test_the_command_line_trains_and_says_what_comes_next(corpus, tmp_path):
    recipe = write_recipe(tmp_path / "r.toml", "melhubert", corpus)
    out = str(tmp_path / "run")
    units = CliRunner().invoke(cli.app, ["units", str(recipe), "--out", out])
    assert units.exit_code == 0, units.output
    assert "8 utterances labelled at 100 Hz with 4 clusters" in units.output
    trained = CliRunner().invoke(cli.app, ["pretrain", str(recipe), "--out", out])
    assert trained.exit_code == 0, trained.output
    assert "6 updates. Next: speechbias measure" in trained.output
    again = CliRunner().invoke(cli.app, ["pretrain", str(recipe), "--out", out])
    assert isinstance(again.exception, InputError)
    assert "--resume" in str(again.exception)


def test_wav2vec2_has_no_units(corpus, tmp_path):
    with pytest.raises(InputError, match="learns no labels"):
        make_run_units(read_recipe(write_recipe(tmp_path / "r.toml", "wav2vec2", corpus)), tmp_path / "run")
