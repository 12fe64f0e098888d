"""From a MODEL as users write it to an encoder: ``load_encoder``, the one way in for everything that is measured.

MODEL is a classical feature (``mel``, ``mfcc:cmvn`` ...), ``random:<family>-<size>[:seed]``, the path of a checkpoint
(our folder, a transformers folder, a file of fairseq, S3PRL or MelHuBERT) or a hub id (``organisation/name``). What
kind a file is shows in its content. A feature's name wins over a folder of that name; ``./mel`` is the folder. Names
are resolved before torch or transformers are imported, so a wrong one is answered at once.
"""

import difflib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from speechbias.encoder import Encoder, check_convention
from speechbias.errors import InputError
from speechbias.features import NAMES, FeatureEncoder
from speechbias.models.huggingface.hub import find_snapshot, is_hub_id
from speechbias.models.huggingface.settings import read_json

if TYPE_CHECKING:
    from speechbias.checkpoint.content import Checkpoint
    from speechbias.models.config import EncoderConfig
    from speechbias.models.mel import MelStats

MODEL_MAY_BE = (
    f"a feature ({', '.join(NAMES)}), random:FAMILY-SIZE[:SEED], a checkpoint (folder or file), "
    "or a hub id (organisation/name)"
)


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
    ``speat-2023``. ``mel_stats``, (2, 40) mean and std or an ``.npy`` of it, is for MelHuBERT files that carry none;
    without it such a file loads and takes features. InputError, one line, for whatever cannot be loaded.
    """
    check_convention(states)
    if isinstance(model, str) and model in NAMES:
        _refuse_mel_stats(model, mel_stats)
        return FeatureEncoder(model, states=states)
    name, path = _resolve(str(model))
    if path is not None and _foreign_encoder(path, states):
        from speechbias.models.huggingface.adapter import load_huggingface  # noqa: PLC0415 (imports torch: seconds)

        _refuse_mel_stats(name, mel_stats)
        return load_huggingface(name, path, device=device, dtype=dtype, states=states)
    from speechbias.models.frozen import freeze  # noqa: PLC0415

    checkpoint = read_checkpoint(model, mel_stats=mel_stats)
    stats = checkpoint.meta.mel_stats
    return freeze(name, checkpoint.network(), device=device, dtype=dtype, states=states, mel_stats=stats)


def read_checkpoint(model: str | Path, *, mel_stats: NDArray[np.floating] | str | Path | None = None) -> "Checkpoint":
    """Read a model of the three families from wherever it lies: its config, weights and what is known of it.

    InputError for other models (features, other encoders of transformers) and for whatever cannot be read.
    """
    name, path = _resolve(str(model))
    given = _given_stats(mel_stats)
    if path is None:
        from speechbias.checkpoint.untrained import draw_untrained  # noqa: PLC0415 (each brings torch: seconds)

        checkpoint = draw_untrained(name, mel_stats=given)
    elif path.is_file():
        from speechbias.checkpoint.foreign import read_foreign  # noqa: PLC0415

        checkpoint = read_foreign(name, path, mel_stats=given)
    else:
        checkpoint = _read_folder(name, path, given)
    _refuse_unless_mel(name, checkpoint.config, given)
    return checkpoint


def check_model(
    model: str,
    *,
    device: str = "cpu",
    states: str = "s3prl",
    mel_stats: NDArray[np.floating] | str | Path | None = None,
) -> tuple[int, int]:
    """The rate (Hz) and the fewest samples that MODEL will take; computes nothing.

    Raises the ``InputError`` that ``load_encoder`` would raise for a name, file, settings, states or device, and the
    one that a MelHuBERT without statistics would raise for its first clip.
    """
    check_convention(states)
    if model in NAMES:
        _refuse_mel_stats(model, mel_stats)
        feature = FeatureEncoder(model, states=states)
        return feature.sample_rate, feature.min_samples
    name, path = _resolve(model)
    from speechbias.models.device import choose_device  # noqa: PLC0415 (imports torch: seconds)

    choose_device(device)
    if path is not None and _foreign_encoder(path, states):
        from speechbias.models.huggingface.adapter import read_frontend  # noqa: PLC0415

        _refuse_mel_stats(name, mel_stats)
        front = read_frontend(name, path, states=states)
        return front.sample_rate, front.min_samples
    return _check_network(model, name, path, states, mel_stats)


def _check_network(
    model: str, name: str, path: Path | None, states: str, mel_stats: NDArray[np.floating] | str | Path | None
) -> tuple[int, int]:
    """``check_model`` for our networks: everything of the file but the tensors' values is looked at."""
    from speechbias.checkpoint.untrained import untrained_config  # noqa: PLC0415
    from speechbias.models.config import SAMPLE_RATE, MelFrontend  # noqa: PLC0415
    from speechbias.models.conventions import state_points  # noqa: PLC0415
    from speechbias.models.mel import NO_STATS  # noqa: PLC0415

    if path is None:  # drawing the weights would cost seconds
        config, has_stats = untrained_config(name), True
        _refuse_unless_mel(name, config, _given_stats(mel_stats))
    else:
        checkpoint = read_checkpoint(model, mel_stats=mel_stats)
        config, has_stats = checkpoint.config, checkpoint.meta.mel_stats is not None
    state_points(name, config, states)
    if isinstance(config.frontend, MelFrontend) and not has_stats:
        raise InputError(f"{name} {NO_STATS}")
    return SAMPLE_RATE, config.frontend.receptive_field


def takes_mel_stats(model: str) -> bool:
    """Whether MODEL is a MelHuBERT. False too for what cannot be read: whoever loads it says why."""
    if model in NAMES:
        return False
    try:
        name, path = _resolve(model)
        if path is None:
            return name.startswith("random:melhubert")
        return not _foreign_encoder(path, "s3prl") and read_checkpoint(model).config.family == "melhubert"
    except InputError:
        return False


def _read_folder(name: str, folder: Path, given: "MelStats | None") -> "Checkpoint":
    """One of our folders, or a transformers folder of wav2vec 2.0 or HuBERT."""
    from speechbias.checkpoint.folder import is_checkpoint, read_folder  # noqa: PLC0415 (torch: seconds)
    from speechbias.checkpoint.transformers import read_hints, read_transformers  # noqa: PLC0415

    if is_checkpoint(folder):
        checkpoint = read_folder(name, folder)
        if given is None:
            return checkpoint
        return replace(checkpoint, meta=replace(checkpoint.meta, mel_stats=given))
    hints = read_hints(folder)
    if hints is None:
        raise InputError(f"{name} is no wav2vec 2.0, HuBERT or MelHuBERT of our network's kind; measure it as it is")
    return read_transformers(name, folder, hints)


def _foreign_encoder(path: Path, states: str) -> bool:
    """Whether a path is for the adapter that runs transformers' own code: any folder that is no network of ours."""
    if path.is_file() or (path / "encoder.safetensors").is_file() or not (path / "config.json").is_file():
        return path.is_dir() and not (path / "encoder.safetensors").is_file()
    if "schema" in read_json(path / "config.json"):
        raise InputError(f"{path} has no encoder.safetensors; copy the folder again")
    from speechbias.checkpoint.transformers import read_hints  # noqa: PLC0415 (torch: seconds)

    hints = read_hints(path)
    return hints is None or (hints.student and states == "hf")  # a student's states "hf" are transformers' own


def _given_stats(mel_stats: NDArray[np.floating] | str | Path | None) -> "MelStats | None":
    if mel_stats is None:
        return None
    from speechbias.models.mel import read_mel_stats  # noqa: PLC0415

    return read_mel_stats(mel_stats)


def _refuse_mel_stats(name: str, mel_stats: object) -> None:
    if mel_stats is not None:
        raise InputError(f"{name} takes no mel statistics; leave mel_stats (--mel-stats) out")


def _refuse_unless_mel(name: str, config: "EncoderConfig", mel_stats: "MelStats | None") -> None:
    if config.family != "melhubert":
        _refuse_mel_stats(name, mel_stats)


def _resolve(model: str) -> tuple[str, Path | None]:
    """Display name, and the file or folder of a path or hub id; None for an untrained model. InputError else."""
    if model.startswith("random:"):
        from speechbias.checkpoint.untrained import parse  # noqa: PLC0415

        parse(model)
        return model, None
    if not model.strip():
        raise InputError(f"the name of the model is empty; MODEL is {MODEL_MAY_BE}")
    try:
        path = Path(model).expanduser()
        is_folder = path.is_dir()
    except (OSError, RuntimeError) as error:  # too long for a name, the home of nobody
        raise InputError(f"{model[:80]!r} cannot be looked up ({str(error)[:80]}); MODEL is {MODEL_MAY_BE}") from None
    if is_folder:
        return path.resolve().name, path
    if path.suffix == ".npz":
        raise InputError(f"{model} holds embeddings, it is no encoder; give it to: speechbias measure {model}")
    if path.is_file():
        if path.suffix in {".safetensors", ".json"} or path.name == "pytorch_model.bin":
            raise InputError(
                f"{model} is one file of a folder; pass the folder that holds config.json and the weights"
            )
        return path.name, path
    if is_hub_id(model):
        return model, find_snapshot(model)
    if "/" in model or path.suffix in {".pt", ".ckpt", ".pth", ".bin"}:
        raise InputError(f"{model}: there is no such file or folder; MODEL is {MODEL_MAY_BE}")
    near = difflib.get_close_matches(model, NAMES, n=1, cutoff=0.0)
    raise InputError(f"{model!r} is no model; did you mean {near[0]}? MODEL is {MODEL_MAY_BE}")
