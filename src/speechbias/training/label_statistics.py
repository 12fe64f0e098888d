"""What labels are like: how often each class stands there, and whether anything can be learnt from them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechbias.errors import InputError

BLOCK = 1 << 22  # labels counted at once: bincount widens them to eight bytes
MOSTLY, FEW = 0.5, 0.5  # shares that are odd: of one class, of classes never used


@dataclass(frozen=True)
class LabelReport:
    """Counts of classes in words and numbers. ``entropy`` is in nats; ``largest_share`` that of ``most_frequent``."""

    labels: int
    clusters: int
    entropy: float
    most_frequent: int
    largest_share: float
    never_used: int
    warnings: tuple[str, ...]


def class_counts(flat: NDArray[np.integer], clusters: int) -> NDArray[np.int64]:
    """How often each class stands in labels, (clusters,). InputError for a label that is no class."""
    counts = np.zeros(clusters, np.int64)
    for start in range(0, len(flat), BLOCK):
        found = np.bincount(flat[start : start + BLOCK], minlength=clusters)
        if len(found) > clusters:
            raise InputError(f"a label is {len(found) - 1}, of {clusters} clusters; make units anew")
        counts += found
    return counts


def entropy(counts: NDArray[np.integer]) -> float:
    """Entropy of classes that stand there so often, in nats: the loss of a model that knows nothing else."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum()) + 0.0  # no -0.0


def inspect_labels(flat: NDArray[np.integer], clusters: int) -> LabelReport:
    """The report of labels. InputError where they are out of range, none, or all of one class."""
    return inspect_counts(class_counts(flat, clusters))


def inspect_counts(counts: NDArray[np.int64]) -> LabelReport:
    """The report of labels of which each class is so often there, (clusters,). InputError as ``inspect_labels``."""
    clusters, total = len(counts), int(counts.sum())
    if not total:
        raise InputError("there is not a single label; make units anew")
    top, unused = int(counts.argmax()), int((counts == 0).sum())
    share = float(counts[top] / total)
    if unused == clusters - 1:
        raise InputError(
            f"all {total} labels are class {top}, so nothing can be learnt; make units anew "
            "(fairseq's are so where dict.km.txt was empty)"
        )
    warnings = []
    if share > MOSTLY:
        warnings.append(f"{share:.0%} of all labels are class {top}; are most recordings silent?")
    if unused > FEW * clusters:
        warnings.append(f"{unused} of {clusters} classes stand nowhere; is this the number of clusters?")
    return LabelReport(total, clusters, entropy(counts), top, share, unused, tuple(warnings))
