"""One model written for somebody else: for transformers, as ONNX, quantised, or as our own folder; with its card.

``hf`` is what ``Wav2Vec2Model.from_pretrained`` and ``HubertModel.from_pretrained`` load whole (``transformers``).
``onnx`` and ``int8`` are one file that runs in onnxruntime without this package, the latter with quantised linear
layers (``onnx``). ``speechbias`` is our folder: how a foreign file, which may hold code, becomes one that cannot, and
how a MelHuBERT gets its statistics. A model card lies beside each (``card``).
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from speechbias.checkpoint import read_checkpoint
from speechbias.checkpoint.source import find_source
from speechbias.errors import InputError
from speechbias.export.card import CARD, UNKNOWN, CardOptions, is_edited
from speechbias.export.transformers import next_use_in_transformers, write_transformers
from speechbias.features import NAMES

if TYPE_CHECKING:
    from speechbias.checkpoint.content import Checkpoint
    from speechbias.checkpoint.erased import Removal

Format = Literal["hf", "onnx", "int8", "speechbias"]


def export_checkpoint(
    model: str | Path,
    out: Path | str,
    *,
    format: Format = "hf",  # noqa: A002 (its name on the command line)
    mel_stats: NDArray[np.floating] | str | Path | None = None,
    results: Sequence[Path | str] = (),
    license: str = UNKNOWN,  # noqa: A002 (as above)
    latency: bool = True,
) -> Path:
    """Write MODEL and its card to the folder ``out``, all of it or nothing, and give its path.

    For ONNX ``out`` may be a file, FILE.onnx; its card is then FILE.md. An earlier export there is replaced, unless
    its card was edited. ``results`` are files of records; those of this model stand in the card. ``latency`` takes the
    time of 10 s of audio, six times. InputError for what cannot be read, for what a format has no place for, where
    something else has that name, and where ``results`` hold no record of the model.
    """
    if str(model) in NAMES:
        raise InputError(f"{model} is a feature and has no weights; export a checkpoint")
    out, options = Path(out), CardOptions(tuple(map(Path, results)), license, latency)
    options.check()
    if format in {"onnx", "int8"}:
        from speechbias.models.onnx.packages import import_extra  # noqa: PLC0415 (not every installation has it)

        import_extra("onnx"), import_extra("onnxruntime")  # missed before a checkpoint is read
    removal = _removal(model, format)
    checkpoint = read_checkpoint(model if removal is None else removal.base, mel_stats=mel_stats)
    if format == "hf":
        return write_transformers(out, checkpoint, options)
    if format == "speechbias":
        return _write_ours(out, checkpoint, options)
    from speechbias.export.onnx import write_onnx  # noqa: PLC0415 (as above)

    if removal is None:
        return write_onnx(out, checkpoint, options, quantised=format == "int8")
    from speechbias.checkpoint.erased import without_run  # noqa: PLC0415 (as above)

    named = without_run(find_source(model).name, checkpoint, removal)
    return write_onnx(out, named, options, quantised=format == "int8", removal=removal)


def _removal(model: str | Path, format: Format) -> "Removal | None":  # noqa: A002 (as above)
    """What was removed from MODEL, if it is one of those. InputError for a format without a place for erasers."""
    source = find_source(model)
    if source.kind != "erased" or source.path is None:
        return None
    if format not in {"onnx", "int8"}:
        raise InputError(
            f"{source.name} has erasers behind its hidden states, which a {format} folder has no place for; "
            "use --format onnx"
        )
    from speechbias.checkpoint.erased import check_states, read_removal  # noqa: PLC0415 (torch: seconds)

    removal = read_removal(source.path)
    check_states(source.name, removal, "s3prl")
    return removal


def _write_ours(out: Path, checkpoint: "Checkpoint", options: CardOptions) -> Path:
    from speechbias.checkpoint.folder import FILES, is_checkpoint, save_checkpoint  # noqa: PLC0415 (torch: seconds)
    from speechbias.export.card import write_card  # noqa: PLC0415

    if is_edited(out / CARD):
        raise InputError(f"{out / CARD} is not as export wrote it; move it away, or choose another name with -o")
    if is_checkpoint(out) and ({path.name for path in out.iterdir()} - FILES) != {CARD}:
        raise InputError(  # perhaps the model itself, with what its training goes on from
            f"{out} holds a checkpoint that is no export; choose another name with -o"
        )
    return save_checkpoint(
        out, checkpoint, extra=lambda folder: write_card(folder / CARD, folder, checkpoint, options, form="speechbias")
    )


def next_use(out: Path, *, format: Format) -> str:  # noqa: A002 (as above)
    """What an export is, and how to use it next."""
    if format == "hf":
        return next_use_in_transformers(out)
    what = "a checkpoint" if format == "speechbias" else "for onnxruntime"
    return f"{what}. Next: speechbias measure {shlex.quote(str(out))} --stimuli FILE.csv"
