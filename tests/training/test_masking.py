from itertools import pairwise

import numpy as np
import pytest

from speechbias.training.draws import generator
from speechbias.training.masking import Masking, _spans, gumbel_noise, negatives, span_mask


def fairseq(frames, prob, length, draws, min_masks=2):
    """The rule in so many words: number of spans, starts without replacement, their union."""
    number = max(min_masks, int(prob * frames / length + draws.random()))
    room = frames - length if frames - length > number else number + 1
    hidden = set()
    for start in draws.choice(room, number, replace=False):
        hidden |= {frame for frame in range(start, start + length) if frame < frames}
    return np.array([frame in hidden for frame in range(frames)])


@pytest.mark.parametrize(("frames", "length"), [(200, 10), (97, 5), (12, 10), (13, 10), (5, 10), (3, 1)])
def test_a_mask_is_the_union_of_its_spans(frames, length):
    for seed in range(20):
        expected = fairseq(frames, 0.65, length, np.random.default_rng(seed))
        found = span_mask(frames, prob=0.65, length=length, draws=np.random.default_rng(seed))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("prob_length_share", [(0.65, 10, 0.49), (0.7, 5, 0.53), (0.8, 10, 0.56)])
def test_the_share_of_masked_frames(prob_length_share):
    prob, length, share = prob_length_share
    masking, draws = Masking(prob, length), np.random.default_rng(0)
    found = np.mean([masking.mask(749, draws).mean() for _ in range(300)])
    assert found == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("frames", [0, 1, 2, 3])
def test_an_utterance_of_few_frames(frames):
    for seed in range(20):
        mask = span_mask(frames, prob=0.8, length=10, draws=np.random.default_rng(seed))
        assert mask.shape == (frames,)
        assert mask.any() == (frames > 1)


def span_masks(lengths, *, prob, length, draws):
    """Masks of a batch, (batch, longest), from one stream in the order of MelHuBERT's public code.

    The first number drawn decides how many spans every row has where none is padded; else each row draws its own.
    """
    longest = max(lengths)
    shared = max(int(prob * longest / length + draws.random()), 2)
    masks = np.zeros((len(lengths), longest), bool)
    for row, frames in zip(masks, lengths, strict=True):
        if min(lengths) == longest:
            row[:] = _spans(frames, length, shared, draws)
        else:
            row[:frames] = span_mask(frames, prob=prob, length=length, draws=draws)
    return masks


@pytest.mark.parametrize("case", range(4))
def test_masks_of_the_public_melhubert_code(shared, case):
    arrays = np.load(shared / "parity" / "melhubert" / "mask_indices.npz")
    prob, length, seed = arrays[f"case{case}_args"]
    lengths = arrays[f"case{case}_lens"].tolist()
    found = span_masks(lengths, prob=prob, length=int(length), draws=np.random.RandomState(int(seed)))
    np.testing.assert_array_equal(found, arrays[f"case{case}_mask"])


def test_masks_of_six_training_steps_of_the_public_melhubert_code(shared):
    arrays = np.load(shared / "parity" / "melhubert" / "tiny_20ms.npz")
    shape = tuple(arrays["masks_shape"])
    expected = np.unpackbits(arrays["masks"])[: np.prod(shape)].reshape(shape).astype(bool)
    lengths = arrays["M"].sum(axis=1).astype(int).tolist()
    draws = np.random.RandomState(1337)
    for step in expected:
        found = span_masks(lengths, prob=0.7, length=5, draws=draws)
        np.testing.assert_array_equal(found, step)
        draws.random(2)  # its encoder draws a number per layer, for LayerDrop


def streams(count):
    return [generator(0, "negatives", 0, str(number)) for number in range(count)]


def test_negatives_are_other_masked_frames_of_the_same_utterance():
    counts = [5, 0, 2, 40]
    found = negatives(counts, number=300, draws=streams(4))
    assert found.shape == (47, 300)
    starts = np.cumsum([0, *counts])
    for start, stop in pairwise(starts):
        for frame in range(start, stop):
            others = set(range(start, stop)) - {frame}
            assert set(found[frame]) <= others
            if len(others) < 10:
                assert set(found[frame]) == others


def test_negatives_are_uniform():
    found = negatives([4], number=30_000, draws=streams(1))
    for frame in range(4):
        shares = np.bincount(found[frame], minlength=4) / 30_000
        assert shares[np.arange(4) != frame] == pytest.approx(1 / 3, abs=0.01)


def test_the_only_masked_frame_is_told_from_itself():
    np.testing.assert_array_equal(negatives([1, 1], number=3, draws=streams(2)), [[0] * 3, [1] * 3])


def test_negatives_and_noise_of_an_utterance_do_not_depend_on_its_neighbours():
    alone, company = streams(2), streams(2)
    in_company = negatives([6, 9], number=7, draws=company)
    np.testing.assert_array_equal(in_company[6:] - 6, negatives([9], number=7, draws=alone[1:]))
    noise = gumbel_noise([6, 9], size=8, draws=streams(2))
    np.testing.assert_array_equal(noise[6:], gumbel_noise([9], size=8, draws=streams(2)[1:]))


def test_noise_is_standard_gumbel():
    noise = gumbel_noise([2000], size=50, draws=streams(1))
    assert noise.dtype == np.float32
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.01)
    assert noise.std() == pytest.approx(np.pi / 6**0.5, abs=0.01)


def test_every_part_of_a_name_makes_another_stream():
    names = [(0, "mask", 0, "a"), (1, "mask", 0, "a"), (0, "crop", 0, "a"), (0, "mask", 1, "a"), (0, "mask", 0, "b")]
    first = [generator(*name).integers(1 << 62) for name in names]
    assert len(set(first)) == len(names)
    assert first == [generator(*name).integers(1 << 62) for name in names]


@pytest.mark.parametrize("wrong", [{"prob": 0.0}, {"prob": 1.5}, {"length": 0}, {"min_masks": -1}])
def test_a_masking_that_makes_no_sense(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
        Masking(**{"prob": 0.5, "length": 10} | wrong)
