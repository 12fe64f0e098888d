"""wav2vec 2.0's loss against a slow explicit one, and against transformers' for the parts that it has."""

from dataclasses import replace

import pytest
import torch
import transformers
from torch.nn import functional as F

import objectives
from speechbias.models.batch import Batch
from speechbias.models.contrastive import contrastive_logits
from speechbias.models.convert.names import TRANSFORMERS_NAMES
from speechbias.models.convert.shapes import encoder_config, objective_settings
from speechbias.models.convert.transformers import hints_of
from speechbias.models.objectives import objective, published_terms
from speechbias.models.quantizer import diversity_loss, perplexity
from speechbias.models.wav2vec2 import Wav2Vec2Terms

FRAMES = (9, 26, 15)


def explicit(model, batch, temperature):
    """Every utterance alone, every masked frame and every negative by itself; the batch's terms at the end."""
    quantizer = model.quantizer
    contrastive, squares, values, probabilities, chosen = 0, 0, 0, [], []
    for row, frames in enumerate(FRAMES):
        alone = objectives.utterance(batch, row, frames)
        features = model.encoder.features(alone.inputs)
        squares, values = squares + features.pow(2).sum(), values + features.numel()
        normed = model.encoder.feature_norm(features)
        projected = model.encoder.projection(normed)[0].clone()
        projected[alone.mask[0]] = model.mask_embedding
        hidden = model.encoder.transformer(projected[None])[0]
        targets, codes, predictions = [], [], []
        for number, frame in enumerate(alone.mask[0].nonzero()[:, 0]):
            logits = quantizer.weight_proj(normed[0, frame]).view(2, 5)
            noise = alone.gumbel[number].view(2, 5) if model.training else torch.zeros(2, 5)
            soft = ((logits + noise) / temperature).softmax(-1)
            hard = F.one_hot(soft.argmax(-1), 5).double()
            weights = hard + soft - soft.detach() if model.training else hard
            books = quantizer.codes.view(2, 5, 4)
            vector = torch.cat([weights[0] @ books[0], weights[1] @ books[1]])
            targets.append(model.project_q(vector))
            codes.append(soft.argmax(-1).tolist())
            predictions.append(model.final_proj(hidden[frame]))
            probabilities.append(logits.softmax(-1))
            chosen.append(hard)
        for i, (prediction, others) in enumerate(zip(predictions, alone.negatives.tolist(), strict=True)):
            candidates = [targets[i], *(targets[j] for j in others if codes[j] != codes[i])]
            cosines = [torch.cosine_similarity(prediction, target, dim=0) for target in candidates]
            contrastive = contrastive - (torch.stack(cosines) / 0.1).log_softmax(0)[0]
    masked = len(chosen)
    used = torch.stack(probabilities).mean(0)
    diversity = (10 - sum(torch.exp(-(p * (p + 1e-7).log()).sum()) for p in used)) / 10
    hard = torch.stack(chosen).mean(0)
    return {
        "contrastive": contrastive,
        "diversity": 0.1 * diversity * masked,
        "features_penalty": 10 * squares / values * masked,
        "code_perplexity": masked * sum(torch.exp(-(p * (p + 1e-7).log()).sum()) for p in hard),
    }


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_it_is_the_explicit_loss_with_its_gradients(training):
    model = objectives.made("wav2vec2").train(training)
    batch = objectives.batch_of("wav2vec2", FRAMES)
    temperature = 2 * 0.999995**100_000
    loss = model(batch, update=100_000)
    slow = explicit(model, batch, temperature)
    for name, value in slow.items():
        torch.testing.assert_close(loss.parts[name], value.detach(), rtol=1e-10, atol=1e-10)
    terms = slow["contrastive"] + slow["diversity"] + slow["features_penalty"]
    torch.testing.assert_close(loss.total, terms, rtol=1e-10, atol=1e-10)
    assert loss.masked == batch.masked == len(batch.negatives)
    ours = objectives.gradients(model, loss.total)
    theirs = objectives.gradients(model, terms)
    assert objectives.apart(ours, theirs) <= 1e-10
    assert all(gradient.abs().max() > 0 for name, gradient in ours.items() if "k_proj.bias" not in name)


def test_a_negative_with_the_codes_of_the_positive_is_left_out():
    predicted, targets = (torch.randn(5, 3, generator=torch.Generator().manual_seed(n)) for n in (0, 1))
    codes = torch.tensor([4, 7, 4, 4, 7])
    targets[2] = targets[0] + 1e-7  # the rounding of a straight-through sum must not hide that codes are the same
    negatives = torch.tensor([[1, 2], [0, 2], [0, 1], [4, 4], [3, 3]])
    logits = contrastive_logits(predicted, targets, codes, negatives, counts=[3, 2], temperature=0.5)
    cosines = torch.cosine_similarity(predicted[:, None], targets[None], dim=-1) / 0.5
    infinite = float("-inf")
    expected = [
        [cosines[0, 0], cosines[0, 1], infinite],
        [cosines[1, 1], cosines[1, 0], cosines[1, 2]],
        [cosines[2, 2], infinite, cosines[2, 1]],
        [cosines[3, 3], cosines[3, 4], cosines[3, 4]],
        [cosines[4, 4], cosines[4, 3], cosines[4, 3]],
    ]
    torch.testing.assert_close(logits, torch.tensor(expected))


def test_straight_through_vectors_are_exactly_those_of_the_codebook():
    model = objectives.made("wav2vec2", dtype=torch.float32)
    x, gumbel = torch.randn(200, 12), torch.randn(200, 10)
    drawn = model.quantizer(x, gumbel, 0.5)
    books = model.quantizer.codes.view(2, 5, 4)
    first, second = drawn.codes % 5, drawn.codes // 5
    assert torch.equal(drawn.vectors, torch.cat([books[0, first], books[1, second]], dim=1))
    assert len(drawn.codes.unique()) > 15
    likeliest = model.quantizer(x, None, 0.5)
    assert not torch.equal(likeliest.codes, drawn.codes)
    assert torch.equal(likeliest.chosen.argmax(-1), likeliest.probabilities.argmax(-1))


def test_diversity_is_lost_from_nothing_to_all_but_one_entry_per_group():
    even, single = torch.full((2, 320), 1 / 320), F.one_hot(torch.tensor([3, 8]), 320).float()
    assert perplexity(even).item() == pytest.approx(640, rel=1e-4)
    assert perplexity(single).item() == pytest.approx(2, rel=1e-4)
    assert diversity_loss(even).item() == pytest.approx(0, abs=1e-4)
    assert diversity_loss(single).item() == pytest.approx(638 / 640, rel=1e-4)


@pytest.mark.parametrize(
    ("size", "update", "expected"),
    [
        ("base", 0, 2.0),
        ("base", 1000, 1.990025),
        ("base", 270_000, 0.518479),
        ("base", 278_000, 0.5),
        ("large", 278_000, 0.498149),
        ("large", 600_000, 0.1),
    ],
)
def test_the_temperature_falls_to_its_least(size, update, expected):
    assert published_terms("wav2vec2", size).gumbel_temperature(update) == pytest.approx(expected, abs=2e-6)


def test_terms_are_weighed_as_they_are_set():
    model, batch = objectives.made("wav2vec2"), objectives.batch_of("wav2vec2", FRAMES)
    before = model(batch, update=0).parts
    model.terms = Wav2Vec2Terms(diversity=0.3, features_penalty=5)
    after = model(batch, update=0).parts
    assert after["diversity"] / before["diversity"] == pytest.approx(3)
    assert after["features_penalty"] / before["features_penalty"] == pytest.approx(0.5)
    assert after["contrastive"] == before["contrastive"]


def test_correct_counts_the_frames_whose_target_is_nearer_than_every_negative():
    model, batch = objectives.made("wav2vec2").eval(), objectives.batch_of("wav2vec2", FRAMES)
    correct = model(batch, update=0).parts["correct"]
    assert 0 < correct < batch.masked
    with torch.no_grad():
        model.final_proj.weight.zero_()  # every prediction the same, and as near to one as to another: a collapse
        model.project_q.weight.zero_()
    assert model(batch, update=0).parts["correct"] < correct


@pytest.mark.parametrize("missing", ["negatives", "gumbel"])
def test_a_batch_without_what_is_learnt_from_is_refused(missing):
    batch = replace(objectives.batch_of("wav2vec2", FRAMES), **{missing: None})
    with pytest.raises(ValueError, match="this one has none"):
        objectives.made("wav2vec2")(batch, update=0)


TINY = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "codevector_dim": 12,
    "num_codevectors_per_group": 8,
    "proj_codevector_dim": 20,
    **dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "layerdrop"), 0.0),
    **dict.fromkeys(("feat_proj_dropout", "feat_quantizer_dropout"), 0.0),
}
VARIANTS = {
    "base": {},
    "large": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}


@pytest.fixture(params=VARIANTS)
def both(request):
    """Their model and ours with the same weights, in float64 (they take cosines in float32)."""
    config = transformers.Wav2Vec2Config(**TINY | VARIANTS[request.param])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = transformers.Wav2Vec2ForPreTraining(config)
        with torch.no_grad():
            theirs.quantizer.codevectors.uniform_()  # or all codes are alike
            theirs.quantizer.weight_proj.weight.normal_()
    tensors, _ = TRANSFORMERS_NAMES.rename(theirs.state_dict())
    encoder = {n: t for n, t in tensors.items() if n.split(".")[0] in {"frontend", "feature_norm", "projection"}}
    encoder |= {n: t for n, t in tensors.items() if n.startswith("transformer.")}
    rest = {n: t for n, t in tensors.items() if n not in encoder}
    shape = encoder_config("tiny", encoder, hints_of(config.to_dict(), {}))
    ours = objective(shape, objective_settings("wav2vec2", rest))
    ours.load_state_dict({f"encoder.{n}": t for n, t in encoder.items()} | rest)
    return theirs.double(), ours.double()


def parameters_by_our_name(theirs):
    """Their gradients under our names."""
    renamed, _ = TRANSFORMERS_NAMES.rename({name: parameter.grad for name, parameter in theirs.named_parameters()})
    return renamed


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_it_is_the_loss_of_transformers_in_the_parts_that_it_has(both, training, monkeypatch):
    theirs, ours = (model.train(training) for model in both)
    batch = pair_of_waves(ours)
    theirs.set_gumbel_temperature(1.3)
    ours.terms = Wav2Vec2Terms(features_penalty=0, gumbel_start=1.3)
    where = batch.mask.flatten().nonzero()[:, 0]
    noise = torch.zeros(batch.mask.numel(), 16, dtype=torch.float64)
    noise[where] = batch.gumbel
    monkeypatch.setattr(F, "gumbel_softmax", straight_through(noise))
    frames = torch.zeros(batch.mask.numel(), 30, dtype=torch.long)
    frames[where] = where[batch.negatives]
    answer = theirs(
        waves_as_theirs(ours, batch),
        mask_time_indices=batch.mask,
        sampled_negative_indices=frames.view(*batch.mask.shape, -1),
    )
    loss = ours(batch, update=0)
    torch.testing.assert_close(loss.parts["contrastive"], answer.contrastive_loss.double(), rtol=1e-6, atol=1e-5)
    if training:  # in eval mode they judge diversity by the codes taken, which have no gradient
        diversity = 0.1 * answer.diversity_loss.double()
        torch.testing.assert_close(loss.parts["diversity"], diversity, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(loss.total, answer.loss.double(), rtol=1e-6, atol=1e-5)
        total, reference = loss.total, answer.loss
    else:
        used = loss.parts["code_perplexity"] / loss.masked
        torch.testing.assert_close(used, answer.codevector_perplexity.double(), rtol=1e-5, atol=1e-5)
        ours.terms = replace(ours.terms, diversity=0)
        total, reference = ours(batch, update=0).total, answer.contrastive_loss
    own = objectives.gradients(ours, total)
    reference.backward()
    missing = {name for name, gradient in parameters_by_our_name(theirs).items() if gradient is None}
    assert missing == (set() if training else {"quantizer.weight_proj.weight", "quantizer.weight_proj.bias"})
    own = {name.removeprefix("encoder."): gradient for name, gradient in own.items()}
    compared = {name: gradient for name, gradient in parameters_by_our_name(theirs).items() if gradient is not None}
    assert objectives.apart({name: own[name] for name in compared}, compared) <= 1e-5


def pair_of_waves(model):
    """Two waves of one length, 40 frames masked in all or so, 30 negatives each."""
    generator = torch.Generator().manual_seed(4)
    waves = 0.1 * torch.randn(2, 320 * 40 + 100, generator=generator, dtype=torch.float64)
    mask = torch.rand(2, 40, generator=generator) < 0.5
    counts = mask.sum(1).tolist()
    rows = [
        start + torch.randint(count, (count, 30), generator=generator)
        for start, count in zip((0, counts[0]), counts, strict=True)
    ]
    gumbel = -(-torch.rand(sum(counts), 16, generator=generator, dtype=torch.float64).log()).log()
    return Batch(waves, torch.tensor([waves.shape[1]] * 2), mask, negatives=torch.cat(rows), gumbel=gumbel)


def waves_as_theirs(model, batch):
    """They leave it to the caller to normalise waves."""
    eps = model.encoder.config.frontend.wave_norm_eps
    return batch.inputs if eps is None else F.layer_norm(batch.inputs, batch.inputs.shape[-1:], eps=eps)


def straight_through(noise):
    """torch's gumbel_softmax with given noise, and with values that are exactly 0 and 1."""

    def gumbel_softmax(logits, tau, hard):
        assert hard
        soft = ((logits.double() + noise.view_as(logits)) / tau).softmax(-1)
        return F.one_hot(soft.argmax(-1), logits.shape[-1]).double() + (soft - soft.detach())

    return gumbel_softmax
