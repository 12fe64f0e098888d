"""Batches of shards: each utterance once per epoch, within its window, a function of (seed, epoch, position)."""

from types import SimpleNamespace

import numpy as np
import pytest

from speechbias.training.sampler import Sampler
from speechbias.training.shards import rows_by_shard
from speechbias.training.windows import WindowSampler, sampler_of

RATE = 16_000
LENGTHS = np.random.default_rng(0).integers(RATE, 20 * RATE, size=1000)
SHARD = np.sort(np.random.default_rng(1).integers(0, 21, size=1000))  # of which one may be the smallest
SHARDS = [np.flatnonzero(number == SHARD) for number in range(21)]


def windowed(**options):
    return WindowSampler(LENGTHS, SHARDS, **{"seconds": 87.5, "crop_seconds": 15.6, "window": 4, **options})


@pytest.mark.parametrize("by", [{"seconds": 87.5}, {"seconds": None, "utterances": 12}])
def test_every_utterance_once_per_epoch(by):
    sampler = windowed(**by)
    for epoch in range(3):
        batches = [sampler.batch(epoch, position) for position in range(len(sampler))]
        assert sorted(np.concatenate(batches)) == list(range(1000))
    padded = [np.minimum(LENGTHS[batch], 249_600).max() * len(batch) / RATE for batch in batches]
    assert by["seconds"] is None or max(padded) <= 87.5


def test_batches_are_a_function_of_seed_epoch_and_position():
    walked, numbers = windowed(seed=3), list(range(0, 3 * len(windowed()), 7))
    in_order = {number: walked.batch(*walked.locate(number)).tolist() for number in numbers}
    jumped = windowed(seed=3)
    for number in reversed(numbers):  # a resumed run, and ranks, begin anywhere
        assert jumped.batch(*jumped.locate(number)).tolist() == in_order[number]
    other = windowed(seed=4)
    assert [other.batch(0, position).tolist() for position in range(5)] != [
        walked.batch(0, position).tolist() for position in range(5)
    ]
    assert in_order[0] != walked.batch(1, 0).tolist()


def test_an_epoch_goes_through_windows_of_few_shards():
    sampler = windowed()
    orders = []
    for epoch in range(2):
        read = [frozenset(SHARD[sampler.batch(epoch, position)]) for position in range(len(sampler))]
        assert max(map(len, read)) <= 4
        order = []
        for shards in read:
            if not order or not (order[-1] & shards):
                order.append(set())
            order[-1] |= shards
        assert [len(window) for window in order] == [4] * 5 + [1] or sorted(map(len, order)) == [1, 4, 4, 4, 4, 4]
        assert len(set().union(*order)) == sum(map(len, order)) == 21  # none is come back to
        orders.append(order)
    assert orders[0] != orders[1]
    assert sorted(map(sorted, orders[0])) == sorted(map(sorted, orders[1]))


def test_ranks_share_an_epoch():
    sampler = windowed()
    ranks = [np.concatenate([sampler.batch(0, n) for n in range(rank, len(sampler), 3)]) for rank in range(3)]
    assert sorted(np.concatenate(ranks)) == list(range(1000))


def test_padding_is_about_that_of_the_whole_corpus():
    whole = Sampler(LENGTHS, seconds=87.5, crop_seconds=15.6)

    def padding(sampler):
        rows = [np.minimum(LENGTHS[sampler.batch(0, n)], 249_600) for n in range(len(sampler))]
        return 1 - sum(row.sum() for row in rows) / sum(row.max() * len(row) for row in rows)

    assert padding(windowed(window=21)) == pytest.approx(padding(whole), abs=1e-3)  # but for its draws, the same
    assert padding(windowed()) < 0.06


def test_rows_of_a_selection():
    manifest = SimpleNamespace(folder=SHARD, places=object(), num_samples=LENGTHS)
    rows = np.flatnonzero((LENGTHS > 5 * RATE) & (SHARD != 6))
    assert [set(SHARD[part]) for part in rows_by_shard(manifest, rows)] == [{n} for n in range(21) if n != 6]
    sampler = sampler_of(manifest, rows, utterances=12, window=5)
    assert isinstance(sampler, WindowSampler)
    batches = [sampler.batch(0, position) for position in range(len(sampler))]
    assert sorted(np.concatenate(batches)) == sorted(sampler.rows) == rows.tolist()
    assert isinstance(sampler_of(SimpleNamespace(places=None, num_samples=LENGTHS), rows, utterances=12), Sampler)
