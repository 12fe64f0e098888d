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
Values = dict[str, list[str | int]]


class Graph:
    """A model so far, an ``onnx.ModelProto``: weights go into it at once, so that there is one copy of them.

    ``linear`` lists the nodes that are a product with a constant matrix.
    """

    def __init__(self) -> None:
        self.onnx = import_extra("onnx")
        self.proto = self.onnx.ModelProto(ir_version=IR_VERSION, producer_name="speechbias")
        self.proto.opset_import.append(self.onnx.helper.make_opsetid("", OPSET))
        self.proto.graph.name = "speechbias"
        self.linear: list[str] = []
        self.bytes = 0

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        """A node of one output, and its name."""
        name = f"{kind}_{len(self.proto.graph.node)}"
        self.proto.graph.node.append(self.onnx.helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """A tensor that lies in the file, float32, float64 or int64."""
        self.bytes += array.nbytes
        if self.bytes > LARGEST - MARGIN:
            raise InputError("the weights are 2 GB or more, which no single ONNX file holds; use --format speechbias")
        tensor = self.proto.graph.initializer.add()
        tensor.name, tensor.data_type = name, self.onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor.dims.extend(array.shape)
        tensor.raw_data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        return name

    def constant(self, value: ArrayLike, dtype: type[np.generic] = np.float32) -> str:
        """A small tensor without a name of its own."""
        return self.weight(f"constant_{len(self.proto.graph.initializer)}", np.asarray(value, dtype))

    def integers(self, *values: int) -> str:
        """A list of integers: axes, shapes."""
        return self.constant(values, np.int64)

    def matmul(self, x: str, name: str, matrix: NDArray[Any]) -> str:
        """``x`` times a constant matrix (in, out)."""
        node = self.add("MatMul", x, self.weight(name, matrix))
        self.linear.append(node)
        return node

    def model(self, taken: Values, given: dict[str, tuple[str, list[str | int]]], said: dict[str, str]) -> Any:
        """The whole model, an ``onnx.ModelProto``.

        ``taken``: inputs by name, each its shape, in which a name is any length; ``given``: outputs by name, each the
        node that makes it and its shape; all float32. ``said``: its metadata.
        """
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        for name, (node, shape) in given.items():
            self.proto.graph.node.append(helper.make_node("Identity", [node], [name], name))
            self.proto.graph.output.append(helper.make_tensor_value_info(name, kind, shape))
        for name, shape in taken.items():
            self.proto.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
        helper.set_model_props(self.proto, said)
        return self.proto
