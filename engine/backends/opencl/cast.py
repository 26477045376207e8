"""Cast and BitCast: one program for each pair of stored types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.backends.opencl.layout import raw
from engine.backends.opencl.unary import chunks
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ir.types import BOOL, DOUBLE, FLOAT16, FLOATS

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

INTEGER_OF = {n: np.dtype(f"u{n}") for n in (1, 2, 4, 8)}
"""By size."""


def _options(source: np.dtype, target: np.dtype) -> tuple[str, ...]:
    """Build options from the *stored* dtypes."""
    from engine.backends.opencl.backend import C_TYPES

    flags = {
        "USE_FP64": DOUBLE in (source, target),
        "IN_HALF": source == FLOAT16,
        "OUT_HALF": target == FLOAT16,
        "FROM_DOUBLE": source == DOUBLE,
        "TO_BOOL": target == BOOL,
        "TRUNCATES": source in FLOATS and target not in FLOATS | {BOOL},
    }
    types = (f"-DIN={C_TYPES[source]}", f"-DOUT={C_TYPES[target]}")
    return types + tuple(f"-D{name}" for name, on in flags.items() if on)


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    x = node.inputs[0]
    assert x is not None
    source = backend.storage(x.known_type.dtype)
    target = backend.storage(node.outputs[0].known_type.dtype)
    program = backend.program(
        "cast", ("-DSTORAGE=uchar", "-DCOMPUTE=uchar", *_options(source, target))
    )

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        count = outputs[0].type.size
        return backend.command(
            program, "Cast", chunks(count), (1,), inputs[0], outputs[0], np.int64(count)
        )

    return BoundKernel(bind)


def _prepare_bits(backend: OpenCLBackend, node: Node) -> Kernel:
    """Floats that are stored as half are widened before their bits are taken."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    options = raw(backend, INTEGER_OF[x.known_type.dtype.itemsize], "-DBIT_CAST")
    flags = {"IN_HALF": x, "OUT_HALF": y}
    narrow = [
        f for f, v in flags.items() if backend.storage(v.known_type.dtype) != v.known_type.dtype
    ]
    program = backend.program(
        "cast", ("-DSTORAGE=uchar", "-DCOMPUTE=uchar", *options, *(f"-D{f}" for f in narrow))
    )

    def bind(inputs: Sequence[Slot | None], outputs: Sequence[Slot]) -> Command:
        count = outputs[0].type.size
        return backend.command(
            program, "BitCast", chunks(count), (1,), inputs[0], outputs[0], np.int64(count)
        )

    return BoundKernel(bind)


KERNELS = {"Cast": _prepare, "BitCast": _prepare_bits}
