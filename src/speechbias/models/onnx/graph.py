"""A graph of ONNX under construction: nodes are added, each gives the name of what it computes.

Operators are those of opset 17, which has layer norms and which every onnxruntime since 1.12 reads.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechbias.errors import InputError
from speechbias.models.onnx.packages import import_extra

OPSET, IR_VERSION = 17, 8
LARGEST = 2**31 - 1  # bytes of a protobuf; beyond it weights would have to lie in files of their own
MARGIN = 1 << 20  # nodes and names: some 100 kB


class Graph:
    """Nodes and weights so far. ``linear`` lists the nodes that are a product with a constant matrix."""

    def __init__(self) -> None:
        self.onnx = import_extra("onnx")
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.linear: list[str] = []
        self.bytes = 0

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        """A node of one output, and its name."""
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """A tensor that lies in the file."""
        self.bytes += array.nbytes
        if self.bytes > LARGEST - MARGIN:
            raise InputError("the weights are 2 GB or more, which no single ONNX file holds; use --format speechbias")
        self.weights.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def constant(self, value: ArrayLike, dtype: type[np.generic] = np.float32) -> str:
        """A small tensor without a name of its own."""
        return self.weight(f"constant_{len(self.weights)}", np.asarray(value, dtype))

    def integers(self, *values: int) -> str:
        """A list of integers: axes, shapes."""
        return self.constant(values, np.int64)

    def matmul(self, x: str, name: str, matrix: NDArray[Any]) -> str:
        """``x`` times a constant matrix (in, out)."""
        node = self.add("MatMul", x, self.weight(name, matrix))
        self.linear.append(node)
        return node

    def model(self, inputs: list[Any], outputs: dict[str, tuple[str, list[str | int]]], said: dict[str, str]) -> Any:
        """The whole model: ``outputs`` by name, each the node that makes it and its shape; ``said``: its metadata."""
        helper, kinds = self.onnx.helper, self.onnx.TensorProto
        for name, (node, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [node], [name], name))
        shapes = [helper.make_tensor_value_info(name, kinds.FLOAT, shape) for name, (_, shape) in outputs.items()]
        graph = helper.make_graph(self.nodes, "speechbias", inputs, shapes, self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="speechbias")
        made.ir_version = IR_VERSION
        helper.set_model_props(made, said)
        return made

    def input(self, name: str, shape: list[str | int]) -> Any:
        """An input of float32; a dimension by name is any length."""
        return self.onnx.helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, shape)
