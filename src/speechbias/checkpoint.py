"""From a MODEL as users write it to an encoder: ``load_encoder``, the one way in for everything that is measured.

MODEL is a classical feature (``mel``, ``mfcc:cmvn`` ...), the path of a transformers folder, or a hub id
(``organisation/name``). A feature's name wins over a folder of that name; ``./mel`` is the folder. Names are resolved
before torch or transformers are imported, so a wrong one is answered at once.
"""

import difflib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechbias.encoder import Encoder
from speechbias.errors import InputError
from speechbias.features import NAMES, FeatureEncoder
from speechbias.models.families import STATES
from speechbias.models.hub import find_snapshot, is_hub_id

MODEL_MAY_BE = f"a feature ({', '.join(NAMES)}), a transformers folder, or a hub id (organisation/name)"


def load_encoder(
    model: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    states: str = "s3prl",
    mel_stats: NDArray[np.floating] | str | Path | None = None,
) -> Encoder:
    """Load a frozen speech encoder.

    ``device`` (``cpu``, ``cuda``, ``auto``) and ``dtype`` (``float32``, ``bfloat16``, ``float16``) concern networks;
    features are computed in float64 on the CPU. ``states`` says which hidden states count: ``s3prl``, ``hf`` or
    ``speat-2023``. ``mel_stats`` belongs to MelHuBERT files without statistics of their own. InputError, one line,
    for whatever cannot be loaded.
    """
    if mel_stats is not None:
        raise InputError(f"{model} takes no mel statistics; leave mel_stats (--mel-stats) out")
    if states not in STATES:
        raise InputError(f"states {states!r} is none of {', '.join(STATES)}")
    if isinstance(model, str) and model in NAMES:
        return FeatureEncoder(model, states=states)
    name, folder = _resolve(str(model))
    from speechbias.models.huggingface import load_huggingface  # noqa: PLC0415 (imports torch: seconds)

    return load_huggingface(name, folder, device=device, dtype=dtype, states=states)


def check_model(model: str, *, device: str = "cpu", states: str = "s3prl") -> tuple[int, int]:
    """The rate (Hz) and the fewest samples that MODEL will take; reads no weights.

    Raises the ``InputError`` that ``load_encoder`` would raise for a name, folder, settings, states or device.
    """
    if model in NAMES:
        feature = FeatureEncoder(model, states=states)
        return feature.sample_rate, feature.min_samples
    name, folder = _resolve(model)
    from speechbias.models.huggingface import choose_device, read_frontend  # noqa: PLC0415 (imports torch: seconds)

    choose_device(device)
    front = read_frontend(name, folder, states=states)
    return front.sample_rate, front.min_samples


def _resolve(model: str) -> tuple[str, Path]:
    """Display name and folder of a path or hub id. InputError for anything else."""
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve().name, path
    if path.suffix == ".npz":
        raise InputError(f"{model} holds embeddings, it is no encoder; give it to: speechbias measure {model}")
    if path.exists():
        raise InputError(f"{model} is a file; pass the folder that holds config.json and model.safetensors")
    if is_hub_id(model):
        return model, find_snapshot(model)
    if "/" in model:
        raise InputError(f"{model}: there is no such folder; MODEL is {MODEL_MAY_BE}")
    near = difflib.get_close_matches(model, NAMES, n=1, cutoff=0.0)
    raise InputError(f"{model!r} is no model; did you mean {near[0]}? MODEL is {MODEL_MAY_BE}")
