"""Any Hugging Face speech encoder as an ``Encoder``: frozen, one utterance at a time, states by convention.

Conventions: waves are 1-d float32 in [-1, 1]; hidden states (states, frames, dim) float32, valid frames only; state 0
comes before the first block. What differs between families stands in ``families``; what is taken from where in
``taps``; what goes in, in ``inputs``. Eval mode, no gradients, no random numbers.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from speechbias.encoder import Reduce, States, Wave, check_pooled, check_wave
from speechbias.models.device import DTYPES, choose_device, choose_dtype
from speechbias.models.fingerprint import tensors_sha256
from speechbias.models.huggingface.families import FAMILIES, Family, family_of
from speechbias.models.huggingface.families import Taps as Convention
from speechbias.models.huggingface.folder import digest, draw_encoder, load_encoder_weights, read_config, read_folder
from speechbias.models.huggingface.inputs import Frontend, frontend
from speechbias.models.huggingface.taps import Tap, Taps
from speechbias.models.precision import exact_products
from speechbias.models.readers import Collector, Reader, Reducer, RunningMeans


@dataclass(frozen=True, eq=False)
class HuggingFaceEncoder:
    """A loaded model with what every encoder promises; made by ``load_huggingface``, safe in threads."""

    name: str
    family: str
    num_states: int
    dim: int
    sample_rate: int
    frame_shift: float
    min_samples: int
    states: str
    dtype: str
    device: str
    recipe: Mapping[str, object]
    sha256: str
    model: nn.Module
    frontend: Frontend
    taps: Taps
    step: int | None = None  # where in which training run: of the record, not of any digit
    run: Mapping[str, object] | None = None
    without_gradients: Callable[[], AbstractContextManager[object]] = torch.inference_mode

    @property
    def parameters(self) -> int:
        """All that transformers counts of this encoder."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def pruned(self) -> Mapping[str, object]:
        """Nothing is known of that."""
        return {}

    def hidden_states(self, wave: Wave) -> States:
        """All states of one wave, (states, valid frames, dim)."""
        collector = Collector(self.num_states)
        self._run(wave, collector)
        return collector.states()

    def pooled(self, wave: Wave) -> States:
        """Mean over valid frames per state, (states, dim), summed in float64 while the model runs."""
        means = RunningMeans(self.num_states)
        self._run(wave, means)
        pooled, frame_rms = means.means()
        check_pooled(self.name, pooled, frame_rms)
        return np.asarray(pooled, np.float32)

    def reduced(self, wave: Wave, reduce: Reduce) -> States:
        """``reduce`` of every state, (states, dim), as it is made where the wave is one window."""
        window = self.frontend.window or len(wave)
        reducer = Reducer(self.num_states, reduce, whole=len(wave) <= window)
        self._run(wave, reducer)
        return reducer.states()

    def _run(self, wave: Wave, reader: Reader) -> None:
        wave = check_wave(self.name, wave, min_samples=self.frontend.shortest)
        kind = DTYPES[self.dtype]
        with self.without_gradients(), exact_products():
            for piece in self.frontend.inputs(wave):
                arguments = {
                    key: value.to(self.device, kind if value.is_floating_point() else None)
                    for key, value in piece.arguments.items()
                }
                with self.taps.reading(reader, valid=piece.valid):
                    self.model(**arguments)


def load_huggingface(
    name: str, path: Path, *, device: str = "cpu", dtype: str = "float32", states: str = "s3prl"
) -> HuggingFaceEncoder:
    """The encoder in a transformers folder. InputError for what cannot be read, or states without meaning for it."""
    precision = choose_dtype(dtype)
    where = choose_device(device)
    folder = read_folder(name, path)
    family = FAMILIES[folder.model_type]
    family.check_states(name, states)
    model = load_encoder_weights(folder, dtype=precision).to(where)
    return _encoder(name, model, folder.model_type, folder.preprocessor, states=states, sha256=digest(folder))


def draw_huggingface(
    name: str, path: Path, *, seed: int, device: str = "cpu", dtype: str = "float32", states: str = "s3prl"
) -> HuggingFaceEncoder:
    """An encoder of the same settings whose weights transformers draws, from a seed. InputError as above."""
    precision, where = choose_dtype(dtype), choose_device(device)
    folder = read_folder(name, path)
    family = FAMILIES[folder.model_type]
    family.check_states(name, states)
    model = draw_encoder(folder, seed=seed).to(where, precision)
    sha256 = tensors_sha256(folder.model_type, model.state_dict())
    return _encoder(name, model, folder.model_type, folder.preprocessor, states=states, sha256=sha256)


def wrap_huggingface(
    name: str,
    model: Any,
    *,
    states: str = "s3prl",
    preprocessor: Mapping[str, Any] | None = None,
    step: int | None = None,
    run: Mapping[str, object] | None = None,
) -> HuggingFaceEncoder:
    """A model of transformers that somebody else holds and trains, with or without heads around its encoder.

    It stays where and as it is; ``taps.remove()`` takes the hooks off. ``preprocessor`` are the settings of its
    feature extractor, those of the family by default. InputError for a model that no row of ``FAMILIES`` describes.
    """
    model_type = family_of(name, {"model_type": getattr(model.config, "model_type", None)})
    family = FAMILIES[model_type]
    family.check_states(name, states)
    inner = _inner(model, family)
    sha256 = tensors_sha256(model_type, inner.state_dict())
    encoder = _encoder(name, inner, model_type, preprocessor or {}, states=states, sha256=sha256)
    # Not inference_mode: what a model keeps of a run (rotary positions) would be of no use to its training.
    return replace(encoder, step=step, run=run, without_gradients=torch.no_grad)


def _inner(model: Any, family: Family) -> Any:
    """The encoder within a model and its heads."""
    if type(model).__name__ == family.encoder_class:
        return model
    return model.get_encoder() if family.input == "whisper log-mel" else model.base_model


def _encoder(
    name: str, model: Any, model_type: str, preprocessor: Mapping[str, Any], *, states: str, sha256: str
) -> HuggingFaceEncoder:
    """An encoder in memory, tapped."""
    family, config, where = FAMILIES[model_type], model.config, str(model.device)
    convention = family.taps(states, config)
    front = frontend(family, config, preprocessor, states=states)
    taps = place_taps(model, family, convention)
    return HuggingFaceEncoder(
        name=name,
        family=model_type,
        num_states=len(taps),
        dim=config.hidden_size,
        sample_rate=front.sample_rate,
        frame_shift=front.stride / front.sample_rate,
        min_samples=front.min_samples,
        states=states,
        dtype=str(model.dtype).removeprefix("torch."),
        device=where,
        recipe={
            **front.recipe,
            "state_0": convention.first,
            "last_state": "after the final norm" if convention.final_norm else "last block",
            "attention": str(config._attn_implementation),  # noqa: SLF001 (its only name)
            "device": torch.device(where).type,
        },
        sha256=sha256,
        model=model,
        frontend=front,
        taps=Taps(taps),
    )


def read_frontend(name: str, path: Path, *, states: str = "s3prl") -> Frontend:
    """How the model in a transformers folder is fed; reads no weights. InputError as ``load_huggingface``."""
    folder = read_folder(name, path)
    family = FAMILIES[folder.model_type]
    family.check_states(name, states)
    return frontend(family, read_config(folder), folder.preprocessor, states=states)


def place_taps(model: Any, family: Family, convention: Convention) -> list[Tap]:
    """Where in a loaded model the states of a convention are, state 0 first."""
    encoder = model if family.input == "whisper log-mel" else model.encoder
    blocks = list(encoder.layers)
    if convention.first == "projected CNN output":
        first = Tap(model.feature_projection, "out")
    else:
        first = Tap(blocks[0], "in") if convention.first == "encoder input" else Tap(blocks[-1], "out")
    last = Tap(encoder.layer_norm, "out") if convention.final_norm else Tap(blocks[-1], "out")
    return [first, *(Tap(block, "out") for block in blocks[:-1]), last]
