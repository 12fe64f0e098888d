"""`export`: transformers loads what is written, whole and with the same states; our folder keeps every bit."""

import errno
import json
from dataclasses import replace
from itertools import product, starmap
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModel
from typer.testing import CliRunner

from exportable import MEL_STATS, SETTINGS, drawn, saved, tiny
from speechbias.checkpoint import load_encoder, read_checkpoint
from speechbias.cli import app
from speechbias.errors import InputError
from speechbias.export import export_checkpoint
from speechbias.models.convert.names import FAIRSEQ_NAMES

CLASSES = {"wav2vec2": transformers.Wav2Vec2Model, "hubert": transformers.HubertModel}
KINDS = list(product(("wav2vec2", "hubert"), ("group", "layer"), ("post", "pre")))


def loaded(folder, kind):
    """transformers' model of a folder; nothing may be missing or left over."""
    model, report = kind.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


@pytest.fixture(scope="module")
def wave():
    return (0.02 + 0.05 * np.random.default_rng(0).standard_normal(17_000)).astype(np.float32)


@pytest.mark.parametrize("whole", [True, False], ids=["objective", "encoder"])
@pytest.mark.parametrize("config", list(starmap(tiny, KINDS)), ids=["-".join(kind) for kind in KINDS])
def test_transformers_has_the_same_states(tmp_path, wave, config, whole):
    ours = saved(tmp_path / "ours", config, whole=whole)
    model = loaded(export_checkpoint(ours, tmp_path / "theirs"), CLASSES[config.family])
    with torch.no_grad():
        given = model(torch.from_numpy(wave)[None], output_hidden_states=True)
    theirs = torch.cat(given.hidden_states).numpy()
    states = load_encoder(ours, states="hf").hidden_states(wave)
    assert states.shape == theirs.shape
    assert np.abs(states - theirs).max() <= 1e-5 * np.abs(theirs).max()
    last = load_encoder(ours).hidden_states(wave)[-1]
    assert np.abs(last - given.last_hidden_state[0].numpy()).max() <= 1e-5 * np.abs(last).max()


@pytest.mark.parametrize(("eps", "tolerance"), [(None, 1e-5), (1e-7, 1e-5), (1e-5, 1e-4)])
def test_the_feature_extractor_does_what_the_front_end_did(tmp_path, wave, eps, tolerance):
    """With its own epsilon; with fairseq's the scale of this wave (RMS 0.05) differs by 0.2 %."""
    config = tiny("wav2vec2", "layer", "pre")
    config = replace(config, frontend=replace(config.frontend, wave_norm_eps=eps))
    ours = saved(tmp_path / "ours", config)
    folder = export_checkpoint(ours, tmp_path / "theirs")
    extractor, model = AutoFeatureExtractor.from_pretrained(folder), loaded(folder, AutoModel)
    with torch.no_grad():
        inputs = extractor(wave, sampling_rate=16_000, return_tensors="pt").input_values
        theirs = torch.cat(model(inputs, output_hidden_states=True).hidden_states).numpy()
    states = load_encoder(ours, states="hf").hidden_states(wave)
    assert np.abs(states - theirs).max() <= tolerance * np.abs(theirs).max()
    assert read_checkpoint(folder).config == config  # the epsilon goes along, for us
    np.testing.assert_array_equal(load_encoder(folder, states="hf").hidden_states(wave), states)


def test_step_and_provenance_go_along(tmp_path):
    ours = saved(tmp_path / "ours", tiny(), step=400, provenance={"format": "fairseq", "source": "base.pt"})
    written = json.loads((export_checkpoint(ours, tmp_path / "theirs") / "export.json").read_text())
    assert (written["model"], written["step"]) == ("ours", 400)
    assert written["provenance"] == {"format": "fairseq", "source": "base.pt"}
    assert str(tmp_path) not in json.dumps(written)


def test_the_mask_embedding_is_the_objectives(tmp_path):
    ours = saved(tmp_path / "ours", tiny())
    folder = export_checkpoint(ours, tmp_path / "whole")
    mask = read_checkpoint(ours).objective_tensors["mask_embedding"]
    assert torch.equal(loaded(folder, CLASSES["hubert"]).masked_spec_embed, mask)
    bare = export_checkpoint(saved(tmp_path / "bare", tiny(), whole=False), tmp_path / "encoder")
    model = loaded(bare, CLASSES["hubert"])
    assert model.config.mask_time_prob == model.config.mask_feature_prob == 0
    assert not hasattr(model, "masked_spec_embed")
    assert not any("masked" in name for name in load_file(bare / "model.safetensors"))


def test_without_a_projection_it_gets_the_identity(tmp_path, wave):
    ours = saved(tmp_path / "ours", tiny(dim=8, head_dim=2, projection=False))
    folder = export_checkpoint(ours, tmp_path / "theirs")
    with torch.no_grad():
        given = loaded(folder, CLASSES["hubert"])(torch.from_numpy(wave)[None], output_hidden_states=True)
    theirs = torch.cat(given.hidden_states).numpy()
    states = load_encoder(ours, states="hf").hidden_states(wave)
    assert np.abs(states - theirs).max() <= 1e-5 * np.abs(theirs).max()


def test_a_student_whose_features_are_normalised_stays_a_student(tmp_path):
    config = tiny(student=True)
    folder = export_checkpoint(saved(tmp_path / "student", config, whole=False), tmp_path / "theirs")
    assert read_checkpoint(folder).config == config
    loaded(folder, CLASSES["hubert"])


def test_a_distilled_student_goes_there_and_back(tmp_path, wave):
    config = tiny(student=True)
    config = replace(config, frontend=replace(config.frontend, feature_norm=False))
    ours = saved(tmp_path / "student", config, whole=False)
    folder = export_checkpoint(ours, tmp_path / "theirs")
    assert read_checkpoint(folder).config == config
    loaded(folder, CLASSES["hubert"])
    np.testing.assert_array_equal(load_encoder(folder).hidden_states(wave), load_encoder(ours).hidden_states(wave))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (tiny("melhubert"), "no MelHuBERT"),
        (tiny(heads=(4, 3, 4)), "heads in every layer"),
        (tiny(heads=(3, 3, 3)), "heads in every layer"),
        (tiny(ffn=(32, 32, 20)), "one feed-forward width"),
    ],
)
def test_what_transformers_cannot_hold_is_refused_with_reason_and_remedy(tmp_path, config, why):
    ours = saved(tmp_path / "pruned", config, whole=False)
    with pytest.raises(InputError, match=rf"^pruned cannot.*{why}.*--format onnx, or --format speechbias$"):
        export_checkpoint(ours, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    again = export_checkpoint(ours, tmp_path / "out", format="speechbias")
    assert read_checkpoint(again).config == config


def fairseq_file(path, config):
    """A fairseq checkpoint of a model of ours, tensors and plain containers only."""
    state = drawn(config).state_dict()
    names = {name: FAIRSEQ_NAMES.theirs(name.removeprefix("encoder.")) for name in state}
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for name, theirs in names.items():
        for new, before in old.items():
            names[name] = names[name].replace(new, before) if theirs.endswith(new) else names[name]
    cfg = {"model": {"_name": config.family, "encoder_attention_heads": 4}, "task": {"normalize": False}}
    torch.save({"cfg": cfg, "model": {names[name]: tensor for name, tensor in state.items()}}, path)
    return path


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_a_foreign_file_becomes_a_safe_folder_bit_for_bit(tmp_path, wave, family):
    foreign = fairseq_file(tmp_path / "foreign.pt", tiny(family))
    folder = export_checkpoint(foreign, tmp_path / "safe", format="speechbias")
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors", ".md"}
    before, after = load_encoder(foreign), load_encoder(folder)
    assert before.sha256 == after.sha256
    np.testing.assert_array_equal(after.hidden_states(wave), before.hidden_states(wave))
    first, second = read_checkpoint(foreign), read_checkpoint(folder)
    assert first.settings == second.settings == SETTINGS[family]
    assert all(torch.equal(first.objective_tensors[key], tensor) for key, tensor in second.objective_tensors.items())
    assert second.meta.provenance["source"] == "foreign.pt"


def test_statistics_are_put_into_a_melhubert(tmp_path, wave):
    ours = saved(tmp_path / "mel", tiny("melhubert"))
    np.save(tmp_path / "stats.npy", MEL_STATS)
    given = tmp_path / "stats.npy"
    folder = export_checkpoint(ours, tmp_path / "with", format="speechbias", mel_stats=given)
    expected = load_encoder(ours, mel_stats=given).hidden_states(wave)
    np.testing.assert_array_equal(load_encoder(folder).hidden_states(wave), expected)
    with pytest.raises(InputError, match="takes no mel statistics"):
        export_checkpoint("random:hubert-small", tmp_path / "no", mel_stats=given)


@pytest.fixture
def model(tmp_path):
    return saved(tmp_path / "ours", tiny())


@pytest.mark.parametrize("form", ["hf", "speechbias"])
def test_an_earlier_export_and_an_empty_folder_are_replaced(tmp_path, model, form):
    out = tmp_path / "a" / "b" / "out"
    for _ in range(2):
        assert export_checkpoint(model, out, format=form, latency=False) == out
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    (tmp_path / "empty").mkdir()
    export_checkpoint(model, tmp_path / "empty", format=form, latency=False)
    assert {path.name: path.read_bytes() for path in (tmp_path / "empty").iterdir()} == first
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("form", ["hf", "speechbias"])
def test_somebody_elses_folder_or_file_is_left_alone(tmp_path, model, form):
    folder = export_checkpoint(model, tmp_path / "trained-on")
    trained = loaded(folder, CLASSES["hubert"])
    with torch.no_grad():
        trained.encoder.layer_norm.weight += 1
    trained.save_pretrained(folder)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("mine")
    for out in ("trained-on", "file", "file/below", "notes"):
        with pytest.raises(InputError, match="-o"):
            export_checkpoint(model, tmp_path / out, format=form)
    assert (tmp_path / "file").read_text() == (tmp_path / "notes" / "todo.txt").read_text() == "mine"


def test_a_checkpoint_that_is_no_export_is_left_alone(tmp_path, model):
    """Be it another model, or the one that is exported, with what its training goes on from."""
    run = tmp_path / "run" / "checkpoints"
    run.mkdir(parents=True)
    trained = saved(run / "step-00000002", tiny())
    (trained / "trainer.pt").write_bytes(b"moments")
    (run / "last").symlink_to(trained.name)
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    for out in (trained, run / "last"):
        for source in (model, out):
            with pytest.raises(InputError, match="holds a checkpoint that is no export; choose another name with -o"):
                export_checkpoint(source, out, format="speechbias", latency=False)
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before
    (trained / "trainer.pt").unlink()
    with pytest.raises(InputError, match="no export"):
        export_checkpoint(model, trained, format="speechbias", latency=False)
    export = export_checkpoint(model, tmp_path / "out", format="speechbias", latency=False)
    (export / "trainer.pt").write_bytes(b"moments")  # what came later goes along with nothing
    with pytest.raises(InputError, match="no export"):
        export_checkpoint(model, export, format="speechbias", latency=False)


def test_something_added_to_an_export_is_not_lost(tmp_path, model):
    folder = export_checkpoint(model, tmp_path / "out")
    (folder / "README.md").write_text("mine")
    with pytest.raises(InputError, match="no export of ours"):
        export_checkpoint(model, folder)
    assert (folder / "README.md").read_text() == "mine"


def test_a_failed_write_leaves_what_was_there(tmp_path, model, monkeypatch):
    out = export_checkpoint(model, tmp_path / "out")
    before = (out / "model.safetensors").read_bytes()

    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("speechbias.checkpoint.folder.save_file", full)
    with pytest.raises(OSError, match="No space") as error:  # which the command line says in a line
        export_checkpoint(model, out)
    assert error.value.errno == errno.ENOSPC
    assert (out / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "out"]


@pytest.mark.parametrize("name", ["mel", "mel:cmvn"])
def test_a_feature_has_nothing_to_export(tmp_path, name):
    with pytest.raises(InputError, match="no weights; export a checkpoint"):
        export_checkpoint(name, tmp_path / "out")


def test_from_the_command_line(tmp_path, model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["export", "ours", "-o", "hf"])
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 1)
    assert done.stdout.startswith("hf: ")
    assert "transformers.HubertModel.from_pretrained('hf')" in done.stdout
    assert json.loads(Path("hf/preprocessor_config.json").read_text())["do_normalize"] is False
    done = CliRunner().invoke(app, ["export", "ours", "--format", "speechbias", "-o", "copy"])
    assert "speechbias measure copy --stimuli" in done.stdout
    assert CliRunner().invoke(app, ["export", "ours", "--format", "onnx9", "-o", "x"]).exit_code == 2
    assert isinstance(CliRunner().invoke(app, ["export", "ours", "-o", "copy"]).exception, InputError)
