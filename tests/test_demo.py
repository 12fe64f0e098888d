"""The demo: what was planted is found, what was not is not, and the same seed gives the same results."""

import csv
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from shell import call
from speechbias.compress.start import distill_recipe, prune_recipe
from speechbias.demo import SideBySide, run_demo, run_training, stages, write_page
from speechbias.demo.recipes import (
    BASE,
    DISTILLED,
    FAMILIES,
    PROBED,
    PRUNED,
    PRUNING,
    SHAPES,
    STUDENTS,
    TINY,
    UNTRAINED,
    pretraining,
)
from speechbias.errors import InputError
from speechbias.extras import MissingExtraError
from speechbias.models.network import Network
from speechbias.probe.errors import count_errors
from speechbias.probe.recipe import probe_recipe, read_probe_recipe
from speechbias.results import read_results
from speechbias.training import clustering
from speechbias.training.recipe import read_keys, read_recipe, resolved

RECIPES = Path(__file__).parents[1] / "recipes" / "tiny"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return run_demo(tmp_path_factory.mktemp("demo") / "first", workers=2)


def means(results, test):
    return {r.model: r for r in results if r.test == test and r.layer == "mean"}


def test_the_planted_association_is_found_and_the_null_is_not(demo):
    planted, null = means(demo.results, "planted"), means(demo.results, "null")
    assert list(planted) == ["stft", "spectrogram", "mel", "mfcc", *UNTRAINED]
    for feature in ("mel", "mfcc"):
        assert planted[feature].d > 0.5
        assert planted[feature].associated
        assert planted[feature].p_value < 0.01 < null[feature].p_value
        assert not null[feature].associated
    assert planted["mel"].design == "speaker"
    assert null["mel"].design == "within-speaker"


@pytest.mark.parametrize("model", UNTRAINED)
def test_the_untrained_models_are_measured_in_every_state(demo, model):
    layers = [r.layer for r in demo.results if r.model == model and r.test == "null"]
    assert layers == ["mean", 0, 1, 2, 3]


def test_the_page_stands_alone(demo):
    page = demo.page.read_text(encoding="utf-8")
    assert "planted" in page
    assert str(demo.page.parents[1]) not in page
    assert 'src="http' not in page
    assert "<audio" not in page


def test_the_same_seed_gives_the_same_bytes(demo, tmp_path):
    again = run_demo(tmp_path / "again")  # one worker, where the first run had two
    first, second = demo.page.parents[1], again.page.parents[1]
    assert (first / "results.jsonl").read_bytes() == (second / "results.jsonl").read_bytes()
    assert demo.page.read_bytes() == again.page.read_bytes()


def test_another_seed_replaces_the_results(demo, tmp_path):
    shutil.copytree(demo.page.parents[1], tmp_path / "out")
    other = run_demo(tmp_path / "out", seed=1, workers=2)
    stored = read_results(tmp_path / "out" / "results.jsonl")
    assert stored == list(other.results)
    assert [r.d for r in stored] != [r.d for r in demo.results]


def test_a_tiny_model_is_trained_on_the_voices_and_learns(demo):
    out = demo.page.parents[1]
    with SideBySide() as beside:
        trained = run_training(out, beside, families=("melhubert",))
        assert trained.updates == 60
        assert trained.last_loss < trained.first_loss - 0.3
        assert {result.test for result in trained.results} == {"planted", "null"}
        steps = [result.step for result in trained.results if (result.test, result.layer) == ("planted", "mean")]
        assert steps == [0, 10, 20, 40, 60]
        assert len({result.model_sha256 for result in trained.results}) == 5
        deep = read_results(out / "runs" / "melhubert-deep" / "results.jsonl")
        assert {result.step for result in deep} == {0, 10, 20}
        page = write_page(out).read_text(encoding="utf-8")
        assert "not over training runs" in page
        assert "melhubert-deep" in page
        assert (out / "report" / "steps.svg").is_file()
        again = run_training(out, beside, families=("melhubert",))  # made anew
    assert (again.last_loss, again.results) == (trained.last_loss, trained.results)


def test_what_one_run_of_several_says_ends_the_demo(demo, tmp_path):
    shutil.copytree(demo.page.parents[1], tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "stimuli" / "clips")
    with SideBySide() as beside, pytest.raises(InputError):
        run_training(tmp_path / "out", beside, families=("melhubert",))


def test_the_demos_base_is_the_tiny_recipe():
    tiny = read_recipe(RECIPES / "pretrain-melhubert.toml")
    said = pretraining(*BASE.split("-"))
    assert resolved({**said, "data": {**said["data"], "train": list(tiny.data.train)}}, "demo") == tiny
    assert said == {name: TINY[name] for name in said}


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_of_a_family_are_alike_in_parameters(family):
    """As the paper's small and slim: what differs is the shape."""
    counts = []
    for shape in SHAPES:
        model = resolved({**pretraining(family, shape), "data": {"train": "x"}}, "demo").model
        counts.append(sum(tensor.numel() for tensor in Network(model.config()).parameters()))
    assert max(counts) < 1.15 * min(counts)


@pytest.mark.parametrize("method", PRUNING)
def test_the_demos_prunings_are_the_tiny_ones(method, tmp_path):
    path = RECIPES / f"prune-{method}.toml"
    tiny = read_keys(path)
    said = {**PRUNED, "prune": {"method": method, **PRUNING[method]}}
    said["data"] = {**said["data"], "train": tiny["data"]["train"]}
    shown, theirs = (prune_recipe({**keys, "model": tiny["model"]}, tmp_path, "demo") for keys in (said, tiny))
    assert shown == theirs


def test_the_demos_students_are_the_tiny_one_and_a_larger(tmp_path):
    tiny = read_keys(RECIPES / "distill.toml")
    said = {**DISTILLED, "data": {**DISTILLED["data"], "train": tiny["data"]["train"]}}
    for layers in STUDENTS:
        ours = {**said, "distill": {"layers": layers}, "model": tiny["model"]}
        theirs = {**tiny, "distill": {"layers": layers}}
        assert distill_recipe(ours, tmp_path, "demo") == distill_recipe(theirs, tmp_path, "demo")
    assert tiny["distill"]["layers"] == min(STUDENTS)


def test_the_demos_probes_are_the_tiny_ones():
    tiny = read_probe_recipe(RECIPES / "probe.toml", models=["mel"])
    assert probe_recipe({**PROBED, "model": {"models": ["mel"]}}, "demo") == tiny


def test_demo_from_the_command_line(tmp_path):
    command = [sys.executable, "-m", "speechbias", "demo", "-o", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1500, check=True)
    assert "planted" in done.stdout
    assert "The page: out/report/index.html" in done.stdout
    assert "out/runs/melhubert-wide/checkpoints/last, 60 updates" in done.stdout
    page = (tmp_path / "out" / "report" / "index.html").read_text(encoding="utf-8")
    made = re.findall(r"^(?:Table|Figure) \d: (.+)$", done.stdout, re.MULTILINE)
    assert len(made) == 5
    assert all((tmp_path / path).is_file() for path in made)
    assert {path.name for path in (tmp_path / "out" / "runs").iterdir()} == {
        f"{family}-{shape}" for family in FAMILIES for shape in SHAPES
    }
    assert "Size by size of pruning" in page
    assert {path.name for path in (tmp_path / "out" / "pruned").iterdir()} == {
        f"{method}-{run}" for method in PRUNING for run in ("l1-0", "random-1", "random-2")
    }
    pruned = read_results(tmp_path / "out" / "pruned" / "heads-l1-0" / "results.jsonl")
    assert [result.remaining for result in pruned if result.test == "planted"] == [8, 8, 6, 4, 2]
    assert all(result.associated for result in pruned if result.test == "planted")  # it was planted in the sound
    students = read_results(tmp_path / "out" / "distilled" / "results.jsonl")
    means = [result for result in students if result.layer == "mean"]
    assert [(result.test, result.student_layers) for result in means] == [
        (test, layers) for layers in STUDENTS for test in ("planted", "null")
    ]
    teacher = read_results(tmp_path / "out" / "runs" / BASE / "results.jsonl")[-1]
    assert {result.distilled_from for result in students} == {teacher.model_sha256}
    assert "Students beside their teachers" in page
    rows = list(csv.DictReader((tmp_path / "out" / "report" / "students.csv").read_text().splitlines()))
    assert sorted((row["test"], row["model"]) for row in rows) == [
        (test, model) for test in ("null", "planted") for model in ("1 layer", "2 layers", "teacher")
    ]
    rates = list(csv.DictReader((tmp_path / "out" / "report" / "per.csv").read_text().splitlines()))
    assert len([row for row in rates if not row["column"]]) == 6
    assert "Phone error rates, and who pays" in page
    assert "Bias against error rate" in page
    assert "What drives d" in page
    ends = [(float(row["difference_low"]), float(row["difference_high"])) for row in rows if row["difference"]]
    assert len(ends) == 4
    assert all(low < high for low, high in ends)


@pytest.fixture
def without_work(monkeypatch, tmp_path):
    """The command with stages that do nothing; gives what probing raises a place to stand."""
    page = tmp_path / "report" / "index.html"
    done = SimpleNamespace(results=[], page=page, checkpoint="last", updates=1, first_loss=1.0, last_loss=0.5)
    for stage in ("run_demo", "run_training"):
        monkeypatch.setattr(f"speechbias.demo.{stage}", lambda *_, **__: done)
    for stage in ("run_pruning", "run_distilling"):
        monkeypatch.setattr(f"speechbias.demo.{stage}", lambda *_, **__: [])
    monkeypatch.setattr("speechbias.demo.write_page", lambda out: out / "report" / "index.html")
    monkeypatch.setattr("speechbias.report.terminal.terminal_table", lambda _: "a table")

    def run(error):
        def probing(*_, **__):
            raise error

        monkeypatch.setattr("speechbias.demo.run_probing", probing)
        out, err = io.StringIO(), io.StringIO()
        return call(["speechbias", "demo", "-o", str(tmp_path)], out=out, err=err), out.getvalue(), err.getvalue()

    return run


def test_a_missing_extra_leaves_probing_out(without_work):
    code, out, err = without_work(MissingExtraError("probing needs jiwer: pip install 'speechbias[probe]'"))
    assert code == 0
    assert "Not probed: probing needs jiwer" in err
    assert "Figure 3" in out
    assert "Table 4" not in out
    assert "error rate" not in out


def test_without_the_extra_of_training_the_page_is_of_what_needs_none(without_work, monkeypatch):
    def training(*_, **__):
        clustering.need_scikit_learn()

    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr("speechbias.demo.run_training", training)
    code, out, err = without_work(AssertionError("probed"))
    assert code == 0
    assert "Nothing trained: units need scikit-learn" in err
    assert "Table 3" in out
    assert "The page" in out
    assert "Figure" not in out


def test_nothing_is_trained_where_units_could_not_be_made(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r"speechbias\[train\]"):
        run_training(tmp_path, SideBySide())
    assert not (tmp_path / "runs").exists()


def test_another_error_while_probing_ends_the_demo(without_work):
    code, out, err = without_work(InputError("the corpus is not that of its record"))
    assert code == 2
    assert err.strip().endswith("speechbias: the corpus is not that of its record.")
    assert "The page" not in out


def test_probing_without_its_extra_says_which(monkeypatch):
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(MissingExtraError, match=r"speechbias\[probe\]"):
        count_errors([["AA"]], [["AA"]])


def test_results_of_somebody_else_are_left_alone(demo, tmp_path):
    first = (demo.page.parents[1] / "results.jsonl").read_text().splitlines()[0]
    (tmp_path / "results.jsonl").write_text(first.replace('"test": "planted"', '"test": "gender"') + "\n")
    with pytest.raises(InputError, match="other results than the demo's"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="-o"):
        run_demo(tmp_path / "file")


def test_runs_of_somebody_elses_are_not_removed(tmp_path):
    weeks = tmp_path / "runs" / "wav2vec2-base" / "checkpoints"
    weeks.mkdir(parents=True)
    with pytest.raises(InputError, match="other runs than the demo's"):
        run_demo(tmp_path)
    (tmp_path / "stimuli").mkdir()
    (tmp_path / "stimuli" / "planted.csv").touch()  # a demo was here before
    with pytest.raises(InputError, match="other runs than the demo's"):
        run_demo(tmp_path)
    assert weeks.is_dir()


@pytest.mark.parametrize("name", ["runs", "pruned", "distilled"])
def test_a_run_of_somebodys_among_those_of_an_earlier_demo_is_not_removed(tmp_path, name):
    mine = tmp_path / name / "mine" / "checkpoints"
    mine.mkdir(parents=True)
    (tmp_path / "stimuli").mkdir()
    (tmp_path / "stimuli" / "planted.csv").touch()
    with pytest.raises(InputError, match=f"{name} holds other runs than the demo's"):
        run_demo(tmp_path)
    assert mine.is_dir()


def test_what_a_demo_leaves_is_its_own(tmp_path):
    """As listed where the whole of it is run; a second demo in the folder removes it."""
    for folder, names in stages.OURS.items():
        for name in (*names, "results.jsonl.vectors"):
            (tmp_path / folder / name).mkdir(parents=True)
    (tmp_path / "stimuli").mkdir()
    (tmp_path / "stimuli" / "planted.csv").touch()
    stages._refuse_others(tmp_path)
