"""Float32 is multiplied as float32 whatever the process allows, and the process gets its settings back."""

import threading
import warnings

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from speechbias.models.batches import BatchMeans
from speechbias.models.config import EncoderConfig, WaveFrontend
from speechbias.models.freeze import freeze
from speechbias.models.initialisation import initialise_network
from speechbias.models.network import Network
from speechbias.models.precision import exact_products
from speechbias.models.readers import RunningMeans

backends = torch.backends
PARTS = {
    "cuda.matmul": backends.cuda.matmul,
    "cudnn.conv": backends.cudnn.conv,
    "mkldnn.matmul": backends.mkldnn.matmul,
    "mkldnn.conv": backends.mkldnn.conv,
}
TINY = EncoderConfig(
    "wav2vec2", WaveFrontend((16,) * 7), 24, 8, (3, 3), (40, 40), position_kernel=16, position_groups=2
)


def held():
    return {name: part.fp32_precision for name, part in PARTS.items()}


def medium():
    torch.set_float32_matmul_precision("medium")


def legacy():
    backends.cuda.matmul.allow_tf32 = True
    backends.cudnn.allow_tf32 = True


def by_part():
    backends.cuda.matmul.fp32_precision = backends.cudnn.conv.fp32_precision = "tf32"
    backends.mkldnn.matmul.fp32_precision = "bf16"


def for_all():
    backends.fp32_precision = "tf32"


@pytest.fixture(autouse=True)
def settings_of_the_process():
    before = held()
    yield
    backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    backends.cudnn.allow_tf32 = True
    for name, part in PARTS.items():
        part.fp32_precision = before[name]
    assert held() == before


@pytest.mark.parametrize("loosen", [medium, legacy, by_part, for_all, lambda: None])
def test_settings_are_tight_inside_and_as_before_outside(loosen):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what users set by the older names torch may find fault with
        loosen()
    before = held()
    with exact_products():
        assert set(held().values()) == {"ieee"}
    assert held() == before
    with pytest.raises(KeyError), exact_products():
        raise KeyError
    assert held() == before


def test_what_followed_the_setting_for_all_still_follows_it():
    backends.fp32_precision = "tf32"
    with exact_products():
        pass
    backends.fp32_precision = "ieee"
    assert backends.cuda.matmul.fp32_precision == backends.mkldnn.matmul.fp32_precision == "ieee"


def test_torch_by_its_older_names_can_still_be_asked_afterwards():
    torch.set_float32_matmul_precision("high")
    with exact_products():
        pass
    assert torch.get_float32_matmul_precision() == "high"
    assert backends.cuda.matmul.allow_tf32
    assert backends.cudnn.allow_tf32


def test_the_last_thread_to_leave_restores():
    medium()
    before, entered, leave = held(), threading.Event(), threading.Event()

    def compute():
        with exact_products():
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=compute)
    with exact_products():
        thread.start()
        assert entered.wait(30)
    assert set(held().values()) == {"ieee"}
    leave.set()
    thread.join()
    assert held() == before


def test_nested_is_one():
    medium()
    before = held()
    with exact_products():
        with exact_products():
            pass
        assert set(held().values()) == {"ieee"}
    assert held() == before


@pytest.mark.parametrize(("batched", "reader"), [(False, RunningMeans), (True, BatchMeans)])
def test_no_setting_changes_an_embedding(batched, reader, monkeypatch):
    """The settings are looked at while the network computes, since not every processor rounds otherwise by them."""
    network = Network(TINY)
    initialise_network(network, torch.Generator().manual_seed(0))
    encoder = freeze("tiny", network, batched=batched)
    wave = torch.randn(4000, generator=torch.Generator().manual_seed(0)).numpy()
    plain, seen, read = encoder.pooled(wave), [], reader.read
    monkeypatch.setattr(reader, "read", lambda *arguments: (seen.append(held()), read(*arguments)))
    medium()
    assert (encoder.pooled(wave) == plain).all()
    assert len(seen) == encoder.num_states
    assert all(set(settings.values()) == {"ieee"} for settings in seen)
    assert held()["mkldnn.matmul"] == "bf16"


def flags():
    cuda = backends.cuda
    names = ("flash", "mem_efficient", "math", "cudnn")
    return [getattr(cuda, f"{name}_sdp_enabled")() for name in names], torch._C._get_sdp_priority_order()


@pytest.fixture
def attention_of_the_process():
    before, priority = flags()
    yield
    for name, value in zip(("flash", "mem_efficient", "math", "cudnn"), before, strict=True):
        getattr(backends.cuda, f"enable_{name}_sdp")(value)
    assert flags() == (before, priority)


@pytest.mark.usefixtures("attention_of_the_process")
@pytest.mark.parametrize("packed", [True, False])
def test_attention_is_the_same_whatever_kernels_are_allowed(packed, monkeypatch):
    if not packed:
        monkeypatch.setattr("speechbias.models.packed.is_supported", lambda _: False)
    network = Network(TINY)
    initialise_network(network, torch.Generator().manual_seed(0))
    encoder = freeze("tiny", network)
    wave = torch.randn(20_000, generator=torch.Generator().manual_seed(0)).numpy()
    plain = encoder.hidden_states(wave)
    backends.cuda.enable_flash_sdp(False)
    backends.cuda.enable_cudnn_sdp(False)
    before = flags()
    assert (encoder.hidden_states(wave) == plain).all()
    assert flags() == before
    q, k, v = torch.randn(3, 1, 3, 60, 8, generator=torch.Generator().manual_seed(0))
    by_default = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    with exact_products():
        assert (torch.nn.functional.scaled_dot_product_attention(q, k, v) != by_default).any()  # another kernel
    for kernel in (SDPBackend.MATH, SDPBackend.EFFICIENT_ATTENTION):  # of the latter a CPU has none
        with sdpa_kernel(kernel):
            assert (encoder.hidden_states(wave) == plain).all()
    assert flags() == before
