"""onnx and onnxruntime, which are an extra: imported where they are needed, missed in one line."""

from importlib import import_module
from typing import Any

from speechbias.extras import MissingExtraError


def import_extra(name: str) -> Any:
    """A module of the extra ``onnx``. InputError, naming the extra, where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        package = name.split(".", maxsplit=1)[0]
        raise MissingExtraError(f"ONNX needs the package {package}: pip install 'speechbias[onnx]'") from None
