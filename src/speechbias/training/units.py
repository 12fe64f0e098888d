"""Units: label every utterance of a corpus with the cluster of each of its frames.

The quantiser is trained here (``clustering``), is that of other units, or comes from a k-means file of somebody else.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.checkpoint.kmeans import read_kmeans
from speechbias.errors import InputError
from speechbias.training.clustering import train_quantiser
from speechbias.training.extractors import Extractor, Wave
from speechbias.training.frames import extracted
from speechbias.training.label_files import LabelFacts, read_folder, written_labels
from speechbias.training.label_statistics import inspect_counts
from speechbias.training.labels import Labels, Utterances
from speechbias.training.quantiser import Quantiser


def make_units(
    manifest: Utterances,
    extractor: Extractor,
    out: Path | str,
    *,
    clusters: int | None = None,
    quantiser: Quantiser | None = None,
    asked: Mapping[str, Any] | None = None,
    workers: int = 1,
    progress: bool = False,
    **options: Any,
) -> Labels:
    """Label every utterance, with a quantiser that is given or with one of so many ``clusters`` trained here.

    ``options`` are those of ``train_quantiser``; ``asked``, JSON values, is kept with the labels. The folder ``out``
    is written whole or not at all: an utterance whose audio is not as long as the manifest says, or labels that are
    all of one class, leave nothing behind.
    """
    if (clusters is None) == (quantiser is None) or (quantiser and options):
        raise InputError("give the number of clusters to train, or a quantiser that is trained; not both")
    about: dict[str, Any] = {}
    if quantiser is None:
        assert clusters is not None
        made = train_quantiser(manifest, extractor, clusters=clusters, workers=workers, progress=progress, **options)
        quantiser = made.quantiser
        about = {"inertia": list(made.inertia), "utterances": made.utterances, "frames": made.frames, **options}
    about |= {} if asked is None else {"asked": dict(asked)}
    check_same_features(quantiser, extractor)
    facts = LabelFacts(quantiser.rate, quantiser.clusters, manifest.sha256, quantiser, about)

    def label(wave: Wave) -> NDArray[np.unsignedinteger]:
        return quantiser.assign(extractor(wave))

    counts = np.zeros(quantiser.clusters, np.int64)
    rows = range(len(manifest))
    with written_labels(Path(out), facts) as writer:
        for _, labels in extracted(manifest, rows, label, "units", workers, progress=progress):
            counts += np.bincount(labels, minlength=quantiser.clusters)
            writer.append(labels)
        inspect_counts(counts)
    return Labels(*read_folder(Path(out)))


def foreign_quantiser(path: Path, extractor: Extractor) -> Quantiser:
    """The quantiser in a k-means file of scikit-learn (fairseq's), whose features the user names by the extractor."""
    centres = read_kmeans(path)
    if centres.shape[1] != extractor.dim:
        raise InputError(
            f"{path} has centres of {centres.shape[1]} numbers, the features have {extractor.dim}; name those it was "
            "made of"
        )
    source = {"source": path.name, **extractor.features}
    return Quantiser(centres, source, extractor.rate, extractor.mel_stats)


def check_same_features(quantiser: Quantiser, extractor: Extractor) -> None:
    """InputError where frames are not of the kind that the centres were made of."""
    made = {name: value for name, value in quantiser.features.items() if name != "source"}
    given = json.loads(json.dumps(extractor.features))  # as the quantiser's were written and read
    made = json.loads(json.dumps(made))
    if other := sorted(name for name in made.keys() | given.keys() if made.get(name) != given.get(name)):
        raise InputError(f"the quantiser was made of other features (they differ in {', '.join(other)}); give those")
