"""Files of safetensors: their library checks them, their tensors are mapped as those of any other file here.

The library maps a file once for as long as any of its tensors lives; ours can be let go part by part (``mapping``).
"""

import json
import math
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from speechbias.checkpoint.archives import LazyTensor, Record, map_file
from speechbias.errors import InputError

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_safetensors(path: Path) -> dict[str, LazyTensor]:
    """Every tensor of a file, not read yet. InputError for a file that is cut short or none."""
    try:
        with (
            safe_open(path, framework="pt"),
            path.open("rb") as file,
        ):  # names, sizes and places have been checked then
            memory = map_file(file)
        begin = 8 + int.from_bytes(memory[:8], "little")
        header = json.loads(memory[8:begin])
        header.pop("__metadata__", None)
        made = {}
        for name, said in header.items():
            start, stop = said["data_offsets"]
            shape, dtype = tuple(said["shape"]), DTYPES[said["dtype"]]
            strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
            made[name] = LazyTensor(dtype, shape, strides, 0, Record(memory, begin + start, stop - start))
    except (OSError, SafetensorError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read as safetensors ({reason}); copy the file again") from None
    except KeyError as error:
        raise InputError(
            f"{path} holds numbers of kind {error}, not floating-point numbers; copy the file again"
        ) from None
    return made
