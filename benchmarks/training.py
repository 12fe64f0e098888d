"""A training step on one core against a trainer of transformers: forward, backward and AdamW on crops of 15.6 s.

Each side and malloc setting trains in a process of its own, and the processes take steps in turns: CPU seconds, one
thread, medians of ``ROUNDS`` steps after a short one. Both have the published dropouts, no LayerDrop, and torch's
fused AdamW, the default of transformers' trainer. The peer of wav2vec 2.0 is ``Wav2Vec2ForPreTraining``, masked frames
and negatives given; of MelHuBERT, which transformers does not have, its ``HubertEncoder`` of that shape with the same
projection and loss. Two rows each: as installed (ours keeps freed memory, as its trainer does; theirs is glibc's
default), and that setting on both sides.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor, nn
from transformers import HubertConfig, Wav2Vec2Config, Wav2Vec2ForPreTraining
from transformers.models.hubert.modeling_hubert import HubertEncoder

from speechbias.models.batch import Batch
from speechbias.models.config import sized
from speechbias.models.losses import summed_cross_entropy
from speechbias.models.objectives import untrained
from speechbias.models.regularisation import published_regularisation
from speechbias.training.allocator import keep_freed_memory

ROUNDS = 3
SAMPLES = 250_000
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1)}
CROPS: Mapping[str, int] = {"wav2vec2-slim": 2, "wav2vec2-base": 1, "melhubert-base": 1}
# Ratios to reach: as installed, and with the same malloc setting.
AIMS: Mapping[tuple[str, str], tuple[float | None, float | None]] = {
    ("wav2vec2-slim", "float32"): (1.6, 1.2),
    ("wav2vec2-slim", "bfloat16"): (2.5, 1.8),
    ("wav2vec2-base", "float32"): (1.4, 1.15),
    ("melhubert-base", "float32"): (1.3, None),
}
# Who, and whether freed memory is kept.
WAYS = (("speechbias", True), ("transformers", False), ("transformers", True))


def main() -> None:
    """Print seconds of every way, ratios, and whether aims are reached."""
    for name in sys.argv[1:] or CROPS:
        print(f"\n  {name}, {CROPS.get(name, 1)} x {SAMPLES / 16_000:.1f} s")
        for dtype in ("float32", "bfloat16"):
            if (name, dtype) in AIMS or name not in CROPS:
                compare(name, dtype)


def compare(name: str, dtype: str) -> None:
    """Both rows of one model in one precision."""
    with ExitStack() as stack:
        steps = {way: stack.enter_context(trainer(name, dtype, *way)) for way in WAYS}
        rounds = [{way: step() for way, step in steps.items()} for _ in range(ROUNDS)]
    times = {way: [taken[way] for taken in rounds] for way in WAYS}
    ours = times["speechbias", True]
    rows = {"as installed": times["transformers", False], "same malloc": times["transformers", True]}
    for (row, theirs), aim in zip(rows.items(), AIMS.get((name, dtype), (None, None)), strict=True):
        ratio = median(a / b for a, b in zip(theirs, ours, strict=True))
        verdict = "" if aim is None else f" (aim: {aim}, {'reached' if ratio >= aim else 'not reached'})"
        print(
            f"    {dtype:8} {row:12}  transformers {shown(theirs)}  speechbias {shown(ours)}  {ratio:.2f} x{verdict}"
        )


def shown(seconds: list[float]) -> str:
    return f"{median(seconds):5.2f} CPU s ({min(seconds):.2f} to {max(seconds):.2f})"


@contextmanager
def trainer(name: str, dtype: str, side: str, kept: bool) -> Iterator[Callable[[], float]]:
    """A process that trains, and waits until it is called for its next step: CPU seconds of that."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(KEPT if kept and side == "transformers" else {})}
    command = [sys.executable, "-m", "benchmarks.training", "--train", name, dtype, side]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:

        def step() -> float:
            process.stdin.write("step\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        yield step
        process.stdin.close()


def train(name: str, dtype: str, side: str) -> None:
    """One step for each line that comes in, after a short one that warms up; prints CPU seconds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if side == "speechbias":
        keep_freed_memory()
    model, loss = SIDES[side](name)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step(batch: Batch) -> float:
        started = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            total = loss(batch)
        total.backward()
        optimiser.step()
        optimiser.zero_grad()
        return time.process_time() - started

    step(crops(name, 1, SAMPLES // 8))
    batch = crops(name, CROPS.get(name, 1), SAMPLES)
    for _ in sys.stdin:
        print(step(batch), flush=True)


def crops(name: str, count: int, samples: int) -> Batch:
    """Noise, with half of the frames masked and 100 negatives each."""
    generator = torch.Generator().manual_seed(0)
    front = sized(*name.split("-")).frontend
    frames = front.num_frames(samples)
    shape, lengths = ((frames, 80), frames) if name.startswith("melhubert") else ((samples,), samples)
    inputs = 0.1 * torch.randn(count, *shape, generator=generator)
    mask = torch.rand(count, frames, generator=generator) < 0.49
    start, negatives = 0, []
    for masked in mask.sum(1).tolist():
        others = torch.randint(masked - 1, (masked, 100), generator=generator)
        negatives.append(start + others + (others >= torch.arange(masked)[:, None]))
        start += masked
    gumbel = -(-torch.rand(start, 640, generator=generator).log()).log()
    labels = torch.randint(512, mask.shape, generator=generator)
    return Batch(inputs, torch.full((count,), lengths), mask, labels, torch.cat(negatives), gumbel)


Side = tuple[nn.Module, Callable[[Batch], Tensor]]


def _ours(name: str) -> Side:
    family, size = name.split("-")
    model = untrained(family, size, seed=0).requires_grad_().train()
    model.encoder.regularise(replace(published_regularisation(family, size), layerdrop=0))

    def loss(batch: Batch) -> Tensor:
        made = model(batch, update=0)
        return made.total / made.masked

    return model, loss


def _theirs(name: str) -> Side:
    config, published = sized(*name.split("-")), published_regularisation(*name.split("-"))
    shape = {
        "hidden_size": config.dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.heads[0],
        "intermediate_size": config.ffn[0],
        "hidden_dropout": published.dropout,
        "attention_dropout": published.attention,
        "activation_dropout": published.activation,
        "feat_proj_dropout": published.input,
        "layerdrop": 0.0,
        "attn_implementation": "sdpa",
    }
    if name.startswith("melhubert"):
        return _hubert_encoder(HubertConfig(**shape))
    model = Wav2Vec2ForPreTraining(Wav2Vec2Config(**shape, feat_quantizer_dropout=published.features)).train()

    def loss(batch: Batch) -> Tensor:
        frames = torch.zeros(batch.mask.numel(), 100, dtype=torch.long)
        masked = batch.mask.flatten().nonzero()[:, 0]
        frames[masked] = masked[batch.negatives]
        sampled = frames.view(*batch.mask.shape, 100)
        return model(batch.inputs, mask_time_indices=batch.mask, sampled_negative_indices=sampled).loss / batch.masked

    return model, loss


def _hubert_encoder(config: HubertConfig) -> Side:
    encoder = HubertEncoder(config)
    ends = nn.ModuleList([nn.Linear(80, config.hidden_size), nn.Linear(config.hidden_size, 512)])
    model = nn.ModuleList([encoder, ends]).train()

    def loss(batch: Batch) -> Tensor:
        visible = ends[0](batch.inputs.masked_fill(batch.mask[..., None], 0))
        hidden = encoder(visible).last_hidden_state
        return summed_cross_entropy(ends[1](hidden[batch.mask]), batch.labels[batch.mask]) / batch.masked

    return model, loss


SIDES: Mapping[str, Callable[[str], Side]] = {"speechbias": _ours, "transformers": _theirs}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(*sys.argv[2:])
    else:
        main()
