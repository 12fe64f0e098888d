"""What measuring may not change: random states, training flags, whether gradients are kept."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def undisturbed(module: object) -> Iterator[None]:
    """The module in eval mode and no gradients inside; afterwards everything as it was, also after an error.

    The random states of Python, numpy and torch (all devices in use) are put back, and each submodule's own flag:
    who trains may have frozen some of them.
    """
    modules = list(module.modules()) if isinstance(module, nn.Module) else []
    flags = [each.training for each in modules]
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 (the user's)
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        for each in modules:
            each.training = False
        with torch.no_grad():
            yield
    finally:
        for each, flag in zip(modules, flags, strict=True):
            each.training = flag
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if devices:
            torch.cuda.set_rng_state_all(devices)
