"""HuBERT's and MelHuBERT's losses against slow explicit ones, and six updates of the public MelHuBERT code."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import objectives
from speechbias.models.batch import IGNORED, Batch
from speechbias.models.config import EncoderConfig, MelFrontend
from speechbias.models.convert.names import FAIRSEQ_NAMES, split
from speechbias.models.hubert import HubertTerms
from speechbias.models.melhubert import MelHubertSettings
from speechbias.models.objectives import objective

FRAMES = (9, 26, 15)


def explicit_hubert(model, batch):
    """Every utterance alone, every masked frame and every label by itself."""
    cross_entropy, squares, values, masked = 0, 0, 0, 0
    for row, frames in enumerate(FRAMES):
        alone = objectives.utterance(batch, row, frames)
        features = model.encoder.features(alone.inputs)
        squares, values = squares + features.pow(2).sum(), values + features.numel()
        projected = model.encoder.projection(model.encoder.feature_norm(features))[0].clone()
        projected[alone.mask[0]] = model.mask_embedding
        hidden = model.encoder.transformer(projected[None])[0]
        for frame in alone.mask[0].nonzero()[:, 0]:
            prediction = model.final_proj(hidden[frame])
            scores = [torch.cosine_similarity(prediction, row, dim=0) / 0.1 for row in model.label_embeddings]
            cross_entropy = cross_entropy - torch.stack(scores).log_softmax(0)[4 + alone.labels[0, frame]]
            masked += 1
    return cross_entropy, 10 * squares / values * masked


def test_hubert_is_the_explicit_loss_with_its_gradients():
    model, batch = objectives.made("hubert"), objectives.batch_of("hubert", FRAMES)
    loss = model(batch, update=7)
    cross_entropy, penalty = explicit_hubert(model, batch)
    torch.testing.assert_close(loss.parts["cross_entropy"], cross_entropy.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(loss.parts["features_penalty"], penalty.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(loss.total, cross_entropy + penalty, rtol=1e-10, atol=1e-10)
    assert loss.masked == batch.masked
    ours = objectives.gradients(model, loss.total)
    assert objectives.apart(ours, objectives.gradients(model, cross_entropy + penalty)) <= 1e-10
    assert ours["label_embeddings"][:4].abs().min() > 0  # the special symbols are in the softmax


def test_melhubert_is_the_explicit_loss_with_its_gradients():
    model, batch = objectives.made("melhubert"), objectives.batch_of("melhubert", FRAMES)
    loss = model(batch, update=7)
    slow = 0
    for row, frames in enumerate(FRAMES):
        alone = objectives.utterance(batch, row, frames)
        shown = alone.inputs.clone()
        shown[alone.mask] = 0
        hidden = model.encoder(shown)[0]
        for frame in alone.mask[0].nonzero()[:, 0]:
            slow = slow - model.final_proj(hidden[frame]).log_softmax(0)[alone.labels[0, frame]]
    torch.testing.assert_close(loss.total, slow, rtol=1e-10, atol=1e-10)
    assert loss.masked == batch.masked
    ours = objectives.gradients(model, loss.total)
    assert objectives.apart(ours, objectives.gradients(model, slow)) <= 1e-10


@pytest.mark.parametrize("family", ["hubert", "melhubert"])
def test_a_batch_is_the_sum_of_its_utterances(family):
    """But for the features' penalty, whose mean is over the frames of the whole batch."""
    model, batch = objectives.made(family), objectives.batch_of(family, FRAMES)
    together = model(batch, update=0)
    alone = [model(objectives.utterance(batch, row, frames), update=0) for row, frames in enumerate(FRAMES)]
    for part in ("cross_entropy", "correct"):
        torch.testing.assert_close(together.parts[part], sum(loss.parts[part] for loss in alone))
    assert together.masked == sum(loss.masked for loss in alone)
    if family == "hubert":
        means = [loss.parts["features_penalty"] / loss.masked for loss in alone]
        mean = sum(value * frames for value, frames in zip(means, FRAMES, strict=True)) / sum(FRAMES)
        torch.testing.assert_close(together.parts["features_penalty"], mean * together.masked)


@pytest.mark.parametrize("family", objectives.FAMILIES)
def test_what_stands_behind_the_end_changes_nothing(family):
    model, batch = objectives.made(family), objectives.batch_of(family, FRAMES)
    inputs = batch.inputs.clone()
    for row, length in enumerate(batch.lengths.tolist()):
        inputs[row, length:] = 1000
    before, after = model(batch, update=0), model(replace(batch, inputs=inputs), update=0)
    torch.testing.assert_close(after.total, before.total, rtol=1e-12, atol=1e-12)
    ours = objectives.gradients(model, after.total)
    assert objectives.apart(ours, objectives.gradients(model, before.total)) <= 1e-12


def test_masked_mel_frames_are_invisible():
    model, batch = objectives.made("melhubert"), objectives.batch_of("melhubert", FRAMES)
    other = batch.inputs + 5 * batch.mask[..., None]
    assert model(replace(batch, inputs=other), update=0).total == model(batch, update=0).total
    seen = batch.inputs + 5 * ~batch.mask[..., None]
    assert model(replace(batch, inputs=seen), update=0).total != model(batch, update=0).total
    assert not torch.equal(other, batch.inputs)  # what the caller gave is left as it was


def test_masked_features_reach_hubert_only_through_the_penalty(monkeypatch):
    """Its mask stands behind the front end."""
    model, batch = objectives.made("hubert"), objectives.batch_of("hubert", FRAMES)
    before = model(batch, update=0)
    features = model.encoder.features
    ramp = torch.linspace(-3, 3, 12, dtype=torch.float64)  # no constant: the layer norm takes that away
    hidden, shown = (ramp * frames[..., None] for frames in (batch.mask, ~batch.mask))
    monkeypatch.setattr(model.encoder, "features", lambda *given: features(*given) + hidden)
    after = model(batch, update=0)
    assert after.parts["cross_entropy"] == before.parts["cross_entropy"]
    assert after.parts["features_penalty"] > before.parts["features_penalty"]
    monkeypatch.setattr(model.encoder, "features", lambda *given: features(*given) + shown)
    assert model(batch, update=0).parts["cross_entropy"] != before.parts["cross_entropy"]


@pytest.mark.parametrize("family", ["hubert", "melhubert"])
def test_a_masked_frame_without_a_label_is_hidden_but_not_learnt(family):
    model, batch = objectives.made(family), objectives.batch_of(family, FRAMES)
    labels = batch.labels.clone()
    labels[0, 0] = IGNORED  # this frame is masked
    loss = model(replace(batch, labels=labels), update=0)
    assert loss.masked == batch.masked - 1
    assert loss.parts["cross_entropy"] < model(batch, update=0).parts["cross_entropy"]


@pytest.mark.parametrize("family", ["hubert", "melhubert"])
def test_correct_counts_the_likeliest_label(family):
    model, batch = objectives.made(family), objectives.batch_of(family, FRAMES)
    correct = model(batch, update=0).parts["correct"]
    assert 0 <= correct < batch.masked
    one = replace(batch, labels=batch.labels.where(batch.labels == IGNORED, 3))
    with torch.no_grad():
        if family == "hubert":
            model.label_embeddings[:] = -model.final_proj.bias
            model.label_embeddings[7] = model.final_proj.bias
            model.final_proj.weight.zero_()
        else:
            model.final_proj.bias[3] = 100
    assert model(one, update=0).parts["correct"] == batch.masked


@pytest.mark.parametrize("family", ["hubert", "melhubert"])
def test_a_batch_without_labels_is_refused(family):
    with pytest.raises(ValueError, match="has none"):
        objectives.made(family)(replace(objectives.batch_of(family, FRAMES), labels=None), update=0)


def test_the_terms_of_hubert_are_weighed_as_they_are_set():
    model, batch = objectives.made("hubert"), objectives.batch_of("hubert", FRAMES)
    before = model(batch, update=0)
    model.terms = HubertTerms(features_penalty=5, temperature=0.2)
    after = model(batch, update=0)
    assert after.parts["features_penalty"] / before.parts["features_penalty"] == pytest.approx(0.5)
    assert after.parts["cross_entropy"] != before.parts["cross_entropy"]


@pytest.mark.parametrize("family", objectives.FAMILIES)
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_under_autocast_the_loss_is_in_single_precision(family, precision):
    model, batch = (
        objectives.made(family, dtype=torch.float32),
        objectives.batch_of(family, FRAMES, dtype=torch.float32),
    )
    exact = model(batch, update=0)
    with torch.autocast("cpu", dtype=precision):
        loss = model(batch, update=0)
    assert loss.total.dtype == torch.float32
    assert loss.total.item() == pytest.approx(exact.total.item(), rel=0.05)
    loss.total.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.fixture(scope="session")
def tiny(shared):
    """Arrays of the public code: a small model, a batch, six updates."""
    path = shared / "parity" / "melhubert" / "tiny_20ms.npz"
    if not path.is_file():
        pytest.skip("no arrays of the public MelHuBERT code")
    return dict(np.load(path))


def test_six_updates_are_those_of_the_public_code(tiny):
    tensors, _ = FAIRSEQ_NAMES.rename({n[2:]: torch.tensor(w) for n, w in tiny.items() if n.startswith("w.")})
    encoder, rest = split(tensors)
    config = EncoderConfig("melhubert", MelFrontend(), 64, 16, heads=(4, 4), ffn=(128, 128))
    model = objective(config, MelHubertSettings(clusters=512)).train()
    model.load_state_dict({f"encoder.{name}": tensor for name, tensor in encoder.items()} | rest)
    masks = np.unpackbits(tiny["masks"])[: tiny["masks_shape"].prod()].reshape(tiny["masks_shape"]).astype(bool)
    lengths = torch.tensor(tiny["M"]).sum(1).long()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)
    losses, norms = [], []
    for update, mask in enumerate(masks):
        batch = Batch(torch.tensor(tiny["X"]), lengths, torch.tensor(mask), torch.tensor(tiny["Y"]))
        loss = model(batch, update=update)
        optimiser.zero_grad()
        (loss.total / loss.masked).backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0).item())
        optimiser.step()
        losses.append(loss.total.item() / loss.masked)
    np.testing.assert_allclose(losses, tiny["losses"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(losses, [6.434765, 6.387363, 6.304860, 6.263303, 6.110175, 6.126793], atol=1e-4, rtol=0)
    np.testing.assert_allclose(norms, tiny["grad_norms"], atol=1e-4, rtol=0)
    after = {
        "final_proj.bias": model.final_proj.bias,
        "layer0.fc1.weight": model.encoder.transformer.layers[0].fc1.weight,
    }
    for name, parameter in after.items():
        np.testing.assert_allclose(parameter.detach().numpy(), tiny[f"after.{name}"], atol=2e-5, rtol=0)
