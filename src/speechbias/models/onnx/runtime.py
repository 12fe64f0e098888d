"""An ONNX file of ours as an ``Encoder``, run by onnxruntime: what is shipped is what is measured.

One thread per clip, whatever the machine; a session may run in several threads at a time. No torch here.
"""

import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbias.encoder import States, Wave, check_wave, mean_over_frames
from speechbias.errors import InputError
from speechbias.models.onnx.facts import MARK, SCHEMA, Facts, is_ours
from speechbias.models.onnx.packages import import_extra
from speechbias.results import file_sha256

ELSEWHERE = b"\x0a\x08location\x12"  # in a protobuf: the key of an entry that names the file of a tensor
AGAIN = "export the checkpoint again: speechbias export CHECKPOINT --format onnx -o OUT"
NO_AUDIO = (
    "was exported without mean and std of its mel bins, so it takes features but no audio; "
    "export it again with --mel-stats FILE.npy"
)


@dataclass(frozen=True, eq=False)
class OnnxEncoder:
    """A loaded file with what every encoder promises; made by ``load_onnx``.

    ``pooled`` keeps the frames of all states, since the file gives them together, and attention keeps the weights of
    all heads of a layer: memory grows with the square of a clip's length.
    """

    name: str
    facts: Facts
    session: Any
    sha256: str  # of the file
    engine: str

    @property
    def family(self) -> str:
        """``wav2vec2``, ``hubert`` or ``melhubert``."""
        return self.facts.family

    @property
    def num_states(self) -> int:
        """Transformer layers + 1."""
        return self.facts.num_states

    @property
    def dim(self) -> int:
        """Size of a hidden state."""
        return self.facts.dim

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.facts.sample_rate

    @property
    def frame_shift(self) -> float:
        """Seconds from frame to frame."""
        return self.facts.frame_shift

    @property
    def min_samples(self) -> int:
        """The receptive field of one frame."""
        return self.facts.min_samples

    @property
    def states(self) -> str:
        """The convention of the states that the file gives."""
        return self.facts.states

    @property
    def dtype(self) -> str:
        """``float32``, or ``int8`` where linear layers are quantised."""
        return self.facts.precision

    @property
    def recipe(self) -> Mapping[str, object]:
        """What the file says of its input and states, and what runs it."""
        return {**self.facts.recipe, "engine": self.engine, "device": "cpu"}

    @property
    def step(self) -> int | None:
        """Optimiser updates behind the checkpoint that was exported."""
        return self.facts.step

    @property
    def run(self) -> Mapping[str, object] | None:
        """The training run that it comes from."""
        return self.facts.run

    @property
    def parameters(self) -> int:
        """Of the encoder that was exported; weights that pruning set to zero do not count."""
        return self.facts.parameters

    @property
    def pruned(self) -> Mapping[str, object]:
        """What a record says of how it was pruned."""
        return self.facts.pruned

    @property
    def distilled(self) -> Mapping[str, object]:
        """What a record says of its teacher."""
        return self.facts.distilled

    @property
    def fitted_on(self) -> frozenset[str]:
        """Speakers and files by which something was removed from it."""
        return frozenset(self.facts.fitted_on)

    @property
    def input_dim(self) -> int:
        """Size of what one frame of the input holds: 80 of features, 1 of a wave."""
        shape = self.session.get_inputs()[0].shape
        return int(shape[2]) if self.facts.input == "features" else 1

    def hidden_states(self, wave: Wave) -> States:
        """All states of one wave, (states, frames, dim)."""
        wave = check_wave(self.name, wave, min_samples=self.min_samples)
        if self.facts.input != "wave":
            raise InputError(f"{self.name} {NO_AUDIO}")
        return self._run(wave[None])

    def encode_features(self, features: NDArray[np.floating]) -> States:
        """All states of normalised, stacked log-mel frames (frames, 80), of a file that takes those."""
        features = np.asarray(features, np.float32)
        if self.facts.input != "features":
            raise InputError(f"{self.name} takes waves, not mel features; use hidden_states")
        width = self.input_dim
        if features.ndim != 2 or features.shape[1] != width or not len(features):
            shape = " x ".join(map(str, features.shape))
            raise InputError(f"{self.name} takes features of shape (frames, {width}), not {shape}")
        return self._run(features[None])

    def pooled(self, wave: Wave) -> States:
        """Mean over frames per state, (states, dim), summed in float64."""
        return mean_over_frames(self.name, self.hidden_states(wave))

    def _run(self, inputs: NDArray[np.float32]) -> States:
        try:
            (states,) = self.session.run(["states"], {self.facts.input: np.ascontiguousarray(inputs)})
        except Exception as error:  # noqa: BLE001 (as in open_onnx)
            shape = " x ".join(map(str, inputs.shape))
            reason = _one_line(error)
            raise InputError(f"{self.name}: onnxruntime cannot run {shape} ({reason}); leave long clips out") from None
        return np.asarray(states, np.float32)


def load_onnx(
    name: str, path: Path, *, device: str = "cpu", dtype: str = "float32", states: str = "s3prl"
) -> OnnxEncoder:
    """Load an ONNX file that was exported here.

    InputError, one line, where it was not, where it is damaged, where onnxruntime is not installed, and for states, a
    device or a dtype that it does not have.
    """
    session, facts = open_onnx(path)
    check_asked(name, facts, device=device, states=states)
    if dtype != "float32":
        raise InputError(f"{name} computes in {facts.precision}, as it was exported; leave --dtype {dtype} out")
    version = ".".join(import_extra("onnxruntime").__version__.split(".")[:2])
    return OnnxEncoder(name, facts, session, file_sha256(path), f"onnxruntime {version}")


def check_asked(name: str, facts: Facts, *, device: str, states: str) -> None:
    """InputError for what a file was not exported with."""
    if device not in {"cpu", "auto"}:
        raise InputError(f"{name} is run by onnxruntime on the CPU; leave --device {device} out")
    if states != facts.states:
        raise InputError(f"{name} holds the states {facts.states!r}, not {states!r}; measure the checkpoint itself")


def open_onnx(path: Path) -> tuple[Any, Facts]:
    """A session on one thread, and what the file says of itself. InputError as ``load_onnx``."""
    runtime = import_extra("onnxruntime")
    _refuse_tensors_elsewhere(path)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is said by the exception
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 (its exceptions are RuntimeErrors of its own, of no common kind)
        reason = _one_line(error).replace(str(path), path.name)
        raise InputError(f"{path} is no ONNX file that onnxruntime can run ({reason}); copy or {AGAIN}") from None
    props = session.get_modelmeta().custom_metadata_map
    if not is_ours(props):
        raise InputError(
            f"{path} was not written by speechbias export, so which states it gives is not known; {AGAIN}"
        )
    if props[MARK] != str(SCHEMA):
        raise InputError(f"{path} has schema {props[MARK][:20]!r}, not {SCHEMA}; update speechbias to read it")
    try:
        facts = Facts.from_props(props)
    except ValueError as error:
        raise InputError(f"{path}: what it says of itself is damaged ({error}); {AGAIN}") from None
    _check_graph(path, session, facts)
    return session, facts


def _refuse_tensors_elsewhere(path: Path) -> None:
    """InputError for a file whose tensors lie in others: these could change, and its hash would not."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            elsewhere = content.find(ELSEWHERE) >= 0
    except (OSError, ValueError):  # empty, or unreadable: onnxruntime says which
        return
    if elsewhere:
        raise InputError(f"{path} has tensors in other files, which its hash does not cover; {AGAIN}")


def _one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))[:300]


def _check_graph(path: Path, session: Any, facts: Facts) -> None:
    """InputError where the graph does not take and give what the metadata say."""
    inputs = [each.name for each in session.get_inputs()]
    shapes = {each.name: each.shape for each in session.get_outputs()}
    given = shapes.get("states", [])
    if inputs != [facts.input] or given[:1] + given[2:] != [facts.num_states, facts.dim]:
        raise InputError(f"{path}: its graph is not what it says of itself; {AGAIN}")
