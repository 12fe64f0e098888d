"""Where and in what precision a network computes."""

import torch

from speechbias.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_dtype(dtype: str) -> torch.dtype:
    """The precision of a name. InputError for others."""
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is unknown; use one of {', '.join(DTYPES)}")
    return DTYPES[dtype]


def choose_device(device: str) -> str:
    """The device to compute on; ``auto`` is the first CUDA device where there is one, else the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise InputError(f"device {device!r} is unknown; use cpu, cuda, cuda:1 ... or auto") from None
    if kind not in {"cpu", "cuda"}:
        raise InputError(f"device {device!r} cannot sum in float64; use cpu, cuda, cuda:1 ... or auto")
    if kind == "cuda" and (torch.device(device).index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {device!r} is not here ({torch.cuda.device_count()} CUDA devices); use cpu or auto")
    return "cpu" if kind == "cpu" else device  # cpu:0 is the CPU


def picked_in_words() -> str:
    """What ``auto`` picks on this machine, and why: a line for the user."""
    if choose_device("auto") == "cpu":
        return "device: cpu (no CUDA device here)"
    return f"device: cuda ({torch.cuda.get_device_name()})"
