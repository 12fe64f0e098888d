"""Controls that need the model: speech against noise, and the untrained twin; asked for once, made once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from objectives import SETTINGS, made
from recordings import RATE, read_rows, tone, write_csv, write_test
from speechbias.checkpoint import load_encoder, load_twin
from speechbias.checkpoint.content import Meta, of_objective
from speechbias.checkpoint.folder import save_checkpoint
from speechbias.cli import app
from speechbias.compare import compare_models
from speechbias.controls.models import control_models
from speechbias.controls.noise import choose_speech, noise_control, white_noise
from speechbias.errors import InputError
from speechbias.features import FeatureEncoder
from speechbias.models.objectives import fresh
from speechbias.report import write_report
from speechbias.report.controls import in_words
from speechbias.results import read_records, read_results
from speechbias.stimuli import check_audio, read_stimuli
from speechbias.survey import Survey
from speechbias.vectors import stored_vectors

FAST = {"permutations": 400, "resamples": 200}
RUN = {"name": "first", "recipe": "0123", "seed": 7}


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory):
    return write_test(tmp_path_factory.mktemp("stimuli"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run: step 0 as training draws it from seed 7, and step 5, whose weights are others."""
    folder = tmp_path_factory.mktemp("runs") / "first" / "checkpoints"
    model = made("wav2vec2", dtype=torch.float32).eval()
    drawn = fresh(model.encoder.config, SETTINGS["wav2vec2"], seed=7).eval()
    for step, each in ((0, drawn), (5, model)):
        content = of_objective("x", each, SETTINGS["wav2vec2"], meta=Meta(step=step, provenance={"run": RUN}))
        save_checkpoint(folder / f"step-{step:08d}", content)
    return folder


def survey_of(models, stimuli, out, **changes):
    settings = {"options": FAST, "cache": out.parent / "cache"} | changes
    return Survey([str(model) for model in models], [read_stimuli(stimuli)], out, **settings)


@pytest.fixture(scope="module")
def controlled(run, stimuli, tmp_path_factory):
    """Step 5 and mel, measured and then controlled: the results file, its bytes before, and the records."""
    out = tmp_path_factory.mktemp("controlled") / "r.jsonl"
    survey = survey_of([run / "step-00000005", "mel"], stimuli, out)
    list(survey.measure())
    before = out.read_bytes()
    return out, before, control_models(survey)


def test_the_noise_is_as_long_and_as_loud_as_the_speech():
    speech = tone(120, seconds=0.4)
    noise = white_noise(speech, np.random.default_rng(0))
    assert noise.shape == speech.shape
    assert noise.dtype == np.float32
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(np.sqrt(np.mean(speech**2)), rel=1e-5)
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    assert spectrum[: len(spectrum) // 2].sum() == pytest.approx(spectrum[len(spectrum) // 2 :].sum(), rel=0.2)


def test_the_halves_share_no_speaker_and_have_both_groups(stimuli):
    halves = choose_speech(read_stimuli(stimuli))
    people = [{clip.speaker for clip in half} for half in halves]
    assert not people[0] & people[1]
    assert [len(half) for half in halves] == [6, 6]
    assert all({clip.set for clip in half} == {"X", "Y"} for half in halves)


def test_two_speakers_make_a_half_each_and_one_makes_none(stimuli, tmp_path):
    rows = read_rows(stimuli)
    for row in rows:
        row["path"] = str(stimuli.parent / row["path"])
    for name, speakers, sizes in (("two", "XY", [6, 6]), ("one", "XX", [6, 0])):
        of = dict(zip("XYAB", (*speakers, "A", "B"), strict=True))
        test = read_stimuli(write_csv(tmp_path / f"{name}.csv", [row | {"speaker": of[row["set"]]} for row in rows]))
        assert [len(half) for half in choose_speech(test)] == sizes
    check = check_audio([test], sample_rate=RATE, min_samples=400)
    answer = noise_control(FeatureEncoder("mel"), test, check.facts)
    assert answer["passed"] is None
    assert "fewer than 10 targets" in answer["why"]


@pytest.mark.parametrize("name", ["stft", "spectrogram", "mel", "mfcc"])
def test_features_tell_speech_from_noise(stimuli, name):
    check = check_audio([read_stimuli(stimuli)], sample_rate=RATE, min_samples=400)
    answer = noise_control(FeatureEncoder(name), check.sets[0], check.facts)
    assert answer["passed"]
    assert answer["noise"]["d"] > 1
    assert answer == noise_control(FeatureEncoder(name), check.sets[0], check.facts)


@pytest.mark.parametrize("kind", ["constant", "random", "level"])
def test_embeddings_that_hear_nothing_fail(stimuli, kind, monkeypatch):
    """The same for every clip; drawn from the clip's bytes; the level alone, which is matched."""

    def pooled(_, wave):
        if kind == "level":
            return np.array([[np.sqrt(np.mean(wave**2, dtype=np.float64)), 0.1, 0.1]], np.float32)
        seed = 0 if kind == "constant" else int(np.abs(wave).sum() * 1e6)
        return np.random.default_rng(seed).standard_normal((1, 16)).astype(np.float32)

    monkeypatch.setattr(FeatureEncoder, "pooled", pooled)
    check = check_audio([read_stimuli(stimuli)], sample_rate=RATE, min_samples=400)
    answer = noise_control(FeatureEncoder("mel"), check.sets[0], check.facts)
    assert answer["passed"] is False
    if kind == "random":
        assert answer["noise"]["p_value"] > 0.01
    else:
        assert answer["noise"]["d"] is None
        assert "same s" in answer["why"]


def test_a_record_of_what_cannot_be_embedded_names_no_file(stimuli):
    check = check_audio([read_stimuli(stimuli)], sample_rate=RATE, min_samples=400)
    answer = noise_control(FeatureEncoder("mfcc:cmvn"), check.sets[0], check.facts)
    assert answer["passed"] is False
    assert str(stimuli.parent) not in answer["why"]


def test_the_twin_is_step_0_of_the_run_and_of_no_other_seed(run):
    twin = load_twin(run / "step-00000005")
    trained, start = (load_encoder(run / f"step-{step:08d}") for step in (5, 0))
    assert twin.sha256 == start.sha256 != trained.sha256
    assert twin.recipe == start.recipe
    assert twin.config == trained.config
    assert load_twin(run / "step-00000005", seed=8).sha256 != twin.sha256
    wave = tone(130)
    np.testing.assert_array_equal(twin.pooled(wave), start.pooled(wave))
    assert not np.allclose(twin.pooled(wave), trained.pooled(wave))


def test_a_named_size_has_the_twin_that_its_name_draws(tmp_path):
    """The weights of random:melhubert-small, as a checkpoint of nobody's run."""
    drawn = load_encoder("random:melhubert-small")
    objective = fresh(drawn.config, SETTINGS["melhubert"], seed=3)
    save_checkpoint(tmp_path / "made", of_objective("x", objective, SETTINGS["melhubert"]))
    stats = np.stack([np.full(40, 12.0), np.full(40, 3.0)])
    assert load_twin(tmp_path / "made", mel_stats=stats).sha256 == drawn.sha256


@pytest.mark.parametrize(("model", "why"), [("mel", "no weights"), ("random:hubert-small", "untrained itself")])
def test_what_has_no_twin_says_why(model, why):
    with pytest.raises(InputError, match=why):
        load_twin(model)


def test_records_are_added_behind_the_measurements_which_stay_as_they_were(controlled):
    out, before, records = controlled
    assert out.read_bytes().startswith(before)
    on_file = [record for record in read_records(out) if record["kind"] == "control"]
    assert on_file == records
    assert [record["control"] for record in records] == ["noise", "twin"] * 2
    of = [result.measurement for result in read_results(out)]
    assert [record["of"] for record in records] == [of[0], of[0], of[1], of[1]]
    assert records[3]["passed"] is None
    assert "no weights" in records[3]["why"]


def test_the_difference_is_that_of_compare(controlled, run, stimuli, tmp_path):
    out, _, records = controlled
    result = read_results(out)[0]
    control = records[1]
    survey = survey_of([run / "step-00000000"], stimuli, tmp_path / "r.jsonl")
    (untrained,) = survey.measure()
    for name in ("d", "p_value", "p_attribute", "ci_low", "ci_high"):
        assert control["twin"][name] == getattr(untrained, name)
    vectors = [stored_vectors(result, out.parent), stored_vectors(untrained, tmp_path)]
    (compared,) = compare_models(vectors, baseline=1, resamples=200, seed=result.seed)
    assert control["difference"] == {
        "d": compared.difference,
        "ci_low": compared.ci_low,
        "ci_high": compared.ci_high,
        "p_value": compared.p_value,
    }


def test_asked_again_nothing_is_heard_and_nothing_is_written(controlled, run, stimuli, monkeypatch):
    out, _, records = controlled
    before = out.read_bytes()
    monkeypatch.setattr("speechbias.controls.models.pool", None)
    monkeypatch.setattr("speechbias.controls.noise.pool", None)
    assert control_models(survey_of([run / "step-00000005", "mel"], stimuli, out)) == records
    assert out.read_bytes() == before


def test_killed_on_the_way_it_goes_on_behind_what_is_written(controlled, run, stimuli, tmp_path, monkeypatch):
    records = controlled[2]
    survey = survey_of([run / "step-00000005", "mel"], stimuli, tmp_path / "r.jsonl")
    list(survey.measure())
    with monkeypatch.context() as patched:
        patched.setattr("speechbias.controls.models.twin_control", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            control_models(survey)
    assert [r["control"] for r in read_records(tmp_path / "r.jsonl") if r["kind"] == "control"] == ["noise"]
    heard = []
    monkeypatch.setattr(
        "speechbias.controls.models.noise_control", lambda encoder, *_, **__: heard.append(encoder.name) or NOTHING
    )
    made_ = control_models(survey)
    assert heard == ["mel"]
    assert made_[:2] == records[:2]


NOTHING = {"noise": None, "passed": None, "why": "-"}


def test_step_0_in_the_results_is_the_twin_and_is_not_measured_again(controlled, run, stimuli, tmp_path, monkeypatch):
    survey = survey_of([run / "step-00000000", run / "step-00000005"], stimuli, tmp_path / "r.jsonl")
    results = list(survey.measure())
    monkeypatch.setattr("speechbias.controls.models._embedded", None)
    records = [record for record in control_models(survey) if record["control"] == "twin"]
    assert "untrained itself" in records[0]["why"]
    assert records[1]["twin"]["vectors"] == results[0].vectors
    assert records[1]["difference"] == controlled[2][1]["difference"]


def test_the_page_has_a_row_and_says_what_failed_and_what_is_missing(controlled, tmp_path):
    out, _, records = controlled
    results = read_results(out)
    written = write_report(results, tmp_path / "report", others=records)
    page, table = written.page.read_text(), written.markdown.read_text()
    assert "speech was told from noise in 2 of 2" in page
    assert "of an untrained twin in " in page
    assert "Controls that were not made" not in page
    assert f"{records[0]['noise']['d']:.2f} |" in table
    deaf = {**records[0], "passed": False}
    born = {**records[1], "passed": False}
    page = write_report(results, tmp_path / "report", others=[deaf, born]).page.read_text()
    assert "gender (first step 5): embeddings do not tell speech from noise" in page
    assert "gender (first step 5): no difference from the untrained twin was shown" in page
    assert "speech against noise (1 of 2); speechbias measure MODEL" in page
    assert len(list(in_words([deaf, born, *records[2:]]))) == 3  # a feature has no twin to speak of


def test_an_associated_model_that_is_as_its_twin_fails(controlled, monkeypatch):
    from speechbias.controls.twin import compare_with  # noqa: PLC0415

    out, _, _ = controlled
    result = read_results(out)[0]
    for p, p_attribute, passed in ((0.001, 0.001, False), (0.5, 0.001, True)):
        made_ = compare_with(replace(result, p_value=p, p_attribute=p_attribute), result, out.parent)
        assert made_["difference"]["d"] == 0
        assert made_["passed"] is passed


def test_the_command(stimuli, tmp_path):
    arguments = ["measure", "mel", "--stimuli", str(stimuli), "-o", str(tmp_path / "r.jsonl"), "--no-audit"]
    arguments += ["--permutations", "400", "--resamples", "200"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    before = (tmp_path / "r.jsonl").read_bytes()
    done = CliRunner().invoke(app, [*arguments, "--controls"])
    assert done.exit_code == 0, done.output
    assert "controls: gender, mel: speech against noise: d 1." in done.output
    assert (tmp_path / "r.jsonl").read_bytes().startswith(before)
