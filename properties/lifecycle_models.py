"""Small models for lives of sessions: a perceptron, a residual network, a pyramid of two levels.

They are written here, not read, because a hunt for faults runs from an installation too. Their
batches, and the pyramid's heights and widths, are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.interpreter import Interpreter
from engine.ir import Graph, TensorType, Value
from engine.ir.types import FLOAT


class Writer:
    """A graph of float tensors that grows node by node; weights are seeded."""

    def __init__(self, name: str) -> None:
        self.graph = Graph(name)
        self._rng = np.random.default_rng(len(name))

    def input(self, name: str, *dims: int | str) -> Value:
        """An input of the graph."""
        return self.graph.add_input(name, TensorType(FLOAT, dims))

    def node(self, op_type: str, *inputs: Value | None, **attributes: Any) -> Value:
        """The output of a new operator."""
        name = f"{op_type.lower()}_{len(self.graph.nodes)}"
        return self.graph.add_node(op_type, inputs, [(name, None)], attributes).outputs[0]

    def weights(self, *dims: int) -> Value:
        """Normal values, small enough that a product with them grows nothing."""
        fan_in = int(np.prod(dims[1:])) or 1
        return self.constant(self._rng.normal(0, fan_in**-0.5, dims).astype(np.float32))

    def constant(self, array: np.ndarray | Sequence[int]) -> Value:
        """A constant; a sequence of whole numbers is int64."""
        return self.graph.add_constant("c", np.asarray(array))

    def conv(self, x: Value, into: int, out: int, side: int, stride: int = 1) -> Value:
        """A convolution with a bias, as wide and high as x over the stride."""
        return self.node(
            "Conv",
            x,
            self.weights(out, into, side, side),
            self.weights(out),
            group=1,
            kernel_shape=(side, side),
            pads=(side // 2,) * 4,
            strides=(stride, stride),
        )

    def interpreter(self, *outputs: Value) -> Interpreter:
        """The finished model."""
        self.graph.outputs = list(outputs)
        return Interpreter(self.graph)


def twin() -> Interpreter:
    """Two inputs that share a free axis, a view of an input, a matrix product, two outputs."""
    w = Writer("twin")
    x, y = w.input("x", "batch", 4), w.input("y", "batch", 4)
    positive = w.node("Relu", w.node("Add", w.node("Flatten", x, axis=1), y))
    first = w.node("MatMul", positive, w.weights(4, 4))
    second = w.node("Neg", w.node("Identity", positive))
    return w.interpreter(first, second)


def perceptron() -> Interpreter:
    """features (batch, 16) -> (batch, 4, 5), the softmax of each row taken as a whole."""
    w = Writer("perceptron")
    x = w.input("features", "batch", 16)
    x = w.node("Relu", w.node("Gemm", x, w.weights(16, 24), w.weights(24), alpha=0.5, beta=2.0))
    x = w.node("Gemm", w.node("Identity", x), w.weights(20, 24), w.weights(1, 20), transB=1)
    x = w.node("Reshape", x, w.constant([-1, 4, 5]))
    flat = w.node("Softmax", w.node("Flatten", x, axis=1), axis=-1)
    return w.interpreter(w.node("Reshape", flat, w.node("Shape", x)))


def residual() -> Interpreter:
    """image (batch, 3, 32, 32) -> (batch, 10): two residual blocks."""
    w = Writer("residual")
    x = w.node("Relu", w.conv(w.input("image", "batch", 3, 32, 32), 3, 16, 3))
    x = w.node("MaxPool", x, kernel_shape=(3, 3), pads=(1, 1, 1, 1), strides=(2, 2))
    for into, out, stride in ((16, 16, 1), (16, 32, 2)):
        y = w.conv(w.node("Relu", w.conv(x, into, out, 3, stride)), out, out, 3)
        shortcut = x if stride == 1 else w.conv(x, into, out, 1, stride)
        x = w.node("Relu", w.node("Add", shortcut, y))
    x = w.node("Flatten", w.node("GlobalAveragePool", x), axis=1)
    x = w.node("Gemm", x, w.weights(10, 32), w.weights(10), transB=1)
    return w.interpreter(w.node("Softmax", x, axis=-1))


def pyramid() -> Interpreter:
    """image (batch, 3, height, width) -> heat at half the height and width, boxes of the pixels.

    The coarse level is resized by shape arithmetic, as detectors do it.
    """
    w = Writer("pyramid")
    image = w.input("image", "batch", 3, "height", "width")
    fine = w.node("HardSwish", w.conv(image, 3, 8, 3, 2))
    coarse = w.conv(w.node("HardSwish", w.conv(fine, 8, 16, 3, 2)), 16, 8, 1)
    sizes = w.node("Shape", w.conv(fine, 8, 8, 1))
    nearest = {"mode": "nearest", "nearest_mode": "floor"}
    where = {"coordinate_transformation_mode": "asymmetric"}
    merged = w.node("Add", fine, w.node("Resize", coarse, None, None, sizes, **nearest, **where))
    heat = w.node("Sigmoid", w.conv(merged, 8, 1, 3))
    boxes = w.node("Transpose", w.conv(merged, 8, 4, 1), perm=(0, 2, 3, 1))
    batch = w.node("Gather", w.node("Shape", image), w.constant([0]), axis=0)
    shape = w.node("Concat", batch, w.constant([-1, 4]), axis=0)
    return w.interpreter(heat, w.node("Reshape", boxes, shape))
