"""Work: the plan of every item, recipes that are the repository's, states on disk, what is done in which order."""

import json
import shutil
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from exportable import saved, tiny
from laid_corpora import lay_archive, lay_morgan
from made_records import make_record
from probing import write_recipe as write_probe_recipe
from probing import write_speech
from recordings import write_test
from speechbias.checkpoint import load_encoder
from speechbias.errors import InputError
from speechbias.probe.recipe import probe_recipe, read_probe_recipe
from speechbias.reproduce.carry_out import carry_out
from speechbias.reproduce.clips import clips_sha256
from speechbias.reproduce.cost import Cost
from speechbias.reproduce.places import PROBED_SETS, TRAINING_SETS, Places
from speechbias.reproduce.plan import ITEMS, PRUNED, Plan, Planner, plan
from speechbias.reproduce.rows import MODELS
from speechbias.reproduce.work import BuildStimuli, How, Measure, Probe, Stopped, Train, Work, in_turn, lacks
from speechbias.results import append_results, read_records
from speechbias.training.recipe import read_recipe, resolved
from speechbias.training.sections import read_toml
from training_runs import write_corpus, write_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = {row.key: row for row in MODELS}


@pytest.fixture
def librispeech(tmp_path):
    for name in {*TRAINING_SETS, *PROBED_SETS}:
        (tmp_path / "LibriSpeech" / name).mkdir(parents=True)
    return tmp_path / "LibriSpeech"


def names(works):
    return [work.name for work in works]


# ---- plans ----


def test_what_each_item_takes(tmp_path):
    places = Places(tmp_path)
    assert names(plan(["table1"], places).works) == ["stimuli age", "stimuli native", "stimuli gender"]
    assert plan(["table2"], places).works == ()
    table3 = plan(["table3"], places).works
    assert sum(name.startswith("measure ") for name in names(table3)) == 11
    figure1 = [work for work in plan(["figure1"], places).works if isinstance(work, Train)]
    assert sorted(names(figure1)) == sorted(
        f"pretrain {name}"
        for name in (
            "hubert-first",
            *(f"{f}-{s}" for f in ("wav2vec2", "hubert", "melhubert") for s in ("slim", "small")),
        )
    )
    figure2 = [work.name for work in plan(["figure2"], places).works if getattr(work, "verb", "") == "prune"]
    assert figure2 == [f"prune {family}-{method}" for family in PRUNED for method in ("heads", "rows", "weights")]
    students = [work.name for work in plan(["figure3"], places).works if getattr(work, "verb", "") == "distill"]
    assert len(students) == 9
    table4 = plan(["table4"], places).works
    assert names(table4)[-1] == "probe melhubert: base, pruned, distilled"
    features = [model for work in table4 if isinstance(work, Probe) for model in work.models if model == "mel"]
    assert features == ["mel"]  # once, beside which compressed models are judged


def test_needs_come_first_and_nothing_twice(tmp_path):
    works = plan(ITEMS, Places(tmp_path)).works
    assert len(set(names(works))) == len(works)
    for place, work in enumerate(works):
        assert set(names(work.needs)) <= set(names(works[:place]))


def test_missing_data_says_what_where_from_and_under_which_option(tmp_path):
    works = {work.name: work for work in plan(ITEMS, Places(tmp_path)).works}
    (saa, mess) = lacks(works["stimuli age"])
    assert "accent.gmu.edu" in saa
    assert "CC BY-NC-SA 4.0" in saa
    assert saa.endswith("name its folder with --accent-archive")
    assert "--morgan" in mess
    (corpus,) = lacks(works["pretrain wav2vec2-slim"])
    assert "openslr.org/12" in corpus
    weights = " ".join(lacks(works["measure MelHuBERT base"]))
    assert "github.com/nervjack2/MelHuBERT" in weights
    assert "--checkpoints" in weights
    assert not works["measure Wav2Vec2 base"].absent  # from the hub
    without = {work.name: work for work in plan(ITEMS, Places(tmp_path, hub=False)).works}
    assert "libri960_big.pt" in " ".join(lacks(without["measure Wav2Vec2 large"]))


def test_a_run_without_stimuli_is_not_tracked_but_can_be_made(tmp_path, librispeech):
    alone = {work.name: work for work in plan(["figure1"], Places(tmp_path, librispeech=librispeech)).works}
    assert "track" not in alone["pretrain melhubert-slim"].said
    assert lacks(alone["pretrain melhubert-slim"]) == ()
    csv = write_test(tmp_path / "own", name="gender")
    tracked = plan(["figure1"], Places(tmp_path, librispeech=librispeech, stimuli=(csv,)))
    (run,) = [work for work in tracked.works if work.name == "pretrain melhubert-slim"]
    assert run.said["track"]["stimuli"] == [str(csv)]
    assert run.said["track"]["steps"][:3] == [1000, 2000, 4000]


def test_parts_of_librispeech_that_are_not_there(tmp_path, librispeech):
    (librispeech / "train-other-500").rmdir()
    (run, *_) = plan(["figure1"], Places(tmp_path, librispeech=librispeech)).works
    (line,) = lacks(run)
    assert "train-other-500" in line


def test_checkpoints_are_found_by_the_names_that_people_have_for_them(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    places = Places(tmp_path / "out", checkpoints=folder)
    assert places.find("hubert-base") == "facebook/hubert-base-ls960"
    assert replace(places, hub=False).find("hubert-base") is None
    (folder / "hubert_base_ls960.pt").touch()
    (folder / "wav2vec2-slim").mkdir()
    (folder / "melhubert-small" / "checkpoints" / "last").mkdir(parents=True)
    assert places.find("hubert-base") == str(folder / "hubert_base_ls960.pt")
    assert places.find("wav2vec2-slim") == str(folder / "wav2vec2-slim")
    assert places.find("melhubert-small") == str(folder / "melhubert-small" / "checkpoints" / "last")
    assert places.find("hubert-slim") is None
    works = names(plan(["table3"], places).works)
    assert "pretrain wav2vec2-slim" not in works
    assert "pretrain hubert-slim" in works


@pytest.mark.parametrize("key", [row.key for row in MODELS if row.size != "large"] + ["hubert-first"])
def test_runs_of_pretraining_are_the_recipes_of_the_repository(tmp_path, librispeech, key):
    planner = Planner(Places(tmp_path, librispeech=librispeech), "cuda")
    work = planner._hubert_first() if key == "hubert-first" else planner.pretrained(NAMES[key])
    ours = resolved(work.said, "plan")
    theirs = read_recipe(RECIPES.parent / work.like, data=[str(librispeech / name) for name in TRAINING_SETS])
    first = str(tmp_path / "runs" / "hubert-first" / "checkpoints" / "last")
    if theirs.units is not None and theirs.units.checkpoint is not None:
        theirs = replace(theirs, units=replace(theirs.units, checkpoint=first))
    assert ours == theirs
    if key in {"hubert-slim", "hubert-small", "hubert-base"}:
        assert ours.units.checkpoint == first


def test_prunings_students_and_probes_are_the_recipes_of_the_repository(tmp_path, librispeech):
    planner = Planner(Places(tmp_path, librispeech=librispeech), "cuda")
    for method in ("heads", "rows", "weights"):
        work = planner.pruned("wav2vec2", method)
        assert work.said["prune"] == read_toml(RECIPES.parent / work.like)["prune"]
    for layers in (2, 4, 6):
        work = planner.distilled("hubert", layers)
        assert read_toml(RECIPES.parent / work.like)["distill"] | {"layers": layers} == work.said["distill"]
    (probed,) = [work for work in planner.table4() if "hubert:" in work.name and "mel" not in work.name]
    ours = probe_recipe(probed.said | {"model": {"models": ["mfcc"]}}, "plan")
    theirs = read_probe_recipe(RECIPES.parent / probed.like, models=["mfcc"])
    sets = {name: getattr(ours.probe, name) for name in ("train", "dev", "test")}
    assert [Path(*each).name for each in sets.values()] == list(PROBED_SETS)
    assert ours.probe == replace(theirs.probe, **sets)
    assert (ours.optim, ours.run) == (theirs.optim, theirs.run)


def test_costs_are_of_what_is_left(tmp_path, librispeech):
    places = Places(tmp_path, librispeech=librispeech)
    slim = Planner(places, "cpu").pretrained(NAMES["wav2vec2-slim"])
    assert slim.cost.audio == pytest.approx(400_000 * 87.5 / 3600)
    assert slim.cost.macs > Planner(places, "cpu").pretrained(NAMES["melhubert-slim"]).cost.macs / 10
    whole = plan(["figure1"], places)
    assert whole.cost.audio == pytest.approx(sum(work.cost.audio for work in whole.works))
    (tmp_path / "runs" / "wav2vec2-slim" / "checkpoints" / "last").mkdir(parents=True)
    (tmp_path / "runs" / "wav2vec2-slim.ended").touch()
    assert plan(["figure1"], places).cost.audio == pytest.approx(whole.cost.audio - slim.cost.audio)


# ---- what is on disk ----


def test_measured_models_are_done(tmp_path):
    run = tmp_path / "runs" / "slim" / "checkpoints"
    told = {"name": "slim", "recipe": "r", "seed": 0}
    saved(run / "step-00000020", tiny(), step=20)
    (run / "last").symlink_to("step-00000020")
    work = Measure("m", ("mfcc", str(run / "last")), (Path("age.csv"),), tmp_path / "results.jsonl")
    assert work.state == "to do"
    append_results(work.out, [of("mfcc")])
    assert work.state == "to go on"
    step = {"model": "step-00000020", "step": 20, "run": told}
    append_results(work.out, [of(str(run / "last"), **step | {"run": told | {"name": "other"}})])
    assert work.state == "to go on"  # a checkpoint of another run, called alike
    append_results(work.out, [of(str(run / "last"), **step)])
    assert work.state == "done"
    shutil.rmtree(run / "step-00000020")
    saved(run / "step-00000020", tiny("wav2vec2"), step=20)
    assert work.state == "to go on"  # other weights under the same name
    (run / "step-00000020" / "encoder.safetensors").write_bytes(b"cut short")
    assert work.state == "to go on"


def of(model, /, **changes):
    """A record of a MODEL that is there, on a test called age."""
    return make_record(**{"model": model, "test": "age", "model_sha256": load_encoder(model).sha256} | changes)


def test_records_of_other_clips_are_not_those_of_a_test_that_is_called_alike(tmp_path):
    csv = write_test(tmp_path / "own", name="age", clips=2)
    work = Measure("m", ("mfcc",), (csv,), tmp_path / "results.jsonl")
    append_results(work.out, [of("mfcc", stimuli_sha256="others")])
    assert work.state == "to do"
    append_results(work.out, [of("mfcc", stimuli_sha256=clips_sha256(csv), model_sha256="of other weights")])
    assert work.state == "to do"
    append_results(work.out, [of("mfcc", stimuli_sha256=clips_sha256(csv))])
    assert work.state == "done"


def test_a_training_is_begun_goes_on_and_ends(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    said = read_toml(write_recipe(tmp_path / "r.toml", "melhubert", corpus, steps=4))
    work = Train("pretrain tiny", "pretrain", tmp_path / "runs" / "tiny", said, "r.toml")
    assert work.state == "to do"
    work.do(How())
    assert work.state == "done"
    (tmp_path / "runs" / "tiny.ended").unlink()
    assert work.state == "done"  # by its last update
    longer = read_toml(write_recipe(tmp_path / "r.toml", "melhubert", corpus, steps=8))
    going = replace(work, said=longer)
    (going.folder / "recipe.toml").write_text(
        (going.folder / "recipe.toml").read_text().replace("steps = 4", "steps = 8")
    )
    assert going.state == "to go on"
    going.do(How())
    assert json.loads((going.folder / "checkpoints" / "last" / "meta.json").read_text())["step"] == 8

    cut = Train(
        "prune tiny", "prune", tmp_path / "runs" / "tiny-heads",
        {
            "model": {"checkpoint": str(going.folder / "checkpoints" / "last")},
            "data": said["data"],
            "run": said["run"] | {"steps": 4},
            "prune": {"method": "heads", "stages": [[2, 1]]},
        },
        "r.toml",
        needs=(going,),
    )  # fmt: skip
    cut.do(How())
    assert cut.state == "done"
    taught = Train(
        "distill tiny", "distill", tmp_path / "runs" / "tiny-student",
        {
            "model": {"checkpoint": str(going.folder / "checkpoints" / "last")},
            "data": said["data"],
            "run": said["run"] | {"steps": 2},
            "distill": {"layers": 1},
        },
        "r.toml",
    )  # fmt: skip
    taught.do(How())
    assert taught.state == "done"
    assert taught.command.startswith("speechbias distill r.toml --model ")


def test_a_probe_is_done_when_every_model_has_a_rate(tmp_path):
    work = Probe("probe", ("mfcc", "mel"), tmp_path, {}, "r.toml")
    assert work.state == "to go on"
    lines = [
        json.dumps({"kind": "per", "schema": 1, "model": name, "per": 0.5, "model_sha256": load_encoder(name).sha256})
        for name in ("mfcc", "mel")
    ]
    (tmp_path / "results.jsonl").write_text(lines[0] + "\n")
    assert work.state == "to go on"
    (tmp_path / "results.jsonl").write_text("\n".join(lines) + "\n")
    assert work.state == "done"


def test_a_changed_model_of_the_same_name_is_probed_again(tmp_path):
    said = tomllib.loads(write_probe_recipe(tmp_path / "p.toml", write_speech(tmp_path / "speech")).read_text())
    model = saved(tmp_path / "mine", tiny())
    work = Probe("probe", ("mel", str(model)), tmp_path / "probed", said, "p.toml")
    work.do(How())
    assert work.state == "done"
    rates = [record for record in read_records(tmp_path / "probed" / "results.jsonl") if record["kind"] == "per"]
    shutil.rmtree(model)
    saved(tmp_path / "mine", tiny(blocks="pre"))
    assert work.state == "to go on"
    work.do(How())
    assert work.state == "done"
    again = [record for record in read_records(tmp_path / "probed" / "results.jsonl") if record["kind"] == "per"]
    assert again[:2] == rates
    assert [record["model"] for record in again[2:]] == ["mine"]  # and mel not again


def test_probes_are_jobs_where_a_launcher_is_named(tmp_path, monkeypatch):
    asked = []

    def launched(recipe, out, settings, **options):
        asked.append((recipe.model.models, out, settings, options["device"], options["workers"]))
        return "SIGTERM" if len(asked) > 1 else None

    monkeypatch.setattr("speechbias.launch.verbs.launch_probe", launched)
    said = {"probe": {"train": "x", "dev": "x", "test": "x"}}
    work = Probe("probe", ("mfcc", "mel"), tmp_path / "probed", said, "p.toml")
    work.do(How("cuda", 3, launcher="settings"))
    assert asked == [(("mfcc", "mel"), tmp_path / "probed", "settings", "cuda", 3)]
    with pytest.raises(Stopped, match="SIGTERM"):
        work.do(How(launcher="settings"))


def test_the_middle_size_of_a_pruning_is_probed_too(tmp_path, librispeech):
    run = tmp_path / "runs" / "wav2vec2-rows"
    event = {"kind": "rows", "amount": 128, "criterion": "l1", "cut": {}, "of": 3072}
    cuts = [event | {"step": 10 * k, "remaining": 3072 - 768 * k} for k in (1, 2, 3)]
    for step in (10, 20, 30, 40):
        (run / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    (run / "events.jsonl").write_text("".join(json.dumps(cut) + "\n" for cut in cuts))
    (work,) = [each for each in plan(["table4"], Places(tmp_path)).works if each.name.startswith("probe wav2vec2")]
    middle = run / "checkpoints" / "step-00000030"  # 1536 rows from update 20 on, to the cut at 30
    assert str(middle) in work.models
    assert sum(str(run) in model for model in work.models) == 2


def test_stimuli_are_built_as_speat_has_them(tmp_path):
    places = Places(
        tmp_path / "out", accent_archive=lay_archive(tmp_path / "saa"), morgan=lay_morgan(tmp_path / "mess")
    )
    (age, *_) = plan(["table1"], places).works
    assert isinstance(age, BuildStimuli)
    said = []
    age.do(How(say=said.append))
    assert age.state == "done"
    assert len(age.path.read_text().splitlines()) == 1 + 2 * 58 + 120
    assert any("58 of SpEAT's 58" in line for line in said)


# ---- one after the other ----


@dataclass(frozen=True)
class Fake(Work):
    """Work whose state is a file; ``breaks``: what happens instead of it."""

    place: Path = Path()
    breaks: Exception | None = None
    log: list = field(default_factory=list)

    @property
    def state(self):
        return "done" if (self.place / self.name).exists() else "to do"

    @property
    def command(self):
        return f"do {self.name}"

    def do(self, how):
        self.log.append(self.name)
        if self.breaks:
            raise self.breaks
        (self.place / self.name).touch()


def carried(tmp_path, *works):
    def planned(items, places, *, device):
        return Plan(tuple(items), tuple(in_turn(works)))

    return carry_out(["table1"], Places(tmp_path), How(), planned=planned)


def test_what_can_be_done_is_done(tmp_path):
    log = []
    first = Fake("first", place=tmp_path, log=log)
    lost = Fake("lost", place=tmp_path, log=log, absent=("a corpus: from there",))
    broken = Fake("broken", place=tmp_path, log=log, breaks=InputError("no such thing"))
    after = Fake("after", place=tmp_path, log=log, needs=(first,))
    beyond = Fake("beyond", place=tmp_path, log=log, needs=(lost,))
    later = Fake("later", place=tmp_path, log=log, needs=(broken,))
    assert carried(tmp_path, beyond, later, after) == {
        "lost": ("a corpus: from there",),
        "beyond": ("a corpus: from there",),
        "broken": ("no such thing",),
        "later": ("it needs: broken",),
    }
    assert log == ["broken", "first", "after"]
    assert carried(tmp_path, after) == {}
    assert log == ["broken", "first", "after"]  # nothing twice


def test_what_is_made_already_needs_no_data(tmp_path):
    lost = Fake("lost", place=tmp_path, absent=("a corpus",))
    (tmp_path / "lost").touch()
    after = Fake("after", place=tmp_path, needs=(lost,))
    assert carried(tmp_path, after) == {}


def test_a_signal_ends_all_of_it(tmp_path):
    log = []
    asked = Fake("asked", place=tmp_path, log=log, breaks=Stopped("SIGTERM"))
    with pytest.raises(Stopped):
        carried(tmp_path, asked, Fake("after", place=tmp_path, log=log))
    assert log == ["asked"]


def test_work_that_makes_nothing_is_not_done_for_ever(tmp_path):
    class Idle(Fake):
        def do(self, how):
            self.log.append(self.name)

    log = []
    undone = carried(tmp_path, Idle("idle", place=tmp_path, log=log))
    assert log == ["idle"]
    assert "is not done" in undone["idle"][0]


def test_costs_add_up():
    assert Cost(1, 2, 3, 5) + Cost(10, 20, 30, 4) == Cost(11, 22, 33, 5)  # what is kept for a time is let go of


def test_the_note_of_a_run_that_is_gone_is_no_end(tmp_path):
    class Killed(Train):
        def _recipe(self):
            raise KeyboardInterrupt

    work = Killed("t", "pretrain", tmp_path / "runs" / "t", {}, "r.toml")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "t.ended").touch()
    assert work.state == "to do"
    with pytest.raises(KeyboardInterrupt):
        work.do(How())
    (work.folder / "checkpoints" / "last").mkdir(parents=True)
    assert work.state == "to go on"


def test_to_look_at_a_plan_asks_no_hub(tmp_path, monkeypatch):
    def asked(name):
        raise AssertionError(name)

    monkeypatch.setattr("speechbias.checkpoint.source.find_snapshot", asked)
    model = "facebook/hubert-base-ls960"
    work = Measure("m", (model,), (Path("age.csv"),), tmp_path / "results.jsonl")
    append_results(work.out, [make_record(model="mfcc", test="age")])
    assert work.state == "to do"
    append_results(work.out, [make_record(model=model, test="age")])
    assert work.state == "done"


def test_models_are_named_from_the_root(tmp_path, monkeypatch, librispeech):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my models").mkdir()
    (tmp_path / "my models" / "hubert_base_ls960.pt").touch()
    places = Places(Path("out"), checkpoints=Path("my models"), librispeech=librispeech)
    assert places.find("hubert-base") == str(tmp_path / "my models" / "hubert_base_ls960.pt")
    units = Planner(places, "cpu").pretrained(NAMES["hubert-slim"]).said["units"]
    assert units["checkpoint"] == str(tmp_path / "out" / "runs" / "hubert-first" / "checkpoints" / "last")
    probes = [work for work in Planner(places, "cpu").table4() if isinstance(work, Probe)]
    assert all(Path(model).is_absolute() for work in probes for model in work.models if model.count("/") > 1)
