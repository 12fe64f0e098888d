"""The benchmark of the GPU runs on a machine without one: its parts on CPU tensors, and its refusal."""

import numpy as np
import pytest
import torch

gpu = pytest.importorskip("benchmarks.gpu", reason="benchmarks/ is not on the path")


def test_without_a_card_it_refuses_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"^benchmarks.gpu: no CUDA device here, nothing is measured") as refused:
        gpu.main([])
    assert "\n" not in refused.value.code


def test_both_sides_embed_the_same(tmp_path):
    waves = [wave[:length] for wave, length in zip(gpu.utterances(3), (6000, 9000, 4000), strict=True)]
    with torch.inference_mode():
        here = gpu.ours("wav2vec2-small", "float32", "cpu", waves)()
        there = gpu.theirs("wav2vec2-small", "float32", "cpu", waves, size=1, folder=tmp_path)()
    for a, b in zip(here, there, strict=True):
        assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b)


def test_the_table_names_their_best_and_leaves_out_what_memory_does_not_hold(capsys):
    def full():
        raise torch.OutOfMemoryError

    result = [np.ones((2, 3))]
    ways = {"ours": lambda: result, "transformers, 1": lambda: result, "transformers, 2": full}
    gpu.compare("model", ways, audio=10.0, rounds=2, device="cpu")
    out = capsys.readouterr().out
    assert "transformers, 2          out of memory" in out
    assert "ours against transformers, 1" in out
