"""The loss of distillation against loops over numbers, and what a student takes from its teacher, and leaves alone."""

import math
from dataclasses import replace

import pytest
import torch

import objectives
from speechbias.checkpoint.content import Checkpoint
from speechbias.compress.teaching import PREFIXES, student
from speechbias.errors import InputError
from speechbias.models.config import FAMILIES, EncoderConfig, MelFrontend
from speechbias.models.distillation import (
    Distillation,
    DistillationSettings,
    DistillationTerms,
    Teacher,
    prediction_terms,
)
from speechbias.models.initialisation import initialise_network
from speechbias.models.network import Network
from speechbias.models.objectives import count_parameters, objective
from speechbias.models.regularisation import Regularisation
from speechbias.models.transformer import valid_frames
from speechbias.training.distillation import PARTS, DistillSection, default_targets
from speechbias.training.optim import make_optimiser
from speechbias.training.recipe import resolved
from speechbias.training.step import Trainer, seeded

FRAMES = (30, 22)
DROPOUT = Regularisation(0.1, attention=0.1, activation=0.1)
SECTION = DistillSection(layers=2, targets=(1, 3))


def teacher_of(family, **changes):
    """A checkpoint of three layers that differ, in float64."""
    model, draws = objectives.made(family, **changes).encoder, torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():  # norms too
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draws, dtype=parameter.dtype))
    return Checkpoint("teacher", model.config, {name: tensor.detach() for name, tensor in model.state_dict().items()})


def pupil(start, section=SECTION, *, dropout=None):
    made = student(start, section, section.targets, seed=1).double()
    for parameter in made.heads.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    made.terms = DistillationTerms(section.cosine, section.masked)
    made.teacher = Teacher(start.config, start.tensors, section.targets, dropout=dropout)
    return made


def batch_of(family, frames=FRAMES, *, seed=0, counted="own"):
    drawn = objectives.batch_of(family, frames, seed=seed)
    own = valid_frames(torch.tensor(frames), max(frames))
    whole = own if counted == "own" else torch.ones_like(own)
    return replace(drawn, labels=None, negatives=None, gumbel=None, counted=whole)


def states_of(network, inputs):
    """All states of one utterance as S3PRL counts them: the input, each block, the last after the final norm."""
    found = {}
    with torch.no_grad():
        network.eval()(inputs, read=lambda point, hidden: found.setdefault(point, hidden[0]))
    blocks = [found[n] for n in range(1, network.config.num_layers)]
    return [None, *blocks, found["output"]]


def network_of(start):
    made = Network(start.config).double()
    made.load_state_dict(start.tensors)
    return made


def slow_loss(model, start, batch, *, weight=1.0):
    """Mean over utterances, own frames, targets and dimensions, number by number, utterance by utterance."""
    network, distances, cosines = network_of(start), [], []
    for row, length in enumerate(batch.lengths.tolist()):
        inputs = batch.inputs[row : row + 1, :length]
        wanted = [states_of(network, inputs)[target] for target in SECTION.targets]
        hidden = states_of(model.encoder, inputs)[-1]
        for frame, state in enumerate(hidden):
            expanded = model.heads.expand.weight @ state + model.heads.expand.bias
            expanded = [0.5 * x * (1 + math.erf(x / math.sqrt(2))) for x in expanded.tolist()]
            for task, target in enumerate(wanted):
                head, dim = model.heads.each[task], len(state)
                part = torch.tensor(expanded[task * dim : (task + 1) * dim], dtype=torch.float64)
                guess, truth = (head.weight @ part + head.bias).tolist(), target[frame].tolist()
                distances.append(sum(abs(g - t) for g, t in zip(guess, truth, strict=True)) / dim)
                dot = sum(g * t for g, t in zip(guess, truth, strict=True))
                cosine = dot / math.sqrt(sum(g * g for g in guess) * sum(t * t for t in truth))
                cosines.append(-math.log(1 / (1 + math.exp(-cosine))))
    return sum(distances) / len(distances) + weight * sum(cosines) / len(cosines)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pre_norm", [False, True])
def test_the_loss_is_that_of_each_utterance_alone_number_by_number(family, pre_norm):
    start = teacher_of(family, pre_norm=pre_norm)
    model, batch = pupil(start).eval(), batch_of(family)
    made = model(batch, update=0)
    assert made.masked == sum(FRAMES) == batch.masked
    assert (made.total / made.masked).item() == pytest.approx(slow_loss(model, start, batch), rel=1e-9)
    parts = made.parts["l1"] + made.parts["cosine"]
    assert parts.item() == pytest.approx(made.total.item(), rel=1e-12)


def test_the_weight_of_the_cosine_term_is_its_own():
    start, batch = teacher_of("melhubert"), batch_of("melhubert")
    model = pupil(start, replace(SECTION, cosine=0.25)).eval()
    made = model(batch, update=0)
    assert (made.total / made.masked).item() == pytest.approx(slow_loss(model, start, batch, weight=0.25), rel=1e-9)


def test_signs_and_bounds_of_the_terms():
    target = torch.randn(5, 2, 7, dtype=torch.float64)
    for predicted, distance, cosine in ((target, 0.0, 1.0), (-target, 2 * float(target.abs().mean()), -1.0)):
        l1, likeness, watched = prediction_terms(predicted, target)
        assert l1.item() / 5 == pytest.approx(distance, abs=1e-12)
        assert likeness.item() / 5 == pytest.approx(math.log(1 + math.exp(-cosine)))
        assert watched.item() / 5 == pytest.approx(cosine)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_counts_only_where_it_is_asked_for(family):
    """Counted, it changes the mean and the number of frames; not counted, nothing behind the end matters."""
    model = pupil(teacher_of(family)).eval()
    own, whole = (model(batch_of(family, counted=counted), update=0) for counted in ("own", "all"))
    assert (own.masked, whole.masked) == (sum(FRAMES), 2 * max(FRAMES))
    assert abs(own.total / own.masked - whole.total / whole.masked) > 1e-4
    batch = batch_of(family)
    noisy = batch.inputs.clone()
    noisy[1, int(batch.lengths[1]) :] = 7.0
    assert torch.equal(model(replace(batch, inputs=noisy), update=0).total, own.total)


def test_sums_of_batches_are_the_sum_of_the_whole():
    """However an update is cut into batches, its loss and gradient are the same: the step divides by its frames."""
    start = teacher_of("hubert")
    gradients = []
    for batches in ([batch_of("hubert")], [utterance(batch_of("hubert"), row) for row in (0, 1)]):
        model = pupil(start)
        trainer = Trainer(model, torch.optim.SGD(model.parameters(), lr=0.0), rate=lambda _: 0.0, clip=0.0)
        kept = {}
        trainer.optimiser.register_step_pre_hook(
            lambda *_, model=model, kept=kept: kept.update({n: p.grad.clone() for n, p in model.named_parameters()})
        )
        report = trainer.step(batches)
        assert report.masked == sum(FRAMES)
        gradients.append((report.loss, kept))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-12)
    assert objectives.apart(gradients[0][1], gradients[1][1]) < 1e-9


def utterance(batch, row):
    frames = int(batch.counted[row].sum())
    alone = objectives.utterance(batch, row, frames)
    return replace(alone, counted=batch.counted[row : row + 1, :frames])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_teacher_is_left_alone(family):
    """No parameter of it is the objective's, no gradient, no draw, and training mode does not reach it."""
    start = teacher_of(family)
    model = pupil(start)
    before = {name: tensor.clone() for name, tensor in start.tensors.items()}
    optimiser = make_optimiser(model, recipe_of(family).optim)
    trainer = Trainer(model, optimiser, rate=lambda _: 1e-2)
    trainer.step([batch_of(family)])
    network = model.teacher.network
    assert not any(module.training for module in network.modules())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in network.state_dict())
    assert all(torch.equal(tensor, before[name]) for name, tensor in start.tensors.items())
    assert not any("teacher" in name for name in [*model.state_dict(), *dict(model.named_parameters())])
    state = torch.get_rng_state()
    Teacher(start.config, start.tensors, (1, 3)).targets(*heard(batch_of(family)))
    assert torch.equal(torch.get_rng_state(), state)


def heard(batch):
    return batch.inputs, batch.padded_lengths, batch.counted


def test_a_teacher_with_dropout_draws_and_one_without_answers_alike():
    start, batch = teacher_of("hubert"), batch_of("hubert")
    clean, noisy = (Teacher(start.config, start.tensors, (1, 3), dropout=each) for each in (None, DROPOUT))
    answers = []
    for seed in (1, 2, 1):
        with seeded(seed):
            answers.append((clean.targets(*heard(batch)), noisy.targets(*heard(batch))))
    assert torch.equal(answers[0][0], answers[1][0])
    assert not torch.equal(answers[0][1], answers[1][1])
    assert torch.equal(answers[0][1], answers[2][1])
    assert not torch.equal(answers[0][0], answers[0][1])


def test_a_teacher_answers_in_float32_whatever_its_student_computes_in():
    """Also where its file holds halves."""
    start, batch = teacher_of("hubert"), batch_of("hubert")
    batch = replace(batch, inputs=batch.inputs.float())
    halves, floats = ({n: t.to(kind) for n, t in start.tensors.items()} for kind in (torch.float16, torch.float32))
    floats = {name: tensor.half().float() for name, tensor in floats.items()}
    answers = [Teacher(start.config, tensors, (1, 3)).targets(*heard(batch)) for tensors in (halves, floats)]
    with torch.autocast("cpu", torch.bfloat16):
        answers.append(Teacher(start.config, halves, (1, 3)).targets(*heard(batch)))
        model = pupil(Checkpoint("t", start.config, floats)).float()
        total = model(batch, update=0).total
    assert all(answer.dtype == torch.float32 and torch.equal(answer, answers[0]) for answer in answers)
    assert (total.dtype, torch.isfinite(total).item()) == (torch.float32, True)


def test_a_teacher_computes_no_layer_behind_its_last_target():
    start = teacher_of("melhubert")
    short = Teacher(start.config, start.tensors, (1, 2))
    assert short.network.config.num_layers == 2
    states = states_of(network_of(start), batch_of("melhubert", (12,)).inputs)
    answer = short.targets(*heard(batch_of("melhubert", (12,))))
    torch.testing.assert_close(answer, torch.stack(states[1:3], 1), rtol=1e-12, atol=1e-12)


def test_masked_inputs_are_masked_for_teacher_and_student_and_every_frame_is_learnt():
    start, batch = teacher_of("melhubert"), batch_of("melhubert")
    model = pupil(start, replace(SECTION, masked=True)).eval()
    made = model(batch, update=0)
    zeroed = replace(batch, inputs=batch.inputs.masked_fill(batch.mask[..., None], 0))
    assert made.masked == sum(FRAMES)
    assert (made.total / made.masked).item() == pytest.approx(slow_loss(model, start, zeroed), rel=1e-9)
    assert made.total.item() != pytest.approx(pupil(start).eval()(batch, update=0).total.item(), rel=1e-6)
    assert torch.any(batch.inputs[batch.mask] != 0)  # nobody else's features are written into


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_copied_is_the_teachers_and_the_rest_is_drawn(family):
    start = Checkpoint("t", teacher_of(family).config, {n: t.float() for n, t in teacher_of(family).tensors.items()})
    whole = student(start, SECTION, (1, 3), seed=1)
    assert whole.encoder.config == replace(
        start.config, heads=start.config.heads[:2], ffn=start.config.ffn[:2], student=True
    )
    for name, tensor in whole.encoder.state_dict().items():
        assert torch.equal(tensor, start.tensors[name]), name
        assert tensor.data_ptr() != start.tensors[name].data_ptr()
    drawn = student(start, replace(SECTION, copied=()), (1, 3), seed=1)
    fresh = student(start, replace(SECTION, copied=()), (1, 3), seed=2)
    weights = [n for n, t in drawn.state_dict().items() if t.dim() > 1 and "positions" not in n]
    assert all(not torch.equal(drawn.state_dict()[n], fresh.state_dict()[n]) for n in weights)
    assert all(torch.equal(whole.state_dict()[n], drawn.state_dict()[n]) for n in weights if n.startswith("heads"))
    for part in PARTS:
        one = student(start, replace(SECTION, copied=(part,)), (1, 3), seed=1).encoder.state_dict()
        same = {name for name in one if torch.equal(one[name], start.tensors[name])}
        assert same == {name for name in one if name.startswith(PREFIXES[part])}


def test_a_student_without_feature_norm_has_none():
    start = teacher_of("hubert")
    made = pupil(start, replace(SECTION, feature_norm=False))
    assert made.encoder.feature_norm is None
    assert math.isfinite(made.eval()(batch_of("hubert"), update=0).total.item())


def test_heads_have_the_size_of_distilhubert():
    """Of base with targets 4 and 12; with MelHuBERT's encoders they make the sizes of the authors' students."""
    for layers, parameters in ((2, 21_321_344), (4, 35_497_088), (6, 49_672_832)):
        config = EncoderConfig("melhubert", MelFrontend(), 768, 64, (12,) * layers, (3072,) * layers, student=True)
        with torch.device("meta"):
            made = objective(config, DistillationSettings())
        assert isinstance(made, Distillation)
        assert (count_parameters(made.heads), count_parameters(made)) == (2_362_368, parameters)


def test_heads_are_drawn_within_their_bounds():
    start = teacher_of("melhubert")
    made = student(start, SECTION, (1, 3), seed=4)
    bound = start.config.dim**-0.5
    for parameter in made.heads.parameters():
        assert 0.8 * bound < parameter.detach().abs().max().item() <= bound


def recipe_of(family, *, layers=2, **said):
    model = {"family": family}
    return resolved({"model": model, "data": {"train": ["x"]}, "distill": {"layers": layers, **said}}, "r.toml")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_defaults_are_the_papers(family):
    recipe = recipe_of(family)
    assert (recipe.optim.lr, recipe.optim.warmup, recipe.optim.schedule, recipe.optim.clip) == (
        2e-4,
        14_000,
        "linear",
        5,
    )
    assert (recipe.run.steps, recipe.data.utterances, recipe.data.seconds) == (200_000, 24, None)
    assert (recipe.units, recipe.objective) == (None, None)
    assert recipe.regularisation.layerdrop == recipe.regularisation.input == 0
    section = recipe.distill
    assert section.copied == PARTS
    assert section.feature_norm
    assert section.decay_biases
    assert not any((section.padding, section.teacher_dropout, section.masked))


def test_warmup_is_a_share_of_the_updates_that_are_asked_for():
    said = {"model": {"family": "hubert"}, "data": {"train": ["x"]}, "run": {"steps": 1000}, "distill": {}}
    assert resolved(said, "r.toml").optim.warmup == 70


@pytest.mark.parametrize("steps", [0, -5, 10**20, "many", True])
def test_updates_that_cannot_be_are_named_as_such(steps):
    said = {"model": {"family": "hubert"}, "data": {"train": ["x"]}, "run": {"steps": steps}, "distill": {}}
    with pytest.raises(InputError, match=r"\[run\].*steps"):
        resolved(said, "r.toml")


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("preset", ["s3prl", "authors-code"])
def test_presets_of_wave_models_are_s3prls(family, preset):
    recipe = recipe_of(family, preset=preset)
    section = recipe.distill
    assert section.copied == ("frontend", "projection", "positions", "layers")
    assert (section.feature_norm, section.padding, section.teacher_dropout) == (False, True, True)
    assert (section.masked, section.decay_biases, recipe.optim.weight_decay) == (False, False, 0.01)
    assert (recipe.run.steps, recipe.optim.warmup) == (200_000, 14_000)


@pytest.mark.parametrize(
    ("layers", "steps", "warmup"), [(2, 200_005, 14_000), (4, 200_005, 14_000), (6, 320_005, 22_400)]
)
def test_the_authors_melhubert_students_begin_at_random_and_hear_masks(layers, steps, warmup):
    recipe = recipe_of("melhubert", layers=layers, preset="authors-code")
    section = recipe.distill
    assert (section.copied, section.padding, section.teacher_dropout, section.masked) == ((), True, True, True)
    assert (section.decay_biases, recipe.optim.weight_decay) == (True, 1e-6)
    assert (recipe.run.steps, recipe.optim.warmup) == (steps, warmup)


def test_a_key_beside_a_preset_counts():
    section = recipe_of("hubert", preset="s3prl", padding=False).distill
    assert (section.padding, section.teacher_dropout) == (False, True)


def test_biases_do_not_decay_where_they_must_not():
    model = pupil(teacher_of("melhubert"))
    groups = make_optimiser(model, recipe_of("melhubert").optim, decay_biases=False).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all("bias" not in names[id(parameter)] for parameter in groups[0]["params"])
    assert all("bias" in names[id(parameter)] for parameter in groups[1]["params"])
    assert sum(len(group["params"]) for group in groups) == len(names)
    assert groups[1]["weight_decay"] == 0


@pytest.mark.parametrize(
    ("layers", "targets"),
    [(1, (1,)), (2, (1, 2)), (3, (2, 3)), (6, (3, 6)), (11, (6, 11)), (12, (4, 12)), (24, (4, 12))],
)
def test_targets_of_small_teachers(layers, targets):
    assert default_targets(layers) == targets


@pytest.mark.parametrize(
    ("family", "section", "said"),
    [
        ("hubert", {"masked": True}, "masked hides mel frames"),
        ("melhubert", {"preset": "s3prl"}, "knows no melhubert"),
        ("hubert", {"preset": "s3"}, "take one of s3prl"),
        ("hubert", {"targets": [4, 2]}, "in order"),
        ("hubert", {"targets": [0, 2]}, "counted from 1"),
        ("hubert", {"layers": 0}, "1 or more"),
        ("hubert", {"cosine": -1.0}, "give 0 or more"),
        ("hubert", {"copied": ["heads"]}, "take one of frontend"),
        ("hubert", {"layer": 2}, "the nearest is 'layers'"),
        ("hubert", {"layers": [2], "preset": "authors-code"}, "give a whole number"),
    ],
)
def test_what_is_no_student_is_refused_in_a_line(family, section, said):
    with pytest.raises(InputError, match=said):
        resolved({"model": {"family": family}, "data": {"train": ["x"]}, "distill": section}, "r.toml")


@pytest.mark.parametrize(("section", "keys"), [("units", {"clusters": 5}), ("objective", {"temperature": 0.2})])
def test_a_student_learns_no_labels_and_no_contrast(section, keys):
    said = {"model": {"family": "hubert"}, "data": {"train": ["x"]}, "distill": {}, section: keys}
    with pytest.raises(InputError, match="a student"):
        resolved(said, "r.toml")


def test_fresh_weights_are_those_of_pre_training():
    """A student that copies nothing begins as any network of its shape does."""
    start = teacher_of("melhubert")
    made = student(start, replace(SECTION, copied=()), (1, 3), seed=9)
    network = Network(made.encoder.config)
    initialise_network(network, torch.Generator().manual_seed(9))
    assert all(torch.equal(made.encoder.state_dict()[n], t) for n, t in network.state_dict().items())
