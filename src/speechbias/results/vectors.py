"""Pooled vectors beside a results file, under a name that is their hash."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.results.whole import write_whole


def write_vectors(results: Path | str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """Store pooled vectors beside the results, under a name that is their hash: the record's ``vectors`` entry."""
    results = Path(results)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    path = results.with_name(results.name + ".vectors") / f"{digest[:16]}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_whole(path, buffer.getvalue())
    return {"path": f"{path.parent.name}/{path.name}", "sha256": digest}
