from itertools import pairwise

import numpy as np
import pytest

from speechbias.errors import InputError
from speechbias.training.sampler import BUCKET, Sampler

RATE = 16_000
LENGTHS = np.random.default_rng(0).integers(RATE, 20 * RATE, size=500)


def padded_seconds(lengths, batch):
    return lengths[batch].max() * len(batch) / RATE


@pytest.mark.parametrize("by", [{"seconds": 87.5}, {"seconds": 21.0}, {"utterances": 12}])
def test_every_utterance_once_per_epoch(by):
    sampler = Sampler(LENGTHS, **by, crop_seconds=15.6)
    for epoch in range(3):
        batches = sampler.batches(epoch)
        assert sorted(np.concatenate(batches)) == list(range(len(LENGTHS)))
        assert len(batches) == len(sampler)


def test_no_batch_is_larger_than_asked():
    cropped = np.minimum(LENGTHS, 250_000)
    batches = Sampler(LENGTHS, seconds=87.5, crop_seconds=250_000 / RATE).batches(0)
    assert max(padded_seconds(cropped, batch) for batch in batches) <= 87.5
    assert np.median([padded_seconds(cropped, batch) for batch in batches]) > 75
    sizes = [len(batch) for batch in Sampler(LENGTHS, utterances=12).batches(0)]
    assert sorted(sizes) == [500 % 12] + [12] * (500 // 12)


def test_neighbours_in_length_make_a_batch():
    batches = Sampler(LENGTHS, seconds=87.5).batches(0)
    buckets = sorted((bucket.min(), bucket.max()) for bucket in (-(-LENGTHS[batch] // BUCKET) for batch in batches))
    for (_, longest), (shortest, _) in pairwise(buckets):
        assert longest <= shortest
    spread = [LENGTHS[batch].max() - LENGTHS[batch].min() for batch in batches]
    assert np.median(spread) < RATE


def test_batches_are_a_function_of_seed_epoch_and_position():
    def rows(seed, epoch, position):
        return Sampler(LENGTHS, seconds=87.5, seed=seed).batch(epoch, position).tolist()

    sampler = Sampler(LENGTHS, seconds=87.5, seed=3)
    sampler.batches(0)
    assert sampler.batch(2, 5).tolist() == rows(3, 2, 5)
    assert rows(3, 2, 5) not in (rows(4, 2, 5), rows(3, 1, 5), rows(3, 2, 6))


def test_composition_of_batches_changes_from_epoch_to_epoch():
    many = np.random.default_rng(1).integers(RATE, 16 * RATE, size=20_000)
    sampler = Sampler(many, seconds=87.5)
    first, second = ({tuple(sorted(batch)) for batch in sampler.batches(epoch)} for epoch in range(2))
    assert len(first & second) < len(first) / 20


def test_rows_of_a_selection_are_rows_of_the_whole():
    rows = np.flatnonzero(LENGTHS > 5 * RATE)
    batches = Sampler(LENGTHS, utterances=7, rows=rows).batches(0)
    assert sorted(np.concatenate(batches)) == rows.tolist()


def test_the_numbers_of_a_run_go_on_over_epochs():
    sampler = Sampler(LENGTHS, utterances=50)
    assert [sampler.locate(number) for number in (0, 9, 10, 25)] == [(0, 0), (0, 9), (1, 0), (2, 5)]


def test_what_cannot_be_batched_is_refused():
    with pytest.raises(InputError, match=r"longer than a batch of 10 s. Crop them"):
        Sampler(LENGTHS, seconds=10)
    with pytest.raises(InputError, match="no utterances"):
        Sampler(LENGTHS, seconds=10, rows=np.array([], int))
    with pytest.raises(InputError, match="a batch of 0 utterances"):
        Sampler(LENGTHS, utterances=0)
    with pytest.raises(ValueError, match="either seconds or utterances"):
        Sampler(LENGTHS, seconds=10, utterances=2)
