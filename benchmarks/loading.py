"""Loading: a base model from each format, against transformers' own loading of the same weights."""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from transformers import Wav2Vec2Model

from speechbias.checkpoint import load_encoder, read_checkpoint
from speechbias.checkpoint.folder import save_checkpoint
from speechbias.export import export_checkpoint
from speechbias.models.convert.names import FAIRSEQ_NAMES
from speechbias.models.huggingface.folder import quiet_transformers

ROUNDS = 5
AIM = 1.0  # s, for base


def main() -> None:
    """Print wall-clock medians of interleaved rounds; each load includes the SHA-256 of all weights."""
    with tempfile.TemporaryDirectory() as folder:
        made = files(Path(folder))
        ways: dict[str, Callable[[], object]] = {way: partial(load_encoder, path) for way, path in made.items()}
        ways["transformers' from_pretrained"] = partial(from_pretrained, made["transformers folder"])
        times: dict[str, list[float]] = {way: [] for way in ways}
        for call in ways.values():
            call()
        for _ in range(ROUNDS):
            for way, call in ways.items():
                started = time.perf_counter()
                call()
                times[way].append(time.perf_counter() - started)
    print(f"wav2vec 2.0 base, ready to measure, {ROUNDS} rounds (aim: {AIM:g} s)")
    for way, seconds in times.items():
        print(f"  {way:32} {median(seconds):6.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")


def files(folder: Path) -> dict[str, Path]:
    """The same untrained model in every format."""
    checkpoint = read_checkpoint("random:wav2vec2-base")
    ours, hf = folder / "ours", folder / "hf"
    save_checkpoint(ours, checkpoint)
    export_checkpoint("random:wav2vec2-base", hf, format="hf")
    whole = {**checkpoint.tensors, **checkpoint.objective_tensors}
    state = {FAIRSEQ_NAMES.theirs(name).replace(".2.1.", ".2."): tensor for name, tensor in whole.items()}
    args = argparse.Namespace(arch="wav2vec2", encoder_attention_heads=12, layer_norm_first=False, normalize=False)
    content = {"args": args, "cfg": None, "model": state}
    torch.save(content, folder / "new.pt")
    torch.save(content, folder / "old.pt", _use_new_zipfile_serialization=False)
    return {
        "our folder": ours,
        "transformers folder": hf,
        "fairseq .pt": folder / "new.pt",
        "fairseq .pt, before torch 1.6": folder / "old.pt",
    }


def from_pretrained(folder: Path) -> object:
    with quiet_transformers():
        return Wav2Vec2Model.from_pretrained(folder, local_files_only=True).eval()


if __name__ == "__main__":
    main()
