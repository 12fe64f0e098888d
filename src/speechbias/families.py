"""Records that are one family, judged together from their stored vectors: the steps of one run on one test.

No model is loaded: ``RESULTS.vectors`` has the pooled vectors of every clip, which are the same clips at every step.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechbias.embeddings import Embeddings
from speechbias.errors import InputError
from speechbias.inference import Options
from speechbias.inference.simultaneous import simultaneous
from speechbias.results import SETS, BiasResult, Together, file_sha256
from speechbias.speat import association
from speechbias.vectors import read_vectors


def judge_steps(records: Sequence[BiasResult], places: Mapping[str, Path]) -> dict[str, Together]:
    """Max-T and bands over the steps, a family per layer; by the identity of each record.

    ``records`` are of one run, test and set of options, and of several steps; ``places`` says by identity in which
    folder the results file of a record lies. Left out: layers with one step or with one at which s has no spread, and
    records whose vectors are not there, or are of other clips.
    """
    by_file: dict[tuple[Path, str], list[BiasResult]] = defaultdict(list)
    for record in records:
        if record.vectors is not None:
            by_file[places[record.identity] / record.vectors["path"], record.vectors["sha256"]].append(record)
    families: dict[int | str, list[tuple[BiasResult, NDArray[np.float64]]]] = defaultdict(list)
    found: dict[str, Together] = {}
    clips = None
    for (path, sha256), of in by_file.items():
        if path.is_file() and file_sha256(path) == sha256:
            here = read_vectors(path)
            if clips is not None and here.n != clips.n:
                continue  # of other clips: no labels are the same
            clips = here
            for record in of:
                if record.layer == "mean" or record.layer < here.array.shape[1]:
                    families[record.layer].append((record, _associations(here, record.layer)))
    for family in families.values():
        if clips is not None and len(family) > 1:
            with suppress(InputError):  # a step that has collapsed: what is judged together needs all
                found |= _judge([record for record, _ in family], np.column_stack([s for _, s in family]), clips)
    return found


def _associations(clips: Embeddings, layer: int | str) -> NDArray[np.float64]:
    """S of every target, X first, in one state or the mean over states (as in ``measure``)."""
    array = clips.array.astype(np.float64)
    vectors = array.mean(axis=1) if layer == "mean" else array[:, int(layer)]
    x, y, a, b = np.split(vectors, np.cumsum([clips.n[name] for name in SETS])[:-1])
    return np.asarray(association(np.concatenate([x, y]), a, b))


def _judge(family: Sequence[BiasResult], s: NDArray[np.float64], clips: Embeddings) -> dict[str, Together]:
    options: Options = {name: getattr(family[0], name) for name in Options.__annotations__}  # type: ignore[assignment]
    found = simultaneous(s, n_x=clips.n["X"], speakers=clips.speakers, pairs=clips.pairs, **options)
    over = f"{len(family)} steps of one run"
    numbers = zip(family, found.p_adjusted, found.low, found.high, strict=True)
    return {record.identity: Together(float(p), float(low), float(high), over) for record, p, low, high in numbers}
