"""Measure the social bias of speech models' representations.

Names resolve on first use, so that ``import speechbias`` and the statistics alone never import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from speechbias.checkpoint import load_encoder as load_encoder
    from speechbias.checkpoint import read_checkpoint as read_checkpoint
    from speechbias.checkpoint.content import Checkpoint as Checkpoint
    from speechbias.checkpoint.folder import save_checkpoint as save_checkpoint
    from speechbias.compare import Comparison as Comparison
    from speechbias.compare import compare_layers as compare_layers
    from speechbias.compare import compare_models as compare_models
    from speechbias.compare import compare_results as compare_results
    from speechbias.embeddings import Embeddings as Embeddings
    from speechbias.embeddings import embed as embed
    from speechbias.encoder import Encoder as Encoder
    from speechbias.errors import InputError as InputError
    from speechbias.export import export_checkpoint as export_checkpoint
    from speechbias.inference import AssociationTest as AssociationTest
    from speechbias.inference import association_test as association_test
    from speechbias.inference import p_from_effect_size as p_from_effect_size
    from speechbias.inspection import Description as Description
    from speechbias.inspection import describe_model as describe_model
    from speechbias.measure import measure_bias as measure_bias
    from speechbias.measure import measure_layers as measure_layers
    from speechbias.report import write_report as write_report
    from speechbias.results import BiasResult as BiasResult
    from speechbias.results import append_results as append_results
    from speechbias.results import read_results as read_results
    from speechbias.speat import effect_size as effect_size
    from speechbias.stimuli import Stimulus as Stimulus
    from speechbias.stimuli import StimulusSet as StimulusSet
    from speechbias.stimuli import read_stimuli as read_stimuli
    from speechbias.tracking.tracker import BiasTracker as BiasTracker
    from speechbias.vectors import read_vectors as read_vectors

_HOME = {
    "load_encoder": "checkpoint",
    "read_checkpoint": "checkpoint",
    "Checkpoint": "checkpoint.content",
    "save_checkpoint": "checkpoint.folder",
    "Comparison": "compare",
    "compare_layers": "compare",
    "compare_models": "compare",
    "compare_results": "compare",
    "Embeddings": "embeddings",
    "embed": "embeddings",
    "Encoder": "encoder",
    "InputError": "errors",
    "export_checkpoint": "export",
    "AssociationTest": "inference",
    "association_test": "inference",
    "p_from_effect_size": "inference",
    "Description": "inspection",
    "describe_model": "inspection",
    "measure_bias": "measure",
    "measure_layers": "measure",
    "write_report": "report",
    "BiasResult": "results",
    "append_results": "results",
    "read_results": "results",
    "effect_size": "speat",
    "Stimulus": "stimuli",
    "StimulusSet": "stimuli",
    "read_stimuli": "stimuli",
    "BiasTracker": "tracking.tracker",
    "read_vectors": "vectors",
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 - they are strings


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'speechbias' has no attribute {name!r}")
    return getattr(import_module(f"speechbias.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
