"""LRN in either layout."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.reduce import accumulating_options
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ir.types import DOUBLE
from engine.ops.lrn import window_of

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

PIXELS = 256
"""Pixels per work-item, as in kernels/lrn.cl."""


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    x = node.inputs[0]
    assert x is not None
    program = backend.program("lrn", accumulating_options(backend, x.known_type.dtype))
    window = window_of(node.attributes, x.known_type.dims[1])
    numbers = (
        np.int32(window.before), np.int32(window.after), np.float32(window.alpha / window.size),
        np.float32(window.beta), np.float32(window.bias),
    )  # fmt: skip

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        y = outputs[0]
        shape = y.type.dims
        channels, pixels = shape[1], prod(shape[2:])
        if (y.layout == "channels_last" and len(shape) > 2) or pixels == 1:
            count = shape[0] * pixels if channels else 0
            block = max(1, 1024 // max(channels, 1))
            return backend.command(
                program, "LRN_last", (-(-count // block),), (1,), inputs[0], y,
                np.int64(channels), np.int64(count), *numbers, np.int64(block),
            )  # fmt: skip
        grid = (-(-pixels // PIXELS), shape[0] * channels)
        return backend.command(
            program,
            "LRN",
            grid,
            (1, 1),
            inputs[0],
            y,
            np.int64(channels),
            np.int64(pixels),
            *numbers,
        )

    return BoundKernel(bind)


def _why_not(backend: OpenCLBackend, node: Node) -> str | None:
    double = node.outputs[0].known_type.dtype == DOUBLE
    return "LRN of double: the kernel's parameters are float" if double else None


KERNELS = {"LRN": _prepare}
WHY_NOT = {"LRN": _why_not}
