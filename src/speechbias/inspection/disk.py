"""How large a model is where it lies: the files that hold the encoder's weights, no optimiser or objective beside."""

from pathlib import Path

from speechbias.checkpoint.source import Source

ENCODER = "encoder.safetensors"  # of our folders


def bytes_on_disk(source: Source) -> int | None:
    """Of the file, or of the files of a folder that are read for their weights; None for what lies nowhere.

    A file of somebody else's counts whole, with all that it holds beside the encoder.
    """
    if source.path is None:
        return None
    files = [source.path] if source.path.is_file() else _weights(source.path)
    return sum(file.stat().st_size for file in files) or None


def _weights(folder: Path) -> list[Path]:
    if (folder / ENCODER).is_file():
        return [folder / ENCODER]
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
