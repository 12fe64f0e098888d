"""k-means over the frames of a corpus, in mini-batches that are made as they are needed.

Ten batches at a time are shuffled and given to scikit-learn's ``MiniBatchKMeans.partial_fit`` with fairseq's settings:
k-means++, the best of 20 beginnings; batches of 10,000 frames; no centre is moved to somewhere else. Memory holds two
such lots, whatever the corpus. The same seed, corpus and extractor give the same centres, whatever ``workers``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.errors import InputError
from speechbias.extras import MissingExtraError
from speechbias.training.draws import generator
from speechbias.training.extractors import Extractor, Frames
from speechbias.training.frames import extracted
from speechbias.training.labels import Utterances
from speechbias.training.quantiser import Centres, Quantiser, nearest
from speechbias.training.recipe_sections import BATCH_FRAMES

SHUFFLED = 10  # batches that are mixed: neighbouring frames are alike, and a batch of few speakers pulls centres


@dataclass(frozen=True)
class Clustering:
    """A quantiser and how it came about: ``inertia`` is the mean squared distance of frames to centres, per pass.

    Each batch is measured before the centres move towards it.
    """

    quantiser: Quantiser
    inertia: tuple[float, ...]
    utterances: int
    frames: int  # of one pass


def train_quantiser(
    manifest: Utterances,
    extractor: Extractor,
    *,
    clusters: int,
    seed: int = 0,
    share: float = 0.1,
    utterances: int | None = None,
    batch_frames: int = BATCH_FRAMES,
    passes: int = 10,
    beginnings: int = 20,
    workers: int = 1,
    progress: bool = False,
) -> Clustering:
    """Cluster the frames of ``utterances`` utterances drawn by ``seed``, or of a ``share`` of all (fairseq: 10 %)."""
    if not 2 <= clusters <= batch_frames or passes < 1 or beginnings < 1:
        raise InputError(
            f"{clusters} clusters, {passes} passes over batches of {batch_frames} frames, {beginnings} beginnings; "
            "give at least 2 clusters, as many frames, and 1 of the others"
        )
    draws = generator(seed, "k-means", 0, "")
    rows = _drawn(len(manifest), share, utterances, draws)
    kmeans, inertia, frames = None, [], 0
    for number in range(passes):
        distance, frames = 0.0, 0
        label = f"k-means, pass {number + 1} of {passes}"
        found = extracted(manifest, draws.permutation(rows).tolist(), extractor, label, workers, progress=progress)
        for buffer in _shuffled(found, SHUFFLED * batch_frames, draws):
            kmeans = kmeans or _begin(buffer, clusters, beginnings, batch_frames, draws)
            for start in range(0, len(buffer), batch_frames):
                batch = buffer[start : start + batch_frames]
                centres = getattr(kmeans, "cluster_centers_", kmeans.init)
                distance += float(nearest(batch, centres)[1].sum(dtype=np.float64))
                kmeans.partial_fit(batch)
            frames += len(buffer)
        inertia.append(distance / max(frames, 1))
    if kmeans is None:
        raise InputError("no utterance is long enough for a frame; give longer audio")
    centres = np.ascontiguousarray(kmeans.cluster_centers_, np.float32)
    quantiser = Quantiser(centres, extractor.features, extractor.rate, extractor.mel_stats)
    return Clustering(quantiser, tuple(inertia), len(rows), frames)


def _drawn(rows: int, share: float, utterances: int | None, draws: np.random.Generator) -> NDArray[np.int64]:
    """Which rows are clustered."""
    if utterances is None and not 0 < share <= 1:
        raise InputError(f"a share of {share} of the utterances; give one above 0 and at most 1")
    count = max(1, round(rows * share)) if utterances is None else utterances
    if not 1 <= count <= rows:
        raise InputError(f"k-means on {count} of {rows} utterances; give fewer, or more audio")
    return np.sort(draws.permutation(rows)[:count])


def need_scikit_learn() -> None:
    """Raises ``MissingExtraError`` where it is not installed."""
    if find_spec("sklearn") is None:
        raise MissingExtraError("units need scikit-learn; install it with: pip install 'speechbias[train]'")


def _begin(buffer: Frames, clusters: int, beginnings: int, batch_frames: int, draws: np.random.Generator) -> Any:
    """A k-means at the best of several beginnings. ``partial_fit`` alone would take the first."""
    need_scikit_learn()
    from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus  # noqa: PLC0415 (an extra, and seconds)

    sample = buffer[: 3 * batch_frames]  # as scikit-learn takes by itself; the buffer is shuffled
    if len(sample) < clusters:
        raise InputError(f"{len(sample)} frames are too few for {clusters} clusters; take more utterances")
    best: tuple[float, Centres] | None = None
    for _ in range(beginnings):
        centres, _ = kmeans_plusplus(sample, clusters, random_state=int(draws.integers(2**31)))
        distance = float(nearest(sample, centres)[1].sum(dtype=np.float64))
        if best is None or distance < best[0]:
            best = distance, centres
    assert best is not None
    return MiniBatchKMeans(
        clusters,
        init=best[1],
        n_init=1,
        batch_size=batch_frames,
        tol=0.0,
        reassignment_ratio=0.0,
        compute_labels=False,
        random_state=int(draws.integers(2**31)),
    )


def _shuffled(found: Iterator[tuple[int, Frames]], size: int, draws: np.random.Generator) -> Iterator[Frames]:
    """Frames of many utterances, ``size`` at a time (fewer in the end), each lot in a random order."""
    waiting: list[Frames] = []
    count = 0
    for _, frames in found:
        waiting.append(frames)
        count += len(frames)
        while count >= size:
            whole = np.concatenate(waiting)
            yield draws.permutation(whole[:size])
            waiting, count = [whole[size:]], count - size
    if count:
        yield draws.permutation(np.concatenate(waiting))
