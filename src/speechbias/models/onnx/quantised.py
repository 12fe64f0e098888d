"""Weights of linear layers in 8 bits: onnxruntime's dynamic quantisation, a scale per row of a weight.

Weights are unsigned as activations are, though signed ones are faster on some CPUs: those saturate where the processor
has no 8-bit dot product, so the same file would give other digits on another machine. Activations get their scale
while the model runs, from each clip. Convolutions and products of two activations stay as they are.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from speechbias.models.onnx.packages import import_extra

IN_WORDS = "linear layers: weights uint8, a scale per output; activations uint8, a scale per clip"


def quantise(path: Path, out: Path, nodes: Sequence[str]) -> None:
    """Write the model in ``path`` to ``out`` with the products in ``nodes`` quantised; metadata go along."""
    quantization = import_extra("onnxruntime.quantization")
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)  # it recommends a pass over shapes that are not known before a clip comes
    try:
        quantization.quantize_dynamic(
            path,
            out,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=list(nodes),
            per_channel=True,
            weight_type=quantization.QuantType.QUInt8,
        )
    finally:
        root.setLevel(before)
