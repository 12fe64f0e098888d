"""``criterion = "bias"`` in a recipe: the cuts are those of the scores, and the clips that scored are not reported."""

import pytest

from recordings import read_rows, write_csv, write_test
from speechbias import compress
from speechbias.checkpoint import read_checkpoint
from speechbias.compress.cutting import CuttingSession
from speechbias.compress.events import read_events
from speechbias.compress.prune import prune
from speechbias.compress.start import read_prune_recipe
from speechbias.errors import InputError
from speechbias.stimuli import read_stimuli, split_stimuli, write_stimuli
from speechbias.tracking.clips import Clips
from speechbias.training.pretrain import pretrain
from speechbias.training.recipe import read_recipe
from training_runs import digest, write_corpus, write_recipe

FAST = "permutations = 200\nresamples = 100\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A MelHuBERT of four heads, after two updates; its corpus lies beside it."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = write_recipe(folder / "r.toml", "melhubert", write_corpus(folder / "clips"), steps=2, keep=[])
    recipe.write_text(recipe.read_text().replace("heads = 2", "heads = 4"))
    pretrain(read_recipe(recipe), folder / "run")
    return folder


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """The CSVs of two halves of a test."""
    folder = tmp_path_factory.mktemp("stimuli")
    paths = []
    for half in split_stimuli(read_stimuli(write_test(folder, clips=6))):
        paths.append(folder / f"{half.name}.csv")
        write_stimuli(half, paths[-1])
    return paths


def recipe_of(path, trained, scored, *, method="rows", more="", track=""):
    amount = "amount = 4" if method == "rows" else "amount = 1"
    path.write_text(
        f'[model]\ncheckpoint = "{trained / "run" / "checkpoints" / "last"}"\n'
        f'[data]\ntrain = "{trained / "clips"}"\nutterances = 3\ncrop = 0.6\nmin_seconds = 0.0\n[run]\nsave = 1\n'
        f'[prune]\nmethod = "{method}"\n{amount}\nstages = [[2, {8 if method == "rows" else 2}]]\n'
        f'criterion = "bias"\nstimuli = "{scored}"\n{more}{track}'
    )
    return path


def run(recipe, out, **options):
    return prune(read_prune_recipe(recipe, out), out, **options)


@pytest.mark.parametrize(("method", "count"), [("heads", 1), ("rows", 4)])
@pytest.mark.parametrize("more", ["", "train = false\n"])
def test_what_goes_is_what_the_scores_of_the_moment_say(  # noqa: PLR0917
    method, count, more, trained, halves, tmp_path
):
    ended = run(recipe_of(tmp_path / "r.toml", trained, halves[0], method=method, more=more), tmp_path / "out")
    clips, cuts = Clips([read_stimuli(halves[0])]), tmp_path / "out" / "checkpoints"
    before = read_checkpoint(str(cuts / ("cut-0000" if more else "step-00000002")))
    scores = compress.bias_scores(before, clips, what=method, balance=0.5, mel_stats=before.meta.mel_stats)
    first = read_events(tmp_path / "out" / "events.jsonl")[0]
    assert tuple(first.cut["0"]) == compress.lowest(scores, count)[0]
    assert first.criterion == "bias"
    (found,) = compress.measure_influence(before, clips, mel_stats=before.meta.mel_stats)
    said = read_checkpoint(str(ended.checkpoint)).meta.provenance["pruning"]
    assert (said["balance"], said["scored_on"]) == (0.5, {"gender-scored": found.stimuli_sha256})


def test_balance_0_cuts_as_l1(trained, halves, tmp_path):
    cuts = {}
    for name, more in (("l1", ""), ("bias", "balance = 0.0\n")):
        recipe = recipe_of(tmp_path / "r.toml", trained, halves[0], more=more)
        prune(read_prune_recipe(recipe, tmp_path / name, criterion=name), tmp_path / name)  # as --criterion
        cuts[name] = [event.cut for event in read_events(tmp_path / name / "events.jsonl")]
    assert cuts["l1"] == cuts["bias"]


def test_a_run_that_was_stopped_before_a_cut_scores_as_one_that_was_not(trained, halves, tmp_path, monkeypatch):
    recipe = recipe_of(tmp_path / "r.toml", trained, halves[0])
    run(recipe, tmp_path / "whole")
    cut = CuttingSession.cut_if_due

    def dying(self):
        if self.trainer.update == 4:
            raise ZeroDivisionError
        cut(self)

    monkeypatch.setattr(CuttingSession, "cut_if_due", dying)
    with pytest.raises(ZeroDivisionError):
        run(recipe, tmp_path / "stopped")
    monkeypatch.undo()
    run(recipe, tmp_path / "stopped", resume=True)
    assert (tmp_path / "stopped" / "events.jsonl").read_bytes() == (tmp_path / "whole" / "events.jsonl").read_bytes()
    assert digest(tmp_path / "stopped", 6) == digest(tmp_path / "whole", 6)


def test_the_run_tracks_clips_of_other_speakers_and_no_others(trained, halves, tmp_path):
    scored, held_back = halves
    said = f'[track]\nstimuli = "{held_back}"\n{FAST}'
    run(recipe_of(tmp_path / "r.toml", trained, scored, track=said), tmp_path / "out")
    assert (tmp_path / "out" / "results.jsonl").is_file()
    rows = [row | {"path": str(scored.parent / row["path"])} for row in read_rows(scored)]
    again = write_csv(tmp_path / "again.csv", rows)
    for tracked in (scored, again):
        said = f'[track]\nstimuli = "{tracked}"\n{FAST}'
        with pytest.raises(InputError, match=r"shows what gender-scored\.csv chose, and shares"):
            run(recipe_of(tmp_path / "r.toml", trained, scored, track=said), tmp_path / tracked.stem)


def test_clips_that_cannot_be_used_are_refused_before_anything_is_trained(trained, tmp_path):
    missing = write_csv(
        tmp_path / "gone.csv",
        [{"path": f"{n}{key}.wav", "set": key, "group": "", "speaker": ""} for key in "XYAB" for n in range(2)],
    )
    with pytest.raises(InputError, match=r"gone.csv, row 2"):
        run(recipe_of(tmp_path / "r.toml", trained, missing), tmp_path / "out")
    assert not (tmp_path / "out" / "log.jsonl").exists()
