"""Models by name, ``random:<family>-<size>[:seed]``; and ``check_model``, which says all of it beforehand."""

import difflib
import weakref

import numpy as np
import pytest
import torch

from speechbias.checkpoint import Demands, check_model, load_encoder, read_checkpoint
from speechbias.checkpoint.folder import save_checkpoint
from speechbias.checkpoint.source import UNTRAINED_NAMES, parse_untrained
from speechbias.checkpoint.untrained import MEL_MEAN, MEL_STD, untrained_config
from speechbias.errors import InputError
from speechbias.features import NAMES as FEATURES
from speechbias.models import objectives
from speechbias.models.config import FAMILIES, SIZES, sized
from speechbias.models.engine import Engine
from speechbias.models.freeze import freeze
from speechbias.models.mel import mel_features

STATS = np.random.default_rng(0).uniform(2, 5, (2, 40))
MEL = Demands(16_000, 400, takes_mel_stats=True)
SMALL = "random:melhubert-small"


def test_every_family_in_every_size_has_a_name():
    assert {
        (family, size) for family, size, _ in map(parse_untrained, (f"random:{name}" for name in UNTRAINED_NAMES))
    } == {(family, size) for family in FAMILIES for size in SIZES}
    for name in UNTRAINED_NAMES:
        family, _, size = name.partition("-")
        assert untrained_config(f"random:{name}:5") == sized(family, size)


def test_a_seed_is_a_model(wave):
    first, again, other = (load_encoder(f"{SMALL}{seed}") for seed in ("", ":0", ":1"))
    assert first.sha256 == again.sha256 != other.sha256
    assert np.array_equal(first.hidden_states(wave), again.hidden_states(wave))
    assert not np.allclose(first.hidden_states(wave), other.hidden_states(wave), atol=1e-3)
    assert (first.name, again.name, other.name) == (SMALL, f"{SMALL}:0", f"{SMALL}:1")


def test_drawing_leaves_the_random_numbers_of_others_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    read_checkpoint(f"{SMALL}:7")
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("name", ["wav2vec2-small", "hubert-small"])
def test_waveform_models(wave, name):
    encoder = load_encoder(f"random:{name}:3", states="speat-2023")
    states = encoder.hidden_states(wave)
    assert states.shape == (4, 24, 640)
    assert np.isfinite(states).all()
    assert (encoder.family, encoder.states) == (name.partition("-")[0], "speat-2023")
    assert len(np.unique(states[1][0])) > 600


def test_what_is_known_of_an_untrained_model():
    read = read_checkpoint("random:hubert-small:3")
    assert (read.meta.step, read.meta.mel_stats) == (0, None)
    assert read.meta.provenance == {"format": "untrained", "source": "random:hubert-small:3", "seed": 3}
    assert read.settings == objectives.published_settings("hubert", "small")
    assert read.objective().label_embeddings.shape == (504, 256)


def test_melhubert_takes_audio_with_the_default_statistics_and_with_given_ones(wave, tmp_path):
    default, given = load_encoder(SMALL), load_encoder(SMALL, mel_stats=STATS)
    for encoder, stats in ((default, np.array([MEL_MEAN, MEL_STD])), (given, STATS)):
        features = mel_features(wave, encoder.config.frontend, stats)
        assert np.array_equal(encoder.hidden_states(wave), encoder.encode_features(features))
    assert default.sha256 == given.sha256
    assert default.recipe["mel_stats"] != given.recipe["mel_stats"]
    np.save(tmp_path / "stats.npy", STATS)
    assert load_encoder(SMALL, mel_stats=tmp_path / "stats.npy").recipe == given.recipe


def test_the_default_statistics_are_those_of_speech(wave):
    mean, std = np.array([MEL_MEAN, MEL_STD])
    assert (len(mean), len(std)) == (40, 40)
    assert ((mean > 11) & (mean < 17)).all()
    assert ((std > 3) & (std < 5)).all()


def test_an_untrained_model_can_be_kept(tmp_path, wave):
    path = save_checkpoint(tmp_path / "step-00000000", read_checkpoint(f"{SMALL}:2"))
    kept, drawn = load_encoder(path), load_encoder(f"{SMALL}:2")
    assert (kept.sha256, kept.recipe) == (drawn.sha256, drawn.recipe)
    assert np.array_equal(kept.pooled(wave), drawn.pooled(wave))


NONE = [
    ("random:wav2vec2-bas", r"did you mean random:wav2vec2-base\?"),
    ("random:huber-large", r"did you mean random:hubert-large\?"),
    ("random:melhubert", r"did you mean random:melhubert-"),
    ("random:", "is no model"),
    ("random::3", "is no model"),
    ("random:wav2vec2-base:x", "no whole number"),
    ("random:wav2vec2-base:-1", "no whole number"),
    ("random:wav2vec2-base:1.0", "no whole number"),
    ("random:wav2vec2-base:+1", "no whole number"),
    ("random:wav2vec2-base: 1", "no whole number"),
    ("random:wav2vec2-base:1_0", "no whole number"),
    ("random:wav2vec2-base:²", "no whole number"),
    ("random:wav2vec2-base:1:2", "no whole number"),
    ("random:wav2vec2-base::", "no whole number"),
    (f"random:wav2vec2-base:{2**63}", "no whole number"),
    (f"random:wav2vec2-base:{'9' * 5000}", "no whole number"),
    ("random:wav2vec2-base:", "ends without its seed; write random:wav2vec2-base or for example"),
    ("Random:wav2vec2-base", "is no model"),
]


@pytest.mark.parametrize(("model", "message"), NONE, ids=[model[:30] for model, _ in NONE])
def test_names_without_meaning(refuses, model, message):
    refuses(message, load_encoder, model)
    refuses(message, check_model, model)


def test_the_largest_seed_is_one():
    assert parse_untrained(f"random:hubert-base:{2**63 - 1}") == ("hubert", "base", 2**63 - 1)
    assert parse_untrained("random:hubert-base:007") == ("hubert", "base", 7)


def test_the_nearest_name_is_the_nearest():
    for name in UNTRAINED_NAMES:
        wrong = name[:-1]
        near = difflib.get_close_matches(wrong, UNTRAINED_NAMES, n=1)[0]
        with pytest.raises(InputError, match=f"random:{near}"):
            parse_untrained(f"random:{wrong}")


# check_model: what load_encoder would say, without the cost


@pytest.fixture(scope="module")
def models(original, write, tmp_path_factory):
    """One MODEL of each kind that is read from disk."""
    home = tmp_path_factory.mktemp("models")
    made = {}
    for family in FAMILIES:
        one = original(family)
        made[f"{family} file"] = write("model.pt", {"model": one.fairseq(), "cfg": one.settings()})
        read = read_checkpoint(made[f"{family} file"], mel_stats=STATS if family == "melhubert" else None)
        made[f"{family} folder"] = save_checkpoint(home / family, read)
    odd = original(channels=(16,) * 3, kernels=(10, 3, 3), strides=(5, 2, 2))
    cfg = odd.settings(conv_feature_layers="[(16,10,5)] + [(16,3,2)] * 2")
    made["odd file"] = write("odd.pt", {"model": odd.fairseq(), "cfg": cfg})
    return {kind: str(path) for kind, path in made.items()}


def outcome(work, *arguments, **options):
    """What an InputError says; None where nothing is wrong."""
    try:
        work(*arguments, **options)
    except InputError as error:
        return str(error)
    return None


KINDS = [f"{family} {kind}" for family in FAMILIES for kind in ("file", "folder")] + ["odd file"]


@pytest.mark.parametrize("states", ["s3prl", "hf", "speat-2023"])
@pytest.mark.parametrize("kind", [*KINDS, *FEATURES, "random:hubert-small", "random:melhubert-small"])
def test_check_model_says_what_the_encoder_is(models, kind, states):
    model = models.get(kind, kind)
    options = {"mel_stats": STATS} if kind == "melhubert file" else {}
    if "melhubert" in kind and states != "s3prl":
        said = outcome(check_model, model, states=states, **options)
        assert said == outcome(load_encoder, model, states=states, **options)
        assert "not defined for MelHuBERT" in said
    else:
        encoder = load_encoder(model, states=states, **options)
        assert check_model(model, states=states, **options) == Demands(
            encoder.sample_rate, encoder.min_samples, takes_mel_stats="melhubert" in kind
        )


def test_check_model_asks_for_the_statistics_that_the_first_clip_would_miss(models, refuses, wave):
    model = models["melhubert file"]
    said = refuses("--mel-stats", check_model, model)
    assert said == refuses("--mel-stats", load_encoder(model).hidden_states, wave)
    assert check_model(models["melhubert folder"]) == MEL


@pytest.mark.parametrize("kind", ["mel", "random:hubert-small", *KINDS, SMALL])
@pytest.mark.parametrize(
    "options",
    [
        {"states": "s4prl"},
        {"device": "abacus"},
        {"device": "cuda:99"},
        {"mel_stats": STATS[:, 1:]},
        {"mel_stats": "no.npy"},
        {"mel_stats": STATS},
    ],
    ids="-".join,
)
def test_check_model_refuses_what_load_encoder_refuses(models, kind, options):
    model = models.get(kind, kind)
    outcomes = [outcome(work, model, **options) for work in (load_encoder, check_model)]
    if "mel_stats" not in options and kind == "melhubert file":
        assert outcomes[0] in {outcomes[1], None}  # no statistics: check_model may name that first
    elif kind == "mel" and "device" in options:
        assert outcomes == [None, None]
    elif "mel_stats" in options and "melhubert" not in kind:  # one --mel-stats is for all models of a survey
        assert "mel_stats" in outcomes[0] or "mel statistics" in outcomes[0] or "no.npy" in outcomes[0]
        assert outcomes[1] is None
    else:
        assert outcomes[0] == outcomes[1]


def test_check_model_draws_no_weights(monkeypatch):
    def drawn(*_, **__):
        raise AssertionError

    monkeypatch.setattr(objectives, "untrained", drawn)
    assert check_model("random:wav2vec2-large:4") == Demands(16_000, 400)
    assert check_model("random:melhubert-base") == MEL
    assert check_model("random:melhubert-base", mel_stats=STATS) == MEL
    for model, options in (
        ("random:melhubert-base", {"states": "hf"}),
        ("random:melhubert-base", {"mel_stats": STATS[0]}),
        ("random:hubert-base:x", {}),
    ):
        with pytest.raises(InputError):
            check_model(model, **options)


def test_which_models_take_statistics(models):
    stats = {"mel_stats": STATS}
    assert all(check_model(models[name], **stats).takes_mel_stats for name in ("melhubert file", "melhubert folder"))
    others = [models["hubert file"], models["wav2vec2 folder"], "mel", "random:hubert-base"]
    assert not any(check_model(model, **stats).takes_mel_stats for model in others)


def test_names_are_looked_at_before_anything_is_opened(monkeypatch):
    monkeypatch.setattr("speechbias.checkpoint.source.find_snapshot", lambda hub_id: pytest.fail("asked the hub"))
    assert check_model("mel:cmvn").sample_rate == 16_000
    assert check_model("random:hubert-base").sample_rate == 16_000


@pytest.fixture
def draws(monkeypatch):
    """How often weights were drawn."""
    names = []
    plain = objectives.fresh

    def counted(config, settings, *, seed):
        names.append(config.family)
        return plain(config, settings, seed=seed)

    monkeypatch.setattr(objectives, "fresh", counted)
    return names


def test_packing_lets_go_of_what_was_drawn_and_draws_nothing_twice(wave, draws):
    read = read_checkpoint("random:wav2vec2-small:2")
    alive = [weakref.ref(tensor) for tensor in read.tensors.values()]
    storages = {tensor.data_ptr() for tensor in read.tensors.values()}
    assert len(storages) == len(alive)
    engine = Engine(read.stored(), torch.float32)
    assert not any(tensor() is not None for tensor in alive)
    assert draws == ["wav2vec2"]
    plain = freeze("plain", read.network())  # needs them again
    assert draws == ["wav2vec2"] * 2
    seen = []
    with torch.inference_mode():
        engine(torch.tensor(wave)[None], read=lambda point, hidden: seen.append(hidden.clone()))
    assert np.array_equal(seen[-1][0].numpy(), plain.hidden_states(wave)[-1])


def test_what_was_given_away_is_drawn_again_the_same(draws):
    read = read_checkpoint("random:wav2vec2-small:2")
    before = {name: tensor.clone() for name, tensor in read.tensors.items()}
    stored = read.stored()
    part = stored.part("transformer.layers.1")
    assert {f"transformer.layers.1.{name}" for name in part} <= before.keys()
    assert len(stored.part("transformer.layers.1")) == len(part) == len(stored.part("transformer.layers.0"))
    assert draws == ["wav2vec2"] * 2
    for again in (stored.tensors(), read.tensors):
        assert all(torch.equal(again[name], tensor) for name, tensor in before.items())
        assert again.keys() == before.keys()
