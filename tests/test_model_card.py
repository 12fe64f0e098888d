"""Model cards: valid on the hub, true to the records they are given, careful in words, kept once edited."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from exportable import saved, tiny
from made_records import make_record
from speechbias.checkpoint import load_encoder
from speechbias.cli import app
from speechbias.errors import InputError
from speechbias.export import export_checkpoint
from speechbias.export.card import is_edited
from speechbias.results import append_results

needs_onnx = pytest.mark.skipif(
    not all(map(__import__("importlib.util").util.find_spec, ("onnx", "onnxruntime"))),
    reason="onnx is not installed: pip install 'speechbias[onnx]'",
)
PRUNING = {"method": "heads", "criterion": "l1", "seed": None, "cuts": 4, "remaining": 12, "of": 16}
PROVENANCE = {
    "made_by": "speechbias 0.1.0 prune",
    "hours": 1.5,
    "recipe_sha256": "ab" * 32,
    "seed": 7,
    "run": {"name": "base", "recipe": "cd" * 8, "seed": 7},
    "pruning": PRUNING,
}


def record(sha256, **changes):
    """A made-up measurement of a model."""
    of_ours = {"model": "ours", "family": "hubert", "model_sha256": sha256, "p_value": 0.008}
    return make_record(**{**of_ours, **changes})


@pytest.fixture
def ours(tmp_path):
    return saved(tmp_path / "ours", tiny(), step=400, provenance=PROVENANCE)


def card_of(ours, out, form="hf", **options):
    """The text of an export's card, and what the hub reads in it."""
    written = export_checkpoint(ours, out, format=form, **{"latency": False, **options})
    path = written.with_suffix(".md") if written.suffix == ".onnx" else written / "README.md"
    text = path.read_text(encoding="utf-8")
    return text, ModelCard(text).data


@pytest.mark.parametrize(
    ("form", "library"),
    [
        ("hf", "transformers"),
        ("speechbias", "speechbias"),
        pytest.param("onnx", "onnx", marks=needs_onnx),
        pytest.param("int8", "onnx", marks=needs_onnx),
    ],
)
def test_the_hub_reads_the_card_of_every_format(tmp_path, ours, form, library):
    text, data = card_of(ours, tmp_path / "out", form)
    assert (data.license, data.library_name, data.pipeline_tag) == ("unknown", library, "feature-extraction")
    assert {"speech", "speechbias", "hubert", "pruned"} <= set(data.tags)
    assert ("int8" in data.tags, "onnx" in data.tags) == (form == "int8", library == "onnx")
    assert data.eval_results is None
    for heading in ("How to use", "Provenance", "Size and speed", "Bias, Risks and Limitations", "Intended use"):
        assert f"\n## {heading}\n" in text
    assert "Not measured. That is no sign of absence" in text
    assert "Not intended to judge, rank or identify people" in text
    assert "Phone error rate" not in text
    assert str(tmp_path) not in text


def test_provenance_recipe_pruning_and_sizes(tmp_path, ours):
    text, _ = card_of(ours, tmp_path / "out")
    encoder = load_encoder(ours)
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", text, re.MULTILINE))
    assert rows["Exported from"] == "ours"
    assert rows["Encoder's sha256"] == encoder.sha256
    assert (rows["Updates"], rows["Run"], rows["Seed"]) == ("400", "base", "7")
    assert rows["Recipe's hash"] == "ab" * 32
    pruning = {key.removeprefix("pruning: "): value for key, value in rows.items() if key.startswith("pruning: ")}
    assert pruning == {"method": "heads", "criterion": "l1", "cuts": "4", "remaining": "12", "of": "16"}
    assert rows["Parameters"] == f"{encoder.parameters:,}"
    assert rows["Heads per layer"] == "4"
    assert rows["Weights on disk"] == f"{(tmp_path / 'out' / 'model.safetensors').stat().st_size:,} bytes"
    assert rows["Latency"] == "not measured"


def test_latency_is_measured_unless_it_is_left_out(tmp_path, ours):
    text, _ = card_of(ours, tmp_path / "out", latency=True)
    row = re.search(r"^\| Latency \| (.*) \|$", text, re.MULTILINE)[1]
    median, low, high = map(float, re.match(r"(\S+) s of CPU.* runs, (\S+) to (\S+)\), one thread of", row).groups())
    assert 0 < low <= median <= high


def test_records_of_the_model_stand_in_text_and_metadata(tmp_path, ours):
    sha256 = load_encoder(ours).sha256
    results = tmp_path / "r.jsonl"
    append_results(results, [record(sha256), record("00" * 32, d=-1.5, test="other")])
    rate = {"kind": "per", "schema": 1, "split": "test-clean", "per": 0.123, "n_utterances": 50}
    rates = [rate | {"model": "ours"}, rate | {"model": "ours", "model_sha256": "00" * 32, "per": 0.777}]
    with results.open("a") as file:
        file.writelines(f"{json.dumps(each)}\n" for each in rates)
    text, data = card_of(ours, tmp_path / "out", results=[results], license="apache-2.0")
    assert data.license == "apache-2.0"
    values = {each.metric_type: each.metric_value for each in data.eval_results}
    assert (values["speat_d"], values["speat_p"], values["speat_p_attribute"]) == (0.62, 0.008, 0.0123)
    assert (values["speat_d_ci_low"], values["speat_d_ci_high"]) == (0.2011, 1.0149)
    assert {each.dataset_type for each in data.eval_results} == {"gender"}
    assert "| gender | female / male; positive / negative |" in text
    assert "[0.20, 1.01] (95 %)" in text
    assert "nothing of intent" in text
    assert "other" not in re.findall(r"^\| (\w+) \| female", text, re.MULTILINE)
    assert "| the checkpoint that was exported | test-clean | 0.123 | 50 |" in text
    assert "0.777" not in text


def test_seed_0_is_a_seed_and_a_teacher_stands_in_rows(tmp_path):
    distilled = {"teacher_sha256": "ef" * 32, "teacher_run": None, "targets": [2, 3], "copied": ["frontend", "norm"]}
    folder = saved(tmp_path / "ours", tiny(), provenance={"seed": 0, "distillation": distilled, "cuts": []})
    text, _ = card_of(folder, tmp_path / "out")
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", text, re.MULTILINE))
    assert rows["Seed"] == "0"
    assert rows["distillation: teacher sha256"] == "ef" * 32
    assert (rows["distillation: targets"], rows["distillation: copied"]) == ("2, 3", "frontend, norm")
    assert "cuts" not in rows
    assert not any("teacher run" in key for key in rows)


def test_a_checkpoint_of_a_run_has_the_runs_name(tmp_path):
    run = {"name": "student", "recipe": "cd" * 8, "seed": 0}
    folder = saved(tmp_path / "step-00000060", tiny(), step=60, provenance={"run": run})
    results = tmp_path / "r.jsonl"
    append_results(results, [record(load_encoder(folder).sha256)])
    rate = {"kind": "per", "schema": 1, "model": folder.name, "split": "test-clean", "per": 0.777, "n_utterances": 50}
    with results.open("a") as file:
        file.write(json.dumps(rate) + "\n")
    text, data = card_of(folder, tmp_path / "out", results=[results])
    assert "\n# student step 60\n" in text
    assert data.model_name == "student step 60"
    assert "0.777" not in text, "any run has a checkpoint of that name"


def test_one_measurement_under_several_names_stands_once(tmp_path, ours):
    sha256, results = load_encoder(ours).sha256, tmp_path / "r.jsonl"
    run = {"name": "base", "recipe": "cd" * 8, "seed": 7}
    of_run = record(sha256, step=400, run=run)
    append_results(results, [of_run, record(sha256, model="hf"), record(sha256, model="renamed", step=400, run=run)])
    text, data = card_of(ours, tmp_path / "out", results=[results])
    assert [each.metric_type for each in data.eval_results].count("speat_d") == 1
    assert text.count("| gender | female / male") == 1
    assert "measurement" not in text


@pytest.mark.parametrize("blocks", ["post", "pre"])
def test_the_example_of_the_card_runs_in_transformers(tmp_path, blocks):
    pytest.importorskip("transformers", reason="transformers is not installed: pip install 'speechbias[hf]'")
    config = tiny(blocks=blocks)
    front = replace(config.frontend, wave_norm_eps=1e-7 if blocks == "pre" else None)
    folder = saved(tmp_path / "ours", replace(config, frontend=front), whole=False)
    text, _ = card_of(folder, tmp_path / "out")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1].replace("FOLDER", str(tmp_path / "out"))
    wave = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    names = {"wave": wave}
    exec(re.sub(r"(?m)^wave = .*$", "", code), names)
    expected = load_encoder(folder).hidden_states(wave)[-1]
    np.testing.assert_allclose(names["given"].last_hidden_state[0].numpy(), expected, atol=1e-4)


def test_records_of_nothing_here_are_refused_and_nothing_is_written(tmp_path, ours):
    results = tmp_path / "r.jsonl"
    append_results(results, [record("00" * 32)])
    with pytest.raises(InputError, match=r"r.jsonl: no record is of this model \(sha256 .*measure it first"):
        export_checkpoint(ours, tmp_path / "out", results=[results], latency=False)
    with pytest.raises(InputError, match="cannot be read as results"):
        export_checkpoint(ours, tmp_path / "out", results=[tmp_path / "none.jsonl"], latency=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "r.jsonl"]


@needs_onnx
def test_numbers_of_the_checkpoint_are_not_passed_off_as_the_quantised_models(tmp_path, ours):
    results = tmp_path / "r.jsonl"
    append_results(results, [record(load_encoder(ours).sha256, d=0.62)])
    before, data = card_of(ours, tmp_path / "q.onnx", "int8", results=[results])
    assert "before it was quantised" in before
    assert 'InferenceSession("q.onnx")' in before
    assert data.eval_results is None
    text, data = card_of(ours, tmp_path / "f.onnx", "onnx", results=[results])
    assert "same up to rounding" in text
    assert data.eval_results
    own = load_encoder(tmp_path / "q.onnx").sha256
    append_results(results, [record(own, d=0.44, dtype="int8")])
    text, data = card_of(ours, tmp_path / "q.onnx", "int8", results=[results])
    assert "before it was quantised" not in text
    assert [each.metric_value for each in data.eval_results if each.metric_type == "speat_d"] == [0.44]


def test_two_sets_of_options_are_told_apart(tmp_path, ours):
    sha256, results = load_encoder(ours).sha256, tmp_path / "r.jsonl"
    append_results(results, [record(sha256), replace(record(sha256), alternative="greater", p_value=0.004)])
    text, data = card_of(ours, tmp_path / "out", results=[results])
    assert len({each.dataset_name for each in data.eval_results}) == 2
    assert text.count("### ours") == 2
    assert text.count("nothing of intent") == 1


@pytest.mark.parametrize("licence", ["", "my own", "MIT\nlicense: x", "a: b"])
def test_a_licence_is_an_identifier(tmp_path, ours, licence):
    with pytest.raises(InputError, match="is no identifier of the hub"):
        export_checkpoint(ours, tmp_path / "out", license=licence)


def test_odd_names_stay_text(tmp_path):
    folder = saved(tmp_path / 'a: "b" | <c> #d', tiny(), provenance={"note": "|x|\n---\nlicense: mit", "f": None})
    text, data = card_of(folder, tmp_path / "out")
    assert data.license == "unknown"
    assert r"# a: \"b\"" in text or '# a: "b"' in text
    assert yaml.safe_load(text.split("---\n")[1])["tags"][0] == "speech"
    assert text.count("\n---\n") == 1


@pytest.mark.parametrize("form", ["hf", "speechbias"])
def test_an_edited_card_is_never_written_over(tmp_path, ours, form):
    out = tmp_path / "out"
    card_of(ours, out, form)
    assert not is_edited(out / "README.md")
    card_of(ours, out, form, license="mit")  # replaced: nobody had touched it
    with (out / "README.md").open("a") as file:
        file.write("Mine.\n")
    assert is_edited(out / "README.md")
    with pytest.raises(InputError, match="another name with -o"):
        export_checkpoint(ours, out, format=form, latency=False)
    (out / "README.md").unlink()
    if form == "hf":
        card_of(ours, out, form)
    else:  # without its card it is a checkpoint like any other
        with pytest.raises(InputError, match="no export"):
            export_checkpoint(ours, out, format=form, latency=False)
        card_of(ours, out := tmp_path / "another", form)
    changed = (out / "README.md").read_text().replace("license: unknown", "license: mit")
    (out / "README.md").write_text(changed)
    assert is_edited(out / "README.md")


def test_from_the_command_line(tmp_path, ours, monkeypatch):
    monkeypatch.chdir(tmp_path)
    append_results(tmp_path / "r.jsonl", [record(load_encoder(ours).sha256)])
    options = ["--results", "r.jsonl", "--license", "mit", "--no-latency"]
    done = CliRunner().invoke(app, ["export", "ours", "-o", "hf", *options])
    assert (done.exit_code, done.exception) == (0, None)
    assert ModelCard.load(tmp_path / "hf" / "README.md").data.license == "mit"
