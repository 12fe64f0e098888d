"""The recogniser on top of a frozen encoder: weighted sum of states, two linear layers, CTC (SUPERB's "PR" in S3PRL).

Frames of all utterances of a batch lie one behind another, (states, frames, dim), without padding: nothing of the
model looks at a neighbour, and only CTC wants to know where an utterance ends.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Probe(nn.Module):
    """``states`` of an encoder's frames -> log-probabilities of outputs. S3PRL: Featurizer, then ``Linear`` twice."""

    def __init__(self, states: int, dim: int, outputs: int, *, hidden: int = 256) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(states))  # before the softmax: all states alike
        self.project = nn.Linear(dim, hidden)
        self.output = nn.Linear(hidden, outputs)  # S3PRL has nothing between: no activation, no dropout

    def forward(self, states: Tensor) -> Tensor:
        """(states, frames, dim) -> (frames, outputs)."""
        shares = self.weights.softmax(0)
        summed = (shares @ states.flatten(1)).view(states.shape[1:])
        scores: Tensor = self.output(self.project(summed))
        return scores.log_softmax(-1)

    def shares(self) -> list[float]:
        """How much each state counts; they sum to one."""
        return [float(share) for share in self.weights.detach().double().softmax(0)]


def normalised(states: Tensor) -> Tensor:
    """Every state of every frame with mean 0 and variance 1 over its dimensions: a layer norm without parameters."""
    return F.layer_norm(states, states.shape[-1:])


def ctc_loss(log_probs: Tensor, frames: Sequence[int], targets: Sequence[Sequence[int]]) -> Tensor:
    """CTC (blank is output 0) of utterances whose frames lie one behind another; torch's "mean".

    That is each utterance's loss by the length of its target, then the mean over utterances; one that cannot be
    said in its frames counts with 0 (``zero_infinity``).
    """
    if not sum(frames):
        return log_probs.sum()  # 0: torch refuses what is empty
    padded = nn.utils.rnn.pad_sequence(list(torch.split(log_probs, list(frames))))  # (longest, utterances, outputs)
    flat = torch.tensor([number for target in targets for number in target], dtype=torch.long)
    lengths = torch.tensor([len(target) for target in targets])
    return F.ctc_loss(padded, flat.to(padded.device), torch.tensor(list(frames)), lengths, zero_infinity=True)


def frames_needed(target: Sequence[int]) -> int:
    """The fewest frames in which CTC can say a target: one per output, and a blank between two of the same."""
    return len(target) + sum(one == following for one, following in pairwise(target))


def greedy(log_probs: Tensor) -> list[int]:
    """Outputs of one utterance, (frames, outputs): the best of every frame, repeats merged, blanks dropped."""
    best = log_probs.argmax(-1)
    kept = torch.ones(len(best), dtype=torch.bool, device=best.device)
    kept[1:] = best[1:] != best[:-1]
    said: list[int] = best[kept & (best != 0)].tolist()
    return said
