from dataclasses import fields, replace

import numpy as np
import pytest
import soundfile
import torch

from recordings import tone
from speechbias.audio import read_audio
from speechbias.errors import InputError
from speechbias.models.batch import IGNORED
from speechbias.models.config import MelFrontend, WaveFrontend, sized
from speechbias.models.mel import mel_features
from speechbias.training.examples import Contrast, Examples, crop, load
from speechbias.training.masking import Masking
from speechbias.training.sampler import Sampler
from speechbias.training.sources import open_corpus

RATE = 16_000
SECONDS = (0.5, 0.61, 0.7, 0.9, 1.0, 1.1, 1.4, 1.5)
STATS = np.array([np.linspace(10, 14, 40), np.linspace(3, 5, 40)])
MASKING = Masking(0.65, 3)


class Clock:
    """Labels that say which row and which 10 ms of it they stand for."""

    def frames(self, row, start_sample, frames, hop):
        return 1000 * row + (start_sample + hop * np.arange(frames)) // 160


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for number, seconds in enumerate(SECONDS):
        soundfile.write(folder / f"{number}.wav", tone(100 + 20 * number, seconds=seconds, seed=number), RATE)
    return open_corpus(folder)


def examples(manifest, family="hubert", *, seed=0, crop_seconds=0.8, rows=None, **options):
    sampler = Sampler(manifest.num_samples, utterances=3, crop_seconds=crop_seconds, seed=seed, rows=rows)
    if family != "wav2vec2":
        options.setdefault("labels", Clock())
    if family == "melhubert":
        options["mel_stats"] = STATS
    return Examples(manifest, sampler, sized(family, "small"), MASKING, seed=seed, **options)


def assert_same(batches, others):
    assert len(batches) == len(others) > 0
    for one, other in zip(batches, others, strict=True):
        for field in fields(one):
            mine, yours = getattr(one, field.name), getattr(other, field.name)
            assert (mine is None) == (yours is None)
            if mine is not None:
                torch.testing.assert_close(mine, yours, rtol=0, atol=0)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "melhubert"])
def test_workers_and_a_restart_do_not_change_batches(manifest, family):
    made = examples(manifest, family)
    assert len(made) == 3
    before = torch.random.get_rng_state()
    whole = list(load(made, range(7)))
    assert torch.equal(before, torch.random.get_rng_state())
    assert_same(list(load(examples(manifest, family), range(7), workers=2)), whole)
    assert_same(list(load(examples(manifest, family), range(5, 7))), whole[5:])
    other = examples(manifest, family, seed=1)[0]
    assert other.mask.shape != whole[0].mask.shape or not torch.equal(other.mask, whole[0].mask)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "melhubert"])
def test_an_utterance_is_the_same_alone_and_in_company(manifest, family):
    made = examples(manifest, family, **({"contrast": Contrast(5, 8)} if family == "wav2vec2" else {}))
    company = made.collate(4, [made.example(4, row) for row in (7, 2, 5)])
    masked_before = 0
    for place, row in enumerate((7, 2, 5)):
        alone = made.collate(4, [made.example(4, row)])
        samples, frames = int(alone.lengths[0]), alone.mask.shape[1]
        assert company.lengths[place] == samples
        torch.testing.assert_close(company.inputs[place, :samples], alone.inputs[0], rtol=0, atol=0)
        assert not company.inputs[place, samples:].any()
        assert torch.equal(company.mask[place, :frames], alone.mask[0])
        assert not company.mask[place, frames:].any()
        if company.labels is not None:
            assert torch.equal(company.labels[place, :frames], alone.labels[0])
            assert (company.labels[place, frames:] == IGNORED).all()
        else:
            own = slice(masked_before, masked_before + alone.masked)
            assert torch.equal(company.negatives[own] - masked_before, alone.negatives)
            assert torch.equal(company.gumbel[own], alone.gumbel)
        masked_before += alone.masked
    assert company.masked == masked_before


def test_batches_follow_the_sampler(manifest):
    made = examples(manifest, crop_seconds=None)
    for number in range(6):
        epoch, position = made.sampler.locate(number)
        rows = made.sampler.batch(epoch, position)
        batch = made[number]
        np.testing.assert_array_equal(batch.lengths, manifest.num_samples[rows])
        for wave, row in zip(batch.inputs, rows, strict=True):
            whole = read_audio(manifest.path(row), RATE)
            np.testing.assert_array_equal(wave[: len(whole)], whole)


def test_crops_lie_on_frames_and_labels_follow_them(manifest):
    made, starts = examples(manifest), set()
    for epoch in range(12):
        one = made.example(epoch, 7)
        start = int(one.labels[0] - 7000) * 160
        starts.add(start)
        whole = read_audio(manifest.path(7), RATE)
        np.testing.assert_array_equal(one.inputs, whole[start : start + round(0.8 * RATE)])
        np.testing.assert_array_equal(one.labels, 7000 + start // 160 + 2 * np.arange(len(one.mask)))
        assert len(one.mask) == WaveFrontend().num_frames(len(one.inputs))
    assert len(starts) > 5
    assert len(made.example(0, 0).inputs) == 0.5 * RATE  # shorter than the crop: whole


@pytest.mark.parametrize("stack", [1, 2])
def test_mel_crops_are_frames_of_the_whole(manifest, stack):
    front = MelFrontend(stack=stack)
    config = replace(sized("melhubert", "small"), frontend=front)
    sampler = Sampler(manifest.num_samples, utterances=3, crop_seconds=0.8)
    made = Examples(manifest, sampler, config, MASKING, labels=Clock(), mel_stats=STATS)
    whole = mel_features(read_audio(manifest.path(6), RATE), front, STATS)
    frames = round(0.8 * RATE) // front.hop
    for epoch in range(12):
        one = made.example(epoch, 6)
        first = int(one.labels[0] - 6000) // stack
        assert one.inputs.shape == (frames, 40 * stack)
        assert one.mask.shape == one.labels.shape == (frames,)
        np.testing.assert_allclose(one.inputs, whole[first : first + frames], atol=1e-5)


@pytest.mark.parametrize("front", [WaveFrontend(), MelFrontend(stack=1), MelFrontend(stack=2)])
def test_every_crop_can_be_drawn_and_none_leaves_the_utterance(front):
    draws = np.random.default_rng(0)
    for samples in (4999, 5000, 5001, 5320, 5479, 5480, 6400):
        drawn = {crop(samples, front, 4000, draws) for _ in range(300)}
        assert all(start % front.hop == 0 and 0 <= start < stop <= samples for start, stop in drawn)
        assert len({front.num_frames(stop - start) for start, stop in drawn}) == 1
        assert front.num_frames(next(iter(drawn))[1] - next(iter(drawn))[0]) == (
            4000 // front.hop if isinstance(front, MelFrontend) else front.num_frames(4000)
        )
        last = max(stop for _, stop in drawn)
        assert samples - last < front.hop
    assert crop(4000, front, 4000, draws) == crop(4000, front, None, draws) == (0, 4000)


def test_negatives_and_noise_stand_for_the_masked_frames(manifest):
    batch = examples(manifest, "wav2vec2")[0]
    assert batch.negatives.shape == (batch.masked, 100)
    assert batch.gumbel.shape == (batch.masked, 640)
    utterance = batch.mask.nonzero()[:, 0]
    assert (utterance[batch.negatives] == utterance[:, None]).all()
    assert (batch.negatives != torch.arange(batch.masked)[:, None]).all()


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "melhubert"])
def test_frames_that_are_counted_need_no_labels_masks_or_negatives(manifest, family):
    """The audio is that of pre-training with the same seed; what counts are the utterances' frames, or all of them."""
    sampler = Sampler(manifest.num_samples, utterances=3, crop_seconds=0.8, seed=0)
    stats = {"mel_stats": STATS} if family == "melhubert" else {}
    own, whole = (
        Examples(manifest, sampler, sized(family, "small"), None, counted=counted, **stats)[0]
        for counted in ("own", "all")
    )
    front, usual = sized(family, "small").frontend, examples(manifest, family)[0]
    assert torch.equal(own.inputs, usual.inputs)
    assert (own.labels, own.negatives, own.gumbel) == (None, None, None)
    assert not own.mask.any()
    frames = own.lengths if family == "melhubert" else torch.tensor([front.num_frames(int(n)) for n in own.lengths])
    assert own.counted.sum(1).tolist() == frames.tolist()
    assert own.masked == frames.sum() < whole.masked == 3 * frames.max()
    assert torch.equal(own.counted, torch.arange(own.mask.shape[1]) < frames[:, None])
    assert whole.counted.all()
    masked = Examples(manifest, sampler, sized(family, "small"), MASKING, counted="own", **stats)[0]
    assert torch.equal(masked.mask, usual.mask)
    assert masked.masked == own.masked


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_went_away_is_named(tmp_path, workers):
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", tone(120), RATE)
    made = examples(open_corpus(tmp_path), crop_seconds=None)
    (tmp_path / "b.wav").write_bytes((tmp_path / "b.wav").read_bytes()[:5000])
    with pytest.raises(InputError) as caught:
        list(load(made, range(1), workers=workers))
    assert "\n" not in str(caught.value)
    assert "b.wav is truncated" in str(caught.value)


@pytest.mark.parametrize("family", ["wav2vec2", "melhubert"])
@pytest.mark.parametrize("crop_seconds", [None, 0.3])
@pytest.mark.parametrize(("samples", "rate"), [(9000, RATE), (7999, RATE), (24_000, 44_100), (8001, RATE)])
def test_a_file_that_was_replaced_by_one_of_another_length_is_named(family, crop_seconds, samples, rate, tmp_path):
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", tone(120, seconds=0.5), RATE)
    made = examples(open_corpus(tmp_path), family, crop_seconds=crop_seconds)
    soundfile.write(tmp_path / "b.wav", tone(120, seconds=2.0)[:samples], rate)
    with pytest.raises(InputError) as caught:
        list(load(made, range(1)))
    length = round(samples * RATE / rate)
    said = (
        f"b.wav has {length} samples at 16000 Hz, and had 8000 when it was scanned. Put back what was there, or begin"
    )
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_sources_with_one_name_draw_apart_and_a_move_changes_nothing(tmp_path):
    def drawn(*folders):
        made = examples(open_corpus(list(folders)), crop_seconds=0.3)
        found = [made.example(2, row) for row in range(4)]
        return [(one.labels[0] % 1000, one.mask.tolist()) for one in found]

    for place in ("here", "there"):
        for source in ("one", "two"):
            (tmp_path / place / source).mkdir(parents=True)
            for name in ("a", "b"):
                soundfile.write(tmp_path / place / source / f"{name}.wav", tone(120, seconds=0.9), RATE)
    here = drawn(tmp_path / "here" / "one", tmp_path / "here" / "two")
    assert here == drawn(tmp_path / "there" / "one", tmp_path / "there" / "two")
    assert len({start for start, _ in here}) > 1
    assert here[0] != here[2]
    assert here[1] != here[3]
    alone = examples(open_corpus(tmp_path / "here" / "one"), crop_seconds=0.3)
    assert [alone.example(2, row).mask.tolist() for row in range(2)] == [mask for _, mask in here[:2]]


def test_what_does_not_fit_together_is_refused(manifest):
    with pytest.raises(ValueError, match="needs labels"):
        examples(manifest, labels=None)
    with pytest.raises(ValueError, match="learns no labels"):
        examples(manifest, "wav2vec2", labels=Clock())
    with pytest.raises(InputError, match="a crop of 160 samples is shorter than a frame"):
        examples(manifest, crop_seconds=0.01)
    short = replace(manifest, num_samples=np.minimum(manifest.num_samples, 399))
    with pytest.raises(InputError, match="8 utterances are shorter than a frame"):
        examples(short)
