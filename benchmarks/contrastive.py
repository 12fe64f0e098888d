"""The contrastive head of wav2vec 2.0: ours against transformers' on one crop of 15.6 s, forward and backward.

One thread, CPU seconds, medians of ``ROUNDS`` interleaved rounds after one that warms up. Both start from the same
predictions and quantised targets (779 frames, about half of them masked, 256 dimensions, 100 negatives) and end with
the gradients of both; ours takes the masked frames, theirs all.
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from transformers import Wav2Vec2ForPreTraining

from speechbias.embeddings import single_threaded
from speechbias.models.contrastive import contrastive_logits
from speechbias.models.losses import summed_cross_entropy
from speechbias.training.allocator import keep_freed_memory

ROUNDS = 5
FRAMES, DIM, NEGATIVES, CODES, TEMPERATURE = 779, 256, 100, 4000, 0.1
AIMS = {"as installed": 50, "same malloc": 15}


def main() -> None:
    """Print both times, their ratio, and how far loss and gradients are apart.

    As torch's and glibc's memory is by default, and with freed memory kept, which from then on holds for this process.
    """
    with single_threaded():
        given = crop()
        ways = {"transformers": lambda: differentiated(_theirs, *given), "ours": lambda: differentiated(_ours, *given)}
        for row, aim in AIMS.items():
            if row == "same malloc" and not keep_freed_memory():
                continue
            times = measured(ways)
            theirs, ours = (f"{median(t):.4f} CPU s ({min(t):.4f} to {max(t):.4f})" for t in times.values())
            ratio = median(a / b for a, b in zip(*times.values(), strict=True))
            verdict = "reached" if ratio >= aim else "not reached"
            print(f"  {row:12}  transformers {theirs}  speechbias {ours}  {ratio:.0f} x (aim: {aim}, {verdict})")
        theirs, ours = (way() for way in ways.values())
    errors = [((a - b).norm() / b.norm()).item() for a, b in zip(ours, theirs, strict=True)]
    print("  relative difference of loss {:.1e}, gradients {:.1e} and {:.1e}".format(*errors))


def crop() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Mask, predictions, targets, codes and negatives of one utterance."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(FRAMES, generator=generator) < 0.49
    masked = int(mask.sum())
    codes = torch.randint(CODES, (FRAMES,), generator=generator)
    targets = torch.randn(CODES, DIM, generator=generator)[codes]
    others = torch.randint(masked - 1, (masked, NEGATIVES), generator=generator)
    negatives = others + (others >= torch.arange(masked)[:, None])
    return mask, torch.randn(FRAMES, DIM, generator=generator), targets, codes, negatives


def differentiated(
    loss: Callable[..., Tensor], mask: Tensor, predicted: Tensor, targets: Tensor, *rest: Tensor
) -> list:
    """The loss and its gradients with respect to predictions and targets."""
    leaves = [tensor.clone().requires_grad_() for tensor in (predicted, targets)]
    total = loss(mask, *leaves, *rest)
    total.backward()
    return [total.detach(), *(leaf.grad for leaf in leaves)]


def _ours(mask: Tensor, predicted: Tensor, targets: Tensor, codes: Tensor, negatives: Tensor) -> Tensor:
    masked = [tensor[mask] for tensor in (predicted, targets, codes)]
    logits = contrastive_logits(*masked, negatives, counts=[len(negatives)], temperature=TEMPERATURE)
    return summed_cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


def _theirs(mask: Tensor, predicted: Tensor, targets: Tensor, _: Tensor, negatives: Tensor) -> Tensor:
    """The steps of Wav2Vec2ForPreTraining.forward between projections and contrastive loss, a batch of one."""
    frames = torch.zeros(FRAMES, NEGATIVES, dtype=torch.long)
    frames[mask] = mask.nonzero()[:, 0][negatives]
    apart = targets[frames.view(-1)].view(1, FRAMES, NEGATIVES, DIM).permute(2, 0, 1, 3)
    logits = Wav2Vec2ForPreTraining.compute_contrastive_logits(
        targets[None, None], apart, predicted[None], TEMPERATURE
    )
    same = (targets[None] == apart).all(-1)
    if same.any():
        logits[1:][same] = float("-inf")
    labels = (1 - mask.long()) * -100
    return torch.nn.functional.cross_entropy(logits[:, 0].T, labels, reduction="sum")


def measured(ways: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """CPU seconds of every way, in turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for call in ways.values():
        call()
    for _ in range(ROUNDS):
        for name, call in ways.items():
            started = time.process_time()
            call()
            times[name].append(time.process_time() - started)
    return times


if __name__ == "__main__":
    main()
