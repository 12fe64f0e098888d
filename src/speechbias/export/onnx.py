"""A model as one ONNX file, in float32 or with quantised linear layers, checked against the network first."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from speechbias import __version__
from speechbias.checkpoint import load_encoder
from speechbias.checkpoint.content import Checkpoint
from speechbias.checkpoint.erased import Removal
from speechbias.checkpoint.folder import replaced_whole, to_json
from speechbias.checkpoint.source import ONNX_FILE
from speechbias.erasers import stacked
from speechbias.errors import InputError, os_reason
from speechbias.export.card import CARD, CardOptions, is_edited, write_card
from speechbias.inspection.networks import count_nonzero
from speechbias.models.config import SAMPLE_RATE, MelFrontend
from speechbias.models.conventions import state_points
from speechbias.models.erased import ErasedEncoder
from speechbias.models.fingerprint import network_recipe, weights_sha256
from speechbias.models.freeze import freeze
from speechbias.models.frozen import FrozenNetwork
from speechbias.models.onnx.facts import Facts
from speechbias.models.onnx.network import FEATURES, WAVE, network_graph
from speechbias.models.onnx.quantised import IN_WORDS, quantise
from speechbias.models.onnx.runtime import OnnxEncoder, open_onnx

Frozen = FrozenNetwork | ErasedEncoder

STATES = "s3prl"  # the convention of what is written
TOLERANCE = 1e-4  # of the largest value of the states


def write_onnx(
    out: Path, checkpoint: Checkpoint, options: CardOptions, *, quantised: bool, removal: Removal | None = None
) -> Path:
    """Write the folder ``out`` of model.onnx and README.md, or FILE.onnx and FILE.md, and give its path.

    ``removal``: what was removed from the checkpoint's states.
    """
    form = "int8" if quantised else "onnx"
    if out.suffix.lower() != ".onnx":
        with replaced_whole(out, ours=is_onnx_export, what="export") as written:
            _write_both(written / ONNX_FILE, written / CARD, checkpoint, options, form=form, removal=removal)
        return out
    card = out.with_suffix(".md")
    if out.is_dir() or (out.exists() and not _is_ours(out)) or is_edited(card):
        raise InputError(f"{out} or {card.name} is there already and no export of ours; choose another name with -o")
    with _beside(out) as folder:
        made = Path(folder)
        _write_both(made / out.name, made / card.name, checkpoint, options, form=form, removal=removal)
        (made / out.name).replace(out)
        (made / card.name).replace(card)
    return out


def _beside(out: Path) -> "tempfile.TemporaryDirectory[str]":
    """A folder to write in, from where a file can be renamed to ``out``."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".part", dir=out.parent)
    except OSError as error:
        raise InputError(f"{out} cannot be written ({os_reason(error)}); choose another place with -o") from None


def is_onnx_export(folder: Path) -> bool:
    """Whether a folder holds an ONNX file of ours, its card as it was written, and nothing else."""
    names = {path.name for path in folder.iterdir()}
    return names - {CARD} == {ONNX_FILE} and _is_ours(folder / ONNX_FILE) and not is_edited(folder / CARD)


def _is_ours(path: Path) -> bool:
    try:
        open_onnx(path)
    except InputError:
        return False
    return True


def _write_both(
    path: Path, card: Path, checkpoint: Checkpoint, options: CardOptions, *, form: str, removal: Removal | None
) -> None:
    """The model and its card; nothing is kept where the model does not compute what the checkpoint does."""
    _write_model(path, checkpoint, removal, quantised=form == "int8")
    exported = load_encoder(path)
    assert isinstance(exported, OnnxEncoder)
    frozen: Frozen = freeze(checkpoint.name, checkpoint.stored(), states=STATES, mel_stats=checkpoint.meta.mel_stats)
    origin = frozen.sha256
    if removal is not None:
        frozen = ErasedEncoder(checkpoint.name, frozen, removal.erasers, removal.facts)
        origin = frozen.sha256
    apart = difference(frozen, exported)
    if form == "onnx" and not apart <= TOLERANCE:
        raise RuntimeError(f"onnxruntime gives states that differ by {apart:.2g} of their size from the network's")
    del exported, frozen  # each with all weights
    write_card(card, path, checkpoint, options, form=form, origin=origin, difference=apart)


def _write_model(path: Path, checkpoint: Checkpoint, removal: Removal | None, *, quantised: bool) -> None:
    points = state_points(checkpoint.name, checkpoint.config, STATES)
    said = facts_of(checkpoint, precision="int8" if quantised else "float32", removal=removal).to_props()
    stats, erasers = checkpoint.meta.mel_stats, removal.erasers if removal else ()
    try:
        model, linear = network_graph(checkpoint.network(), points, said, mel_stats=stats, erasers=erasers)
    except InputError as error:
        raise InputError(*(f"{checkpoint.name}: {problem}" for problem in error.problems)) from None
    if not quantised:
        path.write_bytes(model.SerializeToString(deterministic=True))
        return
    whole = path.with_name(f".{path.name}.float32")
    whole.write_bytes(model.SerializeToString(deterministic=True))
    del model
    quantise(whole, path, linear)
    whole.unlink()


def difference(frozen: Frozen, exported: OnnxEncoder) -> float:
    """The largest difference between the states of the two on a second of noise, over the largest value there."""
    rng = np.random.default_rng(0)
    if exported.facts.input == FEATURES:
        assert isinstance(frozen, FrozenNetwork), "clips were embedded to fit erasers, so it takes audio"
        frames = rng.standard_normal((50, exported.input_dim)).astype(np.float32)
        ours, theirs = frozen.encode_features(frames), exported.encode_features(frames)
    else:
        wave = (0.1 * rng.standard_normal(SAMPLE_RATE)).astype(np.float32)
        ours, theirs = frozen.hidden_states(wave), exported.hidden_states(wave)
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


def facts_of(checkpoint: Checkpoint, *, precision: str, removal: Removal | None = None) -> Facts:
    """What the file will say of itself."""
    config, meta = checkpoint.config, checkpoint.meta
    points = state_points(checkpoint.name, config, STATES)
    pruning, stats = meta.pruning, meta.mel_stats
    recipe: dict[str, Any] = network_recipe(config, points, stats)
    if precision == "int8":
        recipe["quantised"] = IN_WORDS
    if removal is not None:
        recipe["removal"] = dict(removal.facts)
    erasing = sum(array.size for array in stacked(removal.erasers).values()) if removal else 0
    numbers = sum(tensor.numel() for tensor in checkpoint.tensors.values()) + erasing
    zeros = pruning.removed(config) if pruning and pruning.method == "weights" else 0
    return Facts(
        name=checkpoint.name,
        family=config.family,
        input=FEATURES if isinstance(config.frontend, MelFrontend) and stats is None else WAVE,
        states=STATES,
        num_states=len(points),
        dim=config.dim,
        sample_rate=SAMPLE_RATE,
        frame_shift=config.frontend.hop / SAMPLE_RATE,
        min_samples=config.frontend.receptive_field,
        precision=precision,
        parameters=numbers - zeros,
        nonzero=count_nonzero(checkpoint.tensors),
        encoder_sha256=weights_sha256(config, checkpoint.tensors),
        speechbias_version=__version__,
        config=to_json(config, None),
        recipe=recipe,
        mel_stats=None if stats is None else stats.tolist(),
        pruned={} if pruning is None or removal else pruning.in_record(config),
        distilled={} if meta.distilled is None or removal else meta.distilled.in_record(config),
        step=meta.step,
        run=None if meta.run is None or removal else dict(meta.run),
        provenance=dict(meta.provenance),
        fitted_on=sorted(removal.fitted_on) if removal else [],
    )
