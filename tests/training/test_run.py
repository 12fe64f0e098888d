"""The folder of a run: what is kept, what outlives a crash at any moment, what is refused."""

import os
import shutil
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from full_disk import small_files
from objectives import SETTINGS, made
from speechbias.checkpoint.content import Meta, of_objective
from speechbias.errors import InputError
from speechbias.training.recipe import resolved
from speechbias.training.run import held, open_run
from speechbias.training.states import SEAL, TRAINER

RECIPE = resolved({"model": {"family": "melhubert"}, "data": {"train": "x"}}, "here")


class CrashError(Exception):
    pass


def content(step):
    model = made("melhubert", seed=step, dtype=torch.float32)
    return of_objective(f"step-{step}", model, SETTINGS["melhubert"], meta=Meta(step=step))


def save(run, step, *, kept=False):
    state = {"update": step, "tensor": torch.full((3,), float(step)), "moments": torch.zeros(50_000)}
    return run.save(content(step), state, kept=kept)


def opened(folder, **options):
    return open_run(folder, RECIPE, **{"resume": True, **options})


def test_the_last_two_and_the_kept_stay_and_the_last_two_can_be_gone_on_from(tmp_path):
    with opened(tmp_path / "run") as run:
        for step, kept in ((0, True), (2, False), (4, True), (6, False), (8, False)):
            save(run, step, kept=kept)
        assert run.steps() == [0, 4, 6, 8]
        with_state = [step for step in run.steps() if (run.checkpoints / f"step-{step:08d}" / TRAINER).exists()]
        assert with_state == [6, 8]
        assert not (run.checkpoints / "step-00000004" / SEAL).exists()
        assert (run.checkpoints / "last").readlink() == Path("step-00000008")
        checkpoint, state = run.last()
    assert checkpoint.meta.step == state["update"] == 8
    assert torch.equal(state["tensor"], torch.full((3,), 8.0))
    assert not [path for path in run.checkpoints.iterdir() if path.name.startswith(".")]


def test_last_may_be_a_folder_in_a_copy_of_a_run(tmp_path):
    with opened(tmp_path / "run") as run:
        save(run, 2)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")  # follows links
    assert not (tmp_path / "copy" / "checkpoints" / "last").is_symlink()
    with opened(tmp_path / "copy") as run:
        save(run, 4)
        assert (run.checkpoints / "last").readlink() == Path("step-00000004")
        assert sorted(path.name for path in run.checkpoints.iterdir()) == ["last", "step-00000002", "step-00000004"]


def test_nothing_there_is_nothing_to_go_on_from(tmp_path):
    with opened(tmp_path / "run") as run:
        assert run.last() is None
        assert run.steps() == []


CALLS = [(os, "rename"), (os, "replace"), (os, "unlink"), (os, "symlink"), (os, "rmdir"), (os, "mkdir"), (os, "fsync")]


@contextmanager
def dying(after):
    """The n-th call raises, and so does every later one, as if the process were gone; gives how many were made."""
    made = [0]

    def wrapped(real):
        def call(*args, **kwargs):
            made[0] += 1
            if made[0] > after:
                raise CrashError
            return real(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patched:
        for module, name in CALLS:
            patched.setattr(module, name, wrapped(getattr(os, name)))
        yield made


@pytest.mark.parametrize("after", range(70))
def test_a_crash_at_any_call_to_the_file_system_leaves_a_whole_newest_checkpoint(after, tmp_path):
    folder = tmp_path / "run"
    with opened(folder) as run:
        save(run, 2)
        save(run, 4, kept=True)
        crashed = False
        with dying(after) as calls:
            try:
                save(run, 6)
            except CrashError:
                crashed = True
        assert crashed == (calls[0] > after)
    with opened(folder) as run:
        checkpoint, state = run.last()
        assert checkpoint.meta.step == state["update"]
        assert checkpoint.meta.step in {4, 6}
        assert crashed or checkpoint.meta.step == 6
        assert checkpoint.objective() is not None
        assert set(run.steps()) in ({2, 4}, {2, 4, 6}, {4, 6})
        save(run, 8)
        assert run.steps() in ([4, 8], [4, 6, 8])
        save(run, 10)
        assert run.steps() == [4, 8, 10]
        assert not [path for path in run.checkpoints.iterdir() if path.name.startswith(".")]


def test_the_crash_test_reaches_every_call(tmp_path):
    with opened(tmp_path / "run") as run:
        save(run, 2)
        save(run, 4, kept=True)
        with dying(10**6) as calls:
            save(run, 6)
    assert 5 <= calls[0] < 70


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("after", range(16))
def test_of_a_run_that_has_ended_the_kept_and_the_last_stay_whatever_happens(after, kept, tmp_path):
    with opened(tmp_path / "run") as run:
        save(run, 0, kept=True)
        save(run, 4, kept=kept)
        save(run, 6, kept=True)
        with dying(after) as calls, suppress(CrashError):
            run.end()
    assert calls[0] < 16
    with opened(tmp_path / "run") as run:
        assert run.last()[0].meta.step == 6
        run.end()
        assert run.steps() == ([0, 4, 6] if kept else [0, 6])
        assert [step for step in run.steps() if (run.of(step) / TRAINER).exists()] == [6]
        assert not list(run.checkpoints.glob(".*"))
        assert run.last()[1]["update"] == 6
        run.end()  # again, and nothing goes
        assert run.steps()[-1] == 6
        save(run, 8)  # it was made longer
        assert [step for step in run.steps() if (run.of(step) / TRAINER).exists()] == [6, 8]


@pytest.mark.parametrize("room", [100, 2_000, 60_000, 150_000])
def test_a_full_disk_leaves_the_checkpoints_before_it(room, tmp_path):
    """No file may grow beyond ``room`` bytes: what writing to a full disk is, wherever in the save it strikes."""
    with opened(tmp_path / "run") as run:
        save(run, 2)
        sizes = [path.stat().st_size for path in (run.checkpoints / "step-00000002").iterdir()]
        assert max(sizes) > 150_000
        with small_files(room), pytest.raises(OSError, match=r".+") as full:
            save(run, 4)
        assert Path(full.value.filename).is_relative_to(run.checkpoints / "step-00000004")
        assert run.steps() == [2]
        assert run.last()[0].meta.step == 2
        assert not list(run.checkpoints.glob(".*"))


def test_a_run_is_not_begun_twice_and_is_gone_on_with_its_own_recipe(tmp_path):
    with opened(tmp_path / "run", resume=False) as run:
        save(run, 2)
    with pytest.raises(InputError, match="go on with it by --resume"), opened(tmp_path / "run", resume=False):
        pass
    other = replace(RECIPE, optim=replace(RECIPE.optim, lr=3e-4))
    with pytest.raises(InputError, match=r"\[optim\] lr was 0.0001 and is now 0.0003"):
        open_run(tmp_path / "run", other, resume=True).__enter__()
    longer = replace(RECIPE, run=replace(RECIPE.run, steps=RECIPE.run.steps + 1, save=7))
    with open_run(tmp_path / "run", longer, resume=True) as run:
        assert f"steps = {longer.run.steps}" in (run.folder / "recipe.toml").read_text()


def written(run, step, recipe=RECIPE):
    """A checkpoint that says by which recipe it was made."""
    made = content(step)
    meta = replace(made.meta, provenance={"recipe_sha256": recipe.sha256})
    run.save(replace(made, meta=meta), {"update": step}, kept=False)


DAMAGES = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "no text": lambda path: path.write_bytes(b"\xff\xfe"),
    "cut": lambda path: path.write_text(path.read_text().partition("[run]")[0]),
    "other": lambda path: path.write_text("model = 3\n"),
    "deep": lambda path: path.write_text("model = " + 100_000 * "["),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_recipe_is_named_and_the_runs_own_one_mends_it(damage, tmp_path):
    path, told = tmp_path / "run" / "recipe.toml", []
    with opened(tmp_path / "run") as run:
        written(run, 2)
        written(run, 4)
    whole = path.read_bytes()
    DAMAGES[damage](path)
    other = replace(RECIPE, optim=replace(RECIPE.optim, lr=3e-4))
    with pytest.raises(
        InputError, match=r"recipe.toml .*: the run's own recipe is lost or damaged; give the"
    ) as error:
        open_run(tmp_path / "run", other, resume=True).__enter__()
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="go on with it by --resume"):
        open_run(tmp_path / "run", RECIPE, resume=False).__enter__()
    with opened(tmp_path / "run", warn=told.append) as run:
        assert run.last()[1]["update"] == 4
    assert path.read_bytes() == whole
    assert len(told) == 1
    assert "is lost or damaged; the recipe given is that of the run's checkpoints" in told[0]
    with opened(tmp_path / "run", warn=told.append):
        assert len(told) == 1


def test_a_recipe_that_somebody_changed_in_the_folder_does_not_hide_the_runs_own(tmp_path):
    path, told = tmp_path / "run" / "recipe.toml", []
    with opened(tmp_path / "run") as run:
        written(run, 2)
    path.write_text(path.read_text().replace("lr = 0.0001", "lr = 0.0003"))
    with opened(tmp_path / "run", warn=told.append):
        assert "lr = 0.0001" in path.read_text()
    assert "[optim] lr was 0.0003 and is now 0.0001; the recipe given is that of" in told[0]


def test_checkpoints_that_say_nothing_vouch_for_no_recipe(tmp_path):
    with opened(tmp_path / "run") as run:
        save(run, 2)  # of no recipe
        written(run, 4)
        (run.of(4) / "meta.json").write_text("[]")
    (tmp_path / "run" / "recipe.toml").write_text("")
    with pytest.raises(InputError, match=r"recipe\.toml is empty"):
        opened(tmp_path / "run").__enter__()


def test_two_processes_do_not_train_into_one_folder(tmp_path):
    with opened(tmp_path / "run"), pytest.raises(InputError, match="another process is training there"):
        opened(tmp_path / "run").__enter__()
    with opened(tmp_path / "run"):  # and the lock is given back
        pass


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="choose another --out"):
        open_run(tmp_path / "file" / "run", RECIPE, resume=False).__enter__()


def spoil(path, damage):
    """Damage a file of a checkpoint, in one of the ways of disks and people."""
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        content = bytearray(path.read_bytes())
        content[len(content) * 2 // 3] ^= 0x10  # within the tensors, where no reader looks
        path.write_bytes(content)


FILES = (TRAINER, SEAL, "config.json", "encoder.safetensors", "objective.safetensors", "meta.json")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "flipped"])
def test_a_damaged_newest_checkpoint_is_put_aside_and_the_one_before_gone_on_from(file, damage, tmp_path):
    with opened(tmp_path / "run") as run:
        for step in (2, 4, 6):
            path = save(run, step)
    spoil(path / file, damage)
    told = []
    with opened(tmp_path / "run") as run:
        checkpoint, state = run.last(warn=told.append)
        assert checkpoint.meta.step == state["update"] == 4
        assert str(path / file) in told[0]
        assert "goes on from update 4" in told[0]
        assert (run.checkpoints / "last").readlink() == Path("step-00000004")
        assert (run.folder / "damaged-step-00000006").is_dir()
        save(run, 6)
        assert run.last(warn=told.append)[0].meta.step == 6
        assert len(told) == 1
        assert run.steps() == [4, 6]


def test_where_all_are_damaged_it_is_said_in_a_line_and_nothing_is_moved(tmp_path):
    with opened(tmp_path / "run") as run:
        paths = [save(run, step) for step in (2, 4)]
        for path in paths:
            spoil(path / TRAINER, "flipped")
        with pytest.raises(InputError, match=r"4/trainer.pt is damaged.*choose another --out"):
            run.last()
        assert run.steps() == [2, 4]


def test_nothing_in_a_state_runs(tmp_path):
    with opened(tmp_path / "run") as run:
        path = run.save(content(2), {"bomb": Bomb(tmp_path / "ran")}, kept=False)
        with pytest.raises(InputError, match="damaged"):
            run.last()
    assert path.exists()
    assert not (tmp_path / "ran").exists()


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_rests_of_a_killed_run_are_swept_away(tmp_path):
    with opened(tmp_path / "run") as run:
        save(run, 2)
        shutil.copytree(run.checkpoints / "step-00000002", run.checkpoints / ".step-00000004.x.part")
        (run.checkpoints / ".last.part").symlink_to("nowhere")
    with opened(tmp_path / "run") as run:
        assert sorted(path.name for path in run.checkpoints.iterdir()) == ["last", "step-00000002"]


def test_readers_that_outlive_a_run_do_not_keep_its_lock(tmp_path):
    heard, says = os.pipe()
    with held(tmp_path):
        child = os.fork()
        if not child:  # as a reader of the DataLoader
            os.write(says, b"here")
            time.sleep(30)
            os._exit(0)
    assert os.read(heard, 4) == b"here"
    try:
        with held(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(heard)
        os.close(says)
