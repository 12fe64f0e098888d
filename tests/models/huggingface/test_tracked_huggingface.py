"""Models of transformers, tracked while they train: heads around them, masks of numpy's, positions that are kept."""

import hashlib
import json

import pytest
import torch

import speechbias as sb
from recordings import write_test
from speechbias.checkpoint import load_encoder
from speechbias.models.huggingface.adapter import wrap_huggingface
from speechbias.results import read_results
from speechbias.survey import Survey

from .conftest import MODELS, build

FAST = {"permutations": 500, "resamples": 200}
HEADS = {"wav2vec2-post": "Wav2Vec2ForPreTraining", "hubert-post": "HubertForCTC", "wavlm-pre": "WavLMForCTC"}
MASKS = {"mask_time_prob": 0.5, "mask_time_length": 2, "hidden_dropout": 0.1, "layerdrop": 0.0}


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory):
    return write_test(tmp_path_factory.mktemp("stimuli"), clips=3)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_in_memory_is_measured_as_its_folder(name, saved, wave):
    model, folder = saved(name)
    before = hooks_of(model)  # transformers leaves some of its own, once it was asked for all states
    encoder = wrap_huggingface("x", model)
    loaded = load_encoder(folder)
    assert (encoder.num_states, encoder.dim, encoder.frame_shift) == (
        loaded.num_states,
        loaded.dim,
        loaded.frame_shift,
    )
    assert encoder.pooled(wave) == pytest.approx(loaded.pooled(wave), abs=2e-5)  # by our own network, some of them
    encoder.taps.remove()
    assert hooks_of(model) == before


def hooks_of(model):
    return [(*part._forward_hooks, *part._forward_pre_hooks) for part in model.modules()]


def trained(name, tracker):
    """Three updates, SpecAugment's masks and dropout drawn on the way."""
    model = build(name, HEADS.get(name), **({} if name == "conformer" else MASKS)).train()
    waves = 0.1 * torch.randn(2, 6400, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    for step in range(3):
        if tracker is not None:
            assert len(tracker(step, model)) == 5
        (model.base_model(waves).last_hidden_state.square().mean()).backward()
        optimiser.step()
        optimiser.zero_grad()
    return {key: hashlib.sha256(t.numpy().tobytes()).hexdigest() for key, t in model.state_dict().items()}


@pytest.mark.parametrize("name", [*HEADS, "conformer"])
def test_a_model_that_is_tracked_trains_as_one_that_is_not(name, stimuli, tmp_path):
    import numpy as np  # noqa: PLC0415

    weights = []
    for tracker in (None, sb.BiasTracker(stimuli, tmp_path / "r.jsonl", name=name, **FAST)):
        np.random.seed(0)  # noqa: NPY002 - SpecAugment draws from it
        weights.append(trained(name, tracker))
    assert weights[0] == weights[1]
    results = read_results(tmp_path / "r.jsonl")
    assert [r.step for r in results if r.layer == "mean"] == [0, 1, 2]
    assert len({r.model_sha256 for r in results}) == 3


def test_the_whisper_encoder_is_found_within_its_model(saved, stimuli, tmp_path):
    model, folder = saved("whisper")
    tracked = sb.BiasTracker(stimuli, tmp_path / "r.jsonl", **FAST)(0, model)
    measured = Survey([str(folder)], [sb.read_stimuli(stimuli)], tmp_path / "m.jsonl", options=FAST, per_layer=True)
    for one, other in zip(tracked, measured.measure(), strict=True):
        assert one.d == pytest.approx(other.d, abs=1e-6)


def test_checkpoints_of_a_trainer_are_measured_in_order_with_their_steps(saved, stimuli, tmp_path):
    model, _ = saved("wavlm-post")
    folders = []
    for step in (1000, 500):
        model.save_pretrained(tmp_path / "out" / f"checkpoint-{step}")
        folders.append(str(tmp_path / "out" / f"checkpoint-{step}"))
        (tmp_path / "out" / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    survey = Survey(folders, [sb.read_stimuli(stimuli)], tmp_path / "r.jsonl", options=FAST)
    assert [(r.model, r.step, r.run) for r in survey.measure()] == [
        ("checkpoint-500", 500, {"name": "out"}),
        ("checkpoint-1000", 1000, {"name": "out"}),
    ]
