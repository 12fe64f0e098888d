"""wav2vec 2.0's contrastive loss: each masked frame tells its own quantised target from those of other masked frames.

Within one utterance all candidates are its masked frames, so all cosines come from one product, (masked, masked), of
which the positive is the diagonal and the negatives are looked up: nothing of size (negatives, frames, dim) is made
(fairseq and transformers make it). A negative that is the same as the positive is left out; it is the same when its
codes are, which compares one integer and not a vector.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from speechbias.models.losses import unit


def contrastive_logits(
    predicted: Tensor, targets: Tensor, codes: Tensor, negatives: Tensor, *, counts: list[int], temperature: float
) -> Tensor:
    """Cosines over the temperature, (masked, 1 + negatives): the positive first; -inf for negatives equal to it.

    ``predicted`` and ``targets`` (masked, dim); ``codes`` (masked,), one integer per combination of entries;
    ``negatives`` (masked, n) as ``Batch`` has them; ``counts``: masked frames of each utterance.
    """
    predicted, targets = unit(predicted), unit(targets)
    rows, start = [], 0
    with torch.autocast(predicted.device.type, enabled=False):
        for own, candidates in zip(torch.split(predicted, counts), torch.split(targets, counts), strict=True):
            cosines = F.linear(own, candidates)  # (masked in this utterance, the same)
            others = negatives[start : start + len(own)] - start
            rows.append(torch.cat([cosines.diagonal()[:, None], cosines.gather(1, others)], dim=1))
            start += len(own)
    logits = torch.cat(rows) / temperature
    same = codes[negatives] == codes[:, None]
    return logits.masked_fill(F.pad(same, (1, 0)), float("-inf"))
