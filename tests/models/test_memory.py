"""Memory of a process that embeds: the number of states does not count, and weights are held once."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from speechbias.models.packed import is_supported

LONG, SHORT = 40, 2  # layers
SECONDS, DIM = 60, 256
CODE = f"""
import sys
from pathlib import Path
import torch
from speechbias.models.config import EncoderConfig, WaveFrontend
from speechbias.models.freeze import freeze
from speechbias.models.network import Network

def peak():
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM'))

layers = int(sys.argv[1])
torch.manual_seed(0)
widths = (4,) * layers, (64,) * layers
config = EncoderConfig('wav2vec2', WaveFrontend((16,) * 7), {DIM}, 64, *widths, position_kernel=8)
encoder = freeze('x', Network(config).requires_grad_(False))
encoder.pooled(torch.randn(16_000).numpy())
before = peak()
encoder.pooled(torch.randn({SECONDS} * 16_000).numpy())
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_memory_does_not_grow_with_the_number_of_states():
    grown = {}
    for layers in (SHORT, LONG):
        command = [sys.executable, "-c", CODE, str(layers)]
        grown[layers] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # kB
    one_state = SECONDS * 50 * DIM * 4 / 1024  # kB
    assert grown[LONG] - grown[SHORT] < (LONG - SHORT) * one_state / 3  # a list of them would need three times that


LOAD = """
import sys
from pathlib import Path
import torch
from speechbias.checkpoint import load_encoder
from speechbias.models.packed import is_supported

def resident():
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('VmRSS'))

is_supported(torch.float32)  # and with it oneDNN
before = resident()
encoder = load_encoder('random:wav2vec2-small')
grown = resident() - before
assert 'sympy' not in sys.modules  # torch's compiler: 40 MB and a second
print(grown, sum(tensor.nbytes for tensor in encoder.network.state_dict().values()) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
@pytest.mark.skipif(not is_supported(torch.float32), reason="this build of torch has no prepacked products")
def test_an_untrained_model_is_in_memory_once():
    command = [sys.executable, "-c", LOAD]
    grown, weights = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert weights < grown < 1.5 * weights  # kB; packed and as it was drawn it would be twice that
