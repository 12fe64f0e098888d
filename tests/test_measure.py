"""From embeddings to results: layers, means, files of vectors."""

import numpy as np
import pytest

from recordings import write_test
from speechbias import association_test, effect_size, load_encoder
from speechbias.embeddings import Embeddings, Model, embed
from speechbias.errors import InputError
from speechbias.measure import measure_bias, measure_layers
from speechbias.stimuli import read_stimuli
from speechbias.vectors import read_vectors, to_arrays

FAST = {"permutations": 2000, "resamples": 500}
SETS = "XYAB"


def made_up(*, states=3, dim=16, n=(9, 10, 12, 12), seed=0):
    rng = np.random.default_rng(seed)
    array = rng.normal(size=(sum(n), states, dim)) + 1
    array[: n[0]] += 0.3
    array[n[0] + n[1] : n[0] + n[1] + n[2]] += 0.3
    talkers = tuple(f"t{i % 6}" for i in range(n[2]))
    blank = {name: ("",) * count for name, count in zip(SETS, n, strict=True)}
    return Embeddings(
        array=array.astype(np.float32),
        n=dict(zip(SETS, n, strict=True)),
        test="made-up",
        model=Model("m", "test", "s3prl", "float32", "0"),
        speakers={**blank, "A": talkers, "B": talkers},
        pairs=blank,
        groups={"X": "x", "Y": "y", "A": "a", "B": "b"},
        stimuli_sha256="1",
    )


def test_layer_mean_is_the_d_of_the_mean_embedding():
    embeddings = made_up()
    sets = embeddings.sets()
    means = [sets[name].astype(np.float64).mean(axis=1) for name in SETS]
    result = measure_bias(embeddings, **FAST)
    assert result.layer == "mean"
    assert result.d == pytest.approx(effect_size(*means), abs=1e-12)
    layers = [effect_size(*(sets[name][:, state] for name in SETS)) for state in range(3)]
    assert abs(result.d - np.mean(layers)) > 1e-4  # it is not the mean of the d's


def test_every_layer_agrees_with_the_test_of_its_arrays():
    embeddings = made_up()
    sets = embeddings.sets()
    results = measure_layers(embeddings, **FAST)
    assert [r.layer for r in results] == ["mean", 0, 1, 2]
    for result in results[1:]:
        alone = association_test(
            *(sets[name][:, result.layer] for name in SETS), speakers=dict(embeddings.speakers), **FAST
        )
        assert (result.d, result.p_value, result.p_attribute) == pytest.approx(
            (alone.d, alone.p_value, alone.p_attribute), abs=1e-12
        )
        assert (result.ci_low, result.ci_high) == pytest.approx((alone.ci_low, alone.ci_high), abs=1e-9)
        assert result.p_adjusted >= result.p_value - 1e-12
        assert result.adjusted_over == "3 states of one model"
    assert results[0].p_adjusted is None


def test_one_layer_is_the_same_as_among_all():
    embeddings = made_up()
    assert measure_bias(embeddings, layer=2, **FAST) == measure_layers(embeddings, **FAST)[3]
    assert measure_bias(embeddings, **FAST) == measure_layers(embeddings, **FAST)[0]


@pytest.mark.parametrize("layer", [3, -1, "first"])
def test_layers_that_do_not_exist_are_refused(layer):
    with pytest.raises(InputError, match="0 to 2"):
        measure_bias(made_up(), layer=layer)


def test_degenerate_embeddings_name_test_model_and_state():
    embeddings = made_up()
    embeddings.array[4, 1] = 0
    with pytest.raises(InputError, match=r"made-up, m: .*state 1"):
        measure_layers(embeddings, **FAST)


def test_vectors_survive_the_disk(tmp_path):
    embeddings = made_up()
    path = tmp_path / "vectors.npz"
    np.savez(path, **to_arrays(embeddings))
    again = read_vectors(path)
    np.testing.assert_array_equal(again.array, embeddings.array)
    before, after = measure_bias(embeddings, **FAST), measure_bias(again, **FAST)
    assert (after.d, after.p_value, after.p_attribute) == (before.d, before.p_value, before.p_attribute)
    assert after.n_speakers == before.n_speakers
    assert after.test == "vectors"
    names = b"".join(np.load(path)[key].tobytes() for key in ("speakers_A", "speakers_B"))
    assert b"t0" not in names


def test_vectors_of_one_state_in_float64_keep_every_digit(tmp_path):
    rng = np.random.default_rng(0)
    sets = {name: rng.normal(size=(5, 4)) for name in SETS}
    np.savez(tmp_path / "e.npz", **sets)
    result = measure_bias(read_vectors(tmp_path / "e.npz"), **FAST)
    assert result.d == pytest.approx(effect_size(*sets.values()), abs=1e-13)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.ones((3, 4))}, "lacks Y, A, B"),
        (dict.fromkeys(SETS, np.ones((3, 4), int)), "floating-point"),
        ({**dict.fromkeys(SETS, np.ones((3, 4))), "B": np.ones((3, 5))}, "do not fit"),
        (dict.fromkeys(SETS, np.ones(3)), "do not fit"),
        (dict.fromkeys(SETS, np.ones((3, 0))), "no numbers"),
        ({**dict.fromkeys(SETS, np.ones((3, 4))), "speakers_X": np.array(1)}, r"speakers_X has shape \(\)"),
        ({**dict.fromkeys(SETS, np.ones((3, 4))), "speakers_A": np.ones((3, 2))}, "one label per stimulus"),
        ({**dict.fromkeys(SETS, np.ones((3, 4))), "pairs_Y": np.ones(2)}, "pairs_Y has shape"),
        ({**dict.fromkeys(SETS, np.ones((3, 4))), "speakers_X": np.array([None] * 3)}, "objects are not read"),
    ],
)
def test_wrong_vectors_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "e.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_vectors(tmp_path / "e.npz")


def test_what_is_no_npz_is_refused(tmp_path):
    (tmp_path / "e.npz").write_text("no")
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    for name in ("e.npz", "one.npz"):
        with pytest.raises(InputError, match=r"no \.npz file"):
            read_vectors(tmp_path / name)
    with pytest.raises(InputError, match="does not exist"):
        read_vectors(tmp_path / "missing.npz")


def test_vectors_with_stimuli_take_their_speakers(tmp_path):
    stimuli = read_stimuli(write_test(tmp_path))
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "e.npz", **{name: rng.normal(size=(6, 2, 4)) for name in SETS})
    embeddings = read_vectors(tmp_path / "e.npz", stimuli)
    assert embeddings.speakers["A"] == ("t0", "t1", "t2", "t3", "t4", "t5")
    assert embeddings.test == "gender"
    np.savez(tmp_path / "e.npz", **{name: rng.normal(size=(5, 2, 4)) for name in SETS})
    with pytest.raises(InputError, match="6"):
        read_vectors(tmp_path / "e.npz", stimuli)


def test_real_features_find_the_made_difference(tmp_path):
    stimuli = read_stimuli(write_test(tmp_path, clips=10))
    result = measure_bias(embed(load_encoder("mel"), stimuli), **FAST)
    assert result.d > 0.8
    assert result.p_value < 0.05
    assert result.n_speakers == {"X": 10, "Y": 10, "A": 10, "B": 10}


def test_a_layer_may_be_a_number_of_numpy():
    assert measure_bias(made_up(), layer=np.int64(1), **FAST) == measure_bias(made_up(), layer=1, **FAST)
