"""From a MODEL as users write it to an encoder: ``load_encoder``, the one way in for everything that is measured.

MODEL is a classical feature (``mel``, ``mfcc:cmvn`` ...), ``random:<family>-<size>[:seed]``, the path of a checkpoint
(our folder, a transformers folder, a file of fairseq, S3PRL or MelHuBERT, an ONNX file of ours) or a hub id
(``organisation/name``). What kind a file is shows in its content, of ONNX in its name. A feature's name wins over a
folder of that name; ``./mel`` is the folder. Names are resolved before torch or transformers are imported, so a wrong
one is answered at once.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from speechbias.checkpoint.series import run_of, trainer_step
from speechbias.checkpoint.source import Source, find_source
from speechbias.encoder import WITH_HEADS, Encoder, check_convention, refuse_heads
from speechbias.errors import InputError
from speechbias.features import FeatureEncoder
from speechbias.poolings import MEAN, check_pooling, with_pooling

if TYPE_CHECKING:
    from speechbias.checkpoint.content import Checkpoint

NO_TWIN = {  # by the kind of a source: why nothing can be drawn that is like it but untrained
    "feature": "has no weights",
    "untrained": "is untrained itself",
    "onnx": "is an ONNX file, whose weights are part of its graph",
    "erased": "is a model from which something was removed, which an untrained one does not hold",
}


def load_encoder(
    model: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    states: str = "s3prl",
    mel_stats: ArrayLike | Path | None = None,
    pooling: str = MEAN,
) -> Encoder:
    """Load a frozen speech encoder.

    ``device`` (``cpu``, ``cuda``, ``auto``) and ``dtype`` (``float32``, ``bfloat16``, ``float16``) concern networks;
    features are computed in float64 on the CPU. ``states`` says which hidden states count: ``s3prl``, ``hf``,
    ``speat-2023``, or of a student as ``distill`` wrote it ``s3prl-heads``: those of ``s3prl``, then what its heads
    predict. ``mel_stats``, (2, 40) mean and std or an ``.npy`` of it, is for MelHuBERT files that carry none; without
    it such a file loads and takes features. ``pooling`` (``speechbias.poolings``) is what ``pooled`` makes of a clip's
    frames: their ``mean``, or another function of them. InputError, one line, for whatever cannot be loaded.
    """
    check_convention(states)
    check_pooling(pooling)
    encoder = _load(find_source(model), device=device, dtype=dtype, states=states, mel_stats=mel_stats)
    return with_pooling(encoder, pooling)


def _load(source: Source, *, device: str, dtype: str, states: str, mel_stats: ArrayLike | Path | None) -> Encoder:
    if source.kind == "feature":
        _refuse_mel_stats(source.name, mel_stats)
        refuse_heads(source.name, states)
        return FeatureEncoder(source.name, states=states)
    if source.kind == "erased":
        from speechbias.checkpoint.erased import load_erased  # noqa: PLC0415 (which loads its base from here)

        by = partial(load_encoder, device=device, dtype=dtype, states=states, mel_stats=mel_stats)
        return load_erased(source.name, _path(source), states, load=by)
    if source.kind == "onnx":
        from speechbias.models.onnx.runtime import load_onnx  # noqa: PLC0415 (not every installation has it)

        _refuse_mel_stats(source.name, mel_stats)
        return load_onnx(source.name, _path(source), device=device, dtype=dtype, states=states)
    if _runs_transformers(source, states):
        from speechbias.models.huggingface.adapter import load_huggingface  # noqa: PLC0415 (imports torch: seconds)

        _refuse_mel_stats(source.name, mel_stats)
        refuse_heads(source.name, states)
        encoder = load_huggingface(source.name, _path(source), device=device, dtype=dtype, states=states)
        return replace(encoder, step=trainer_step(source), run=run_of(source))
    from speechbias.models.freeze import freeze  # noqa: PLC0415

    checkpoint = _read(source, mel_stats)
    stored, meta, updates = checkpoint.stored(), checkpoint.meta, trainer_step(source)
    heads = checkpoint.heads() if states == WITH_HEADS else None
    del checkpoint  # and with it the objective's other weights
    return freeze(
        source.name,
        stored,
        device=device,
        dtype=dtype,
        states=states,
        mel_stats=meta.mel_stats,
        step=meta.step if updates is None else updates,
        run=meta.run or run_of(source),
        pruning=meta.pruning,
        teacher=meta.distilled,
        heads=heads,
    )


def load_twin(
    model: str | Path,
    *,
    seed: int | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    states: str = "s3prl",
    mel_stats: ArrayLike | Path | None = None,
    pooling: str = MEAN,
) -> Encoder:
    """The untrained twin of a model: an encoder of the same shape with freshly drawn weights, as at step 0.

    ``seed``: by default that of the run which made the model, whose step 0 the twin then is to the last bit, or 0.
    Mel statistics are the model's. InputError, saying why, where there is none to draw.
    """
    check_pooling(pooling)
    how: dict[str, Any] = {"seed": seed, "device": device, "dtype": dtype, "states": states}
    return with_pooling(_draw_twin(find_source(model), mel_stats=mel_stats, **how), pooling)


def _draw_twin(
    source: Source, *, seed: int | None, device: str, dtype: str, states: str, mel_stats: ArrayLike | Path | None
) -> Encoder:
    if source.kind in NO_TWIN:
        raise InputError(f"{source.name} {NO_TWIN[source.kind]}")
    refuse_heads(source.name, states, why="has heads only by training")
    if _runs_transformers(source, states):
        from speechbias.models.huggingface.adapter import draw_huggingface  # noqa: PLC0415 (imports torch: seconds)

        name, asked = twin_name(source.name, seed or 0), {"device": device, "dtype": dtype, "states": states}
        return draw_huggingface(name, _path(source), seed=seed or 0, **asked)
    from speechbias.models.freeze import freeze  # noqa: PLC0415
    from speechbias.models.objectives import fresh_encoder  # noqa: PLC0415

    checkpoint = _read(source, mel_stats)
    said = (checkpoint.meta.run or {}).get("seed")
    seed = seed if seed is not None else said if type(said) is int and said >= 0 else 0
    return freeze(
        twin_name(source.name, seed),
        fresh_encoder(checkpoint.config, seed=seed),
        device=device,
        dtype=dtype,
        states=states,
        mel_stats=checkpoint.meta.mel_stats,
    )


def twin_name(model: str, seed: int) -> str:
    """What the untrained twin of a model is called."""
    return f"{model} untrained, seed {seed}"


def read_checkpoint(model: str | Path, *, mel_stats: ArrayLike | Path | None = None) -> "Checkpoint":
    """Read a model of the three families from wherever it lies: its config, weights and what is known of it.

    InputError for other models (features, other encoders of transformers) and for whatever cannot be read.
    """
    return _read(find_source(model), mel_stats)


@dataclass(frozen=True)
class Demands:
    """What a model takes in: the rate of its waves (Hz), the fewest samples, and whether mel statistics concern it."""

    sample_rate: int
    min_samples: int
    takes_mel_stats: bool = False


def check_model(
    model: str | Path, *, device: str = "cpu", states: str = "s3prl", mel_stats: ArrayLike | Path | None = None
) -> Demands:
    """What MODEL will take; computes nothing. ``mel_stats`` are for it if it is a MelHuBERT.

    Raises the ``InputError`` that ``load_encoder`` would raise for a name, file, settings, states or device, and the
    one that a MelHuBERT without statistics would raise for its first clip.
    """
    check_convention(states)
    source = find_source(model)
    if source.kind == "feature":
        refuse_heads(source.name, states)
        feature = FeatureEncoder(source.name, states=states)
        return Demands(feature.sample_rate, feature.min_samples)
    if source.kind == "erased":
        from speechbias.checkpoint.erased import check_states, read_removal  # noqa: PLC0415

        removal = read_removal(_path(source))
        check_states(source.name, removal, states)
        return check_model(removal.base, device=device, states=states, mel_stats=mel_stats)
    if source.kind == "onnx":
        from speechbias.models.onnx.runtime import NO_AUDIO, check_asked, open_onnx  # noqa: PLC0415

        _, facts = open_onnx(_path(source))
        check_asked(source.name, facts, device=device, states=states)
        if facts.input != "wave":
            raise InputError(f"{source.name} {NO_AUDIO}")
        return Demands(facts.sample_rate, facts.min_samples)
    from speechbias.models.device import choose_device  # noqa: PLC0415 (imports torch: seconds)

    choose_device(device)
    if _runs_transformers(source, states):
        from speechbias.models.huggingface.adapter import read_frontend  # noqa: PLC0415

        refuse_heads(source.name, states)
        front = read_frontend(source.name, _path(source), states=states)
        return Demands(front.sample_rate, front.min_samples)
    return _check_network(source, states, mel_stats)


def find_front(model: str | Path, *, device: str = "cpu", dtype: str = "float32", states: str = "s3prl") -> str | None:
    """The ``front_sha256`` that ``load_encoder`` will give MODEL, from the weights of its front end alone.

    None for what has no two stages, for untrained convolutions, which lie nowhere, and on a GPU, where batches run
    through both. InputError as there.
    """
    source = find_source(model)
    if source.kind in {"feature", "adapter", "onnx", "erased"} or _runs_transformers(source, states):
        return None
    from speechbias.checkpoint.untrained import untrained_config  # noqa: PLC0415 (torch: seconds)
    from speechbias.models.device import choose_device  # noqa: PLC0415
    from speechbias.models.fingerprint import front_sha256  # noqa: PLC0415

    if choose_device(device) != "cpu":
        return None
    if source.kind == "untrained":
        config = untrained_config(source.name)
        return front_sha256(config, {}) if config.family == "melhubert" else None
    checkpoint = _read(source, None)
    return front_sha256(checkpoint.config, checkpoint.stored().part("frontend"), device=device, dtype=dtype)


def _check_network(source: Source, states: str, mel_stats: ArrayLike | Path | None) -> Demands:
    """``check_model`` for our networks: everything of the file but the values of its tensors is looked at."""
    from speechbias.checkpoint.untrained import untrained_config  # noqa: PLC0415
    from speechbias.models.config import SAMPLE_RATE, MelFrontend  # noqa: PLC0415
    from speechbias.models.conventions import state_points  # noqa: PLC0415
    from speechbias.models.freeze import NO_HEADS  # noqa: PLC0415
    from speechbias.models.mel import NO_STATS, read_mel_stats  # noqa: PLC0415

    if source.kind == "untrained":  # drawing the weights would cost seconds
        config, has_stats, has_heads = untrained_config(source.name), True, False
    else:
        checkpoint = _read(source, None)
        config, has_stats = checkpoint.config, checkpoint.meta.mel_stats is not None
        has_heads = checkpoint.has_heads
    state_points(source.name, config, states)
    if not has_heads:
        refuse_heads(source.name, states, why=NO_HEADS)
    is_mel = isinstance(config.frontend, MelFrontend)
    if is_mel and mel_stats is not None:
        read_mel_stats(mel_stats)
    elif is_mel and not has_stats:
        raise InputError(f"{source.name} {NO_STATS}")
    return Demands(SAMPLE_RATE, config.frontend.receptive_field, takes_mel_stats=is_mel)


def _read(source: Source, mel_stats: ArrayLike | Path | None) -> "Checkpoint":
    """The checkpoint of a source, with these statistics of its mel bins if any are given."""
    if source.kind == "onnx":
        raise InputError(
            f"{source.name} is an ONNX file, which is measured as it is, and neither trained on, pruned nor exported; "
            "give the checkpoint that it was made of"
        )
    if source.kind == "erased":
        raise InputError(
            f"{source.name} is a model from which something was removed; it is measured and probed as it is, and "
            "neither trained on, pruned nor read into our network; give its base"
        )
    if source.kind in {"feature", "adapter"}:
        what = "a feature" if source.kind == "feature" else "an encoder that transformers runs"
        raise InputError(f"{source.name} is {what}; only wav2vec 2.0, HuBERT and MelHuBERT are read into our network")
    from speechbias.models.mel import read_mel_stats  # noqa: PLC0415 (torch: seconds)

    given = None if mel_stats is None else read_mel_stats(mel_stats)
    checkpoint = _read_source(source)
    if given is None:
        return checkpoint
    if checkpoint.config.family != "melhubert":
        _refuse_mel_stats(source.name, given)
    return replace(checkpoint, meta=replace(checkpoint.meta, mel_stats=given))


def _read_source(source: Source) -> "Checkpoint":
    if source.kind == "untrained":
        from speechbias.checkpoint.untrained import draw_untrained  # noqa: PLC0415 (each brings torch: seconds)

        return draw_untrained(source.name)
    if source.kind == "file":
        from speechbias.checkpoint.foreign import read_foreign  # noqa: PLC0415

        return read_foreign(source.name, _path(source))
    if source.kind == "our folder":
        from speechbias.checkpoint.folder import read_folder  # noqa: PLC0415

        return read_folder(source.name, _path(source))
    from speechbias.checkpoint.transformers import read_transformers  # noqa: PLC0415

    return read_transformers(source.name, _path(source))


def _runs_transformers(source: Source, states: str) -> bool:
    """Whether transformers' own code computes: other encoders, and the states "hf" of a student, which are its own."""
    if source.kind == "transformers folder" and states == "hf":
        from speechbias.checkpoint.transformers import read_hints  # noqa: PLC0415 (torch: seconds)

        hints = read_hints(_path(source))
        return hints is not None and hints.student
    return source.kind == "adapter"


def _path(source: Source) -> Path:
    assert source.path is not None
    return source.path


def _refuse_mel_stats(name: str, mel_stats: object) -> None:
    if mel_stats is not None:
        raise InputError(f"{name} takes no mel statistics; leave mel_stats (--mel-stats) out")
