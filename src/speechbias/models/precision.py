"""Products in the precision of what is multiplied: no TF32 behind float32 on a GPU, no bfloat16 behind it on a CPU.

And attention by the same kernels, which round differently, whatever ``sdpa_kernel`` or the flags allow: flash where it
takes the sizes (on a GPU never, since it takes no mask), else the memory-efficient one, else plain arithmetic.

Torch keeps these settings per process, and another part of a user's program may have loosened them. They are tight
while we compute, whatever they were, and as they were afterwards; bfloat16 is asked for by name (``dtype``).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
EXACT = "ieee"  # fp32_precision of torch >= 2.9; "none" takes the setting above, of the backend or of all

_lock = Lock()
_inside = 0  # computations under way, in all threads: the first tightens, the last loosens
_before = ExitStack()  # puts back what was set


@contextmanager
def exact_products() -> Iterator[None]:
    """Products and convolutions of float32 in float32, also within a caller's autocast.

    May be nested, and entered by several threads at a time.
    """
    global _inside  # noqa: PLW0603 (so are the settings)
    with _lock:
        if not _inside:
            for settings, name, value in _tighten():
                _before.callback(setattr, settings, name, value)
            _before.enter_context(sdpa_kernel(ATTENTION))
        _inside += 1
    try:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _before.close()


def _tighten() -> list[tuple[Any, str, object]]:
    """Tighten every setting; what to write where afterwards."""
    cuda: Any = torch.backends.cuda
    cudnn: Any = torch.backends.cudnn
    if not hasattr(cuda.matmul, "fp32_precision"):  # torch < 2.9
        before = [(part, "allow_tf32", part.allow_tf32) for part in (cuda.matmul, cudnn)]
        for part, name, _ in before:
            setattr(part, name, False)
        return before
    mkldnn: Any = torch.backends.mkldnn
    parts = [(cuda.matmul, cudnn), (cudnn.conv, cudnn), (mkldnn.matmul, mkldnn), (mkldnn.conv, mkldnn)]
    # Torch tells what holds, not whether it was set here or above; what equals the setting above goes on following it.
    states = [(part, part.fp32_precision, above.fp32_precision) for part, above in parts]
    for part, _ in parts:
        part.fp32_precision = EXACT
    return [(part, "fp32_precision", "none" if own == above else own) for part, own, above in states]
