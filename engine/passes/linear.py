"""Conv, ConvTranspose and Gemm seen alike: weights with an output-channel axis, plus a bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.ir.constant import Constant
from engine.ir.graph import Node, Value
from engine.ir.types import FLOAT16, FLOATS
from engine.ops.matmul import gemm_factors

LINEAR = frozenset(("Conv", "ConvTranspose", "Gemm"))


@dataclass(frozen=True)
class Linear:
    """A linear node with constant weights.

    Attributes:
        channels: extent of axis 1 of the output.
        rank: of the output.
        bias: float64[channels] as it is added to the output (Gemm's beta applied), or None.
    """

    node: Node
    weight: Value
    channels: int
    rank: int
    bias: np.ndarray | None

    @property
    def dtype(self) -> np.dtype:
        """Of the weights."""
        return self.weight.known_type.dtype

    def scaled(self, factor: np.ndarray) -> Constant | None:
        """The weights with output channel m multiplied by factor[m], in float64, rounded once.

        None where the result does not fit their dtype (`_fits`). It can rest if the weights
        themselves can.
        """
        assert self.weight.contents is not None
        source, node = self.weight.contents, self.node
        layout = [node.attributes.get(name) for name in ("transB", "group")]
        how = (node.op_type, *layout, factor.tobytes())
        scaled = source.derived(how, lambda: self._scaled(source, factor))
        fits = self._fits(scaled.array, factor)
        scaled.rest()
        return scaled if fits else None

    def _fits(self, scaled: np.ndarray, factor: np.ndarray) -> bool:
        """Finite; and of halves the largest of each channel is normal, as below digits get lost."""
        if not np.isfinite(scaled).all():
            return False
        if self.dtype != FLOAT16:
            return True
        assert self.weight.contents is not None
        before, after = self._largest(self.weight.contents.array), self._largest(scaled)
        return bool(np.all((after >= np.finfo(self.dtype).tiny) | (before * factor == 0)))

    def _largest(self, w: np.ndarray) -> np.ndarray:
        """float64[channels]: the largest magnitude among the weights of each output channel."""
        if self.node.op_type == "ConvTranspose":
            group = int(self.node.attributes.get("group", 1))
            w = np.swapaxes(w.reshape(group, w.shape[0] // group, *w.shape[1:]), 1, 2)
        elif self.node.op_type == "Gemm" and not self.node.attributes.get("transB", 0):
            w = w.T
        rows = np.abs(w.reshape(self.channels, -1))
        return np.asarray(np.max(rows, axis=1, initial=0), np.float64)

    def _scaled(self, source: Constant, factor: np.ndarray) -> Constant:
        def make() -> np.ndarray:
            with np.errstate(all="ignore"):
                array = self._product(source.array.astype(np.float64), factor).astype(self.dtype)
            source.rest()
            return array

        return Constant(make(), make if source.can_rest else None)

    def _product(self, w: np.ndarray, factor: np.ndarray) -> np.ndarray:
        if self.node.op_type == "Conv":
            return np.asarray(w * factor.reshape(-1, *[1] * (w.ndim - 1)))
        if self.node.op_type == "Gemm":
            return np.asarray(
                w * (factor[:, None] if self.node.attributes.get("transB", 0) else factor)
            )
        group = int(self.node.attributes.get("group", 1))
        grouped = w.reshape(group, w.shape[0] // group, *w.shape[1:])
        per_group = factor.reshape(group, 1, w.shape[1], *[1] * (w.ndim - 2))
        return np.asarray((grouped * per_group).reshape(w.shape))


def linear_of(node: Node) -> Linear | None:
    """None unless weights are constant floats and the bias is absent or constant and per channel.

    Integers wrap, and Gemm cuts them off once at its end, so that nothing may move into them.
    """
    if node.op_type not in LINEAR or node.body or len(node.inputs) < 2:
        return None
    weight = node.inputs[1]
    if weight is None or weight.contents is None or weight.contents.type.dtype not in FLOATS:
        return None
    shape = weight.contents.type.dims
    rank = len(shape)
    if rank < 2 or (node.op_type == "Gemm" and rank != 2):
        return None
    channels = _channels(node, shape)
    given = node.inputs[2] if len(node.inputs) > 2 else None
    if given is None:
        return Linear(node, weight, channels, rank, None)
    if given.constant is None:
        return None
    if node.op_type != "Gemm":
        bias: np.ndarray | None = given.constant.astype(np.float64)
        return Linear(node, weight, channels, rank, bias) if given.constant.ndim == 1 else None
    row = as_row(given.constant, channels)
    if row is None:
        return None
    return Linear(node, weight, channels, rank, row * gemm_factors(node.attributes)[1])


def _channels(node: Node, shape: tuple[int, ...]) -> int:
    if node.op_type == "Conv":
        return shape[0]
    if node.op_type == "ConvTranspose":
        return shape[1] * int(node.attributes.get("group", 1))
    return shape[0] if node.attributes.get("transB", 0) else shape[1]


def as_row(array: np.ndarray, channels: int) -> np.ndarray | None:
    """float64[channels] for what broadcasts along the last of two axes, else None."""
    if array.ndim > 2 or (array.ndim == 2 and array.shape[0] != 1):
        return None
    if array.size not in (1, channels):
        return None
    return np.broadcast_to(array.reshape(-1), (channels,)).astype(np.float64)


def as_channel(array: np.ndarray, channels: int, rank: int) -> np.ndarray | None:
    """float64[channels] for what broadcasts along axis 1 of `rank` axes, else None."""
    if array.ndim > rank:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    if any(d != 1 for axis, d in enumerate(shape) if axis != 1) or shape[1] not in (1, channels):
        return None
    return np.broadcast_to(array.reshape(-1), (channels,)).astype(np.float64)
