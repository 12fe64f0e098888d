"""``freeze``: a network, in memory or in a file, as an encoder that is measured."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from speechbias.encoder import WITH_HEADS, refuse_heads
from speechbias.models.batches import Batches
from speechbias.models.config import EncoderConfig
from speechbias.models.conventions import state_points
from speechbias.models.device import choose_device, choose_dtype
from speechbias.models.distillation import Heads
from speechbias.models.distilled import Distilled
from speechbias.models.engine import Engine
from speechbias.models.fingerprint import front_sha256, weights_sha256
from speechbias.models.frozen import FrozenNetwork
from speechbias.models.masked import plain_tensors
from speechbias.models.mel import MelStats
from speechbias.models.network import Network, StoredNetwork
from speechbias.models.packed import is_packed
from speechbias.models.pruning import Pruning

NO_HEADS = "is a student without the heads that it learnt with (exported, or an encoder alone)"


def freeze(
    name: str,
    network: Network | StoredNetwork,
    *,
    states: str = "s3prl",
    device: str = "cpu",
    dtype: str = "float32",
    mel_stats: MelStats | None = None,
    batched: bool | None = None,
    step: int | None = None,
    run: Mapping[str, object] | None = None,
    pruning: Pruning | None = None,
    teacher: Distilled | None = None,
    heads: Heads | None = None,
) -> FrozenNetwork:
    """A network as an encoder to be measured, which from now on owns it.

    ``batched``: whether it pools many utterances at a time, by the plain network; None: on a CUDA device, since on a
    CPU a batch gains nothing. ``step`` and ``run`` say where in training it stands, ``pruning`` what was cut away,
    ``teacher`` whose student it is. ``heads`` are a student's, for the states that count them; others leave them
    unused. Of a network that lies in a file the engine's packed copy is all that stays in memory. InputError for
    states without meaning for it, an unknown dtype, or a device that is not here.
    """
    config = network.config
    points = state_points(name, config, states)
    if heads is None:
        refuse_heads(name, states, why=NO_HEADS)
    where, precision = choose_device(device), choose_dtype(dtype)
    heads = heads.to(where, precision) if heads is not None and states == WITH_HEADS else None
    batched = where != "cpu" if batched is None else batched
    packed = not batched and is_packed(where, precision)
    stored = network if isinstance(network, StoredNetwork) else None
    if isinstance(network, StoredNetwork) and not packed:
        network = network.build()
    sha256, front_sha, parameters = _fingerprint(network, config, where, dtype)
    engine = Engine(network, precision) if packed else None
    batches: Batches | None = None
    if isinstance(network, StoredNetwork):
        rebuild = network.build
    else:
        network = network if packed else network.to(where, precision)
        rebuild = partial(_itself, network)
        batches = Batches(name, network, points, where, precision, heads) if batched else None
    return FrozenNetwork(
        name,
        config,
        rebuild,
        states,
        dtype,
        where,
        mel_stats,
        points,
        engine=engine,
        batches=batches,
        sha256=sha256,
        front_sha256=front_sha,
        check_source=_check_of(stored, mapped=not packed and where == "cpu"),
        step=step,
        run=run,
        pruning=pruning,
        teacher=teacher,
        heads=heads,
        stored_parameters=parameters,
    )


def _fingerprint(
    network: Network | StoredNetwork, config: EncoderConfig, device: str, dtype: str
) -> tuple[str, str, int]:
    """Hashes of the network and of its front end, and how many numbers are in its tensors.

    What was mapped of a file for it is let go with the return.
    """
    tensors: Mapping[str, Tensor]
    tensors = network.tensors() if isinstance(network, StoredNetwork) else plain_tensors(network.eval())
    front = {name.removeprefix("frontend."): t for name, t in tensors.items() if name.startswith("frontend.")}
    return (
        weights_sha256(config, tensors),
        front_sha256(config, front, device=device, dtype=dtype),
        sum(tensor.numel() for tensor in tensors.values()),
    )


def _check_of(stored: StoredNetwork | None, *, mapped: bool) -> Callable[[], None]:
    """The check that a file is as it was, made once now that all is read; none later unless its pages are in use."""
    if stored is None:
        return _nothing
    stored.check()
    return stored.check if mapped else _nothing


def _itself(network: Network) -> Network:
    return network


def _nothing() -> None:
    pass
