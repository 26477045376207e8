"""Cast and BitCast: one program for each pair of stored types.

Of the narrow formats bfloat16, which networks compute with, and the 8-bit floats, to which they
quantise what they compute, have kernels. Fewer bits, and powers of two, are how weights and scales
are kept, which are converted once, as a rule before any run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

from engine.backends.opencl.layout import raw
from engine.backends.opencl.unary import chunks
from engine.backends.protocol import BoundKernel, Command, Kernel, Slot
from engine.ir.graph import Node
from engine.ir.types import BFLOAT16, BOOL, DOUBLE, FLOAT16, FLOATS, INTEGERS, NARROW

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

FLOATS8 = {
    np.dtype(ml_dtypes.float8_e4m3fn): (
        "MANTISSA=3",
        "BIAS=7",
        "MOST=0x7e",
        "BEYOND=0x7f",
        "NAN=0x7f",
    ),
    np.dtype(ml_dtypes.float8_e4m3fnuz): (
        "MANTISSA=3",
        "BIAS=8",
        "MOST=0x7f",
        "BEYOND=0x80",
        "NAN=0x80",
    ),
    np.dtype(ml_dtypes.float8_e5m2): (
        "MANTISSA=2",
        "BIAS=15",
        "MOST=0x7b",
        "BEYOND=0x7c",
        "NAN=0x7e",
    ),
    np.dtype(ml_dtypes.float8_e5m2fnuz): (
        "MANTISSA=2",
        "BIAS=16",
        "MOST=0x7f",
        "BEYOND=0x80",
        "NAN=0x80",
    ),
}
"""Their formats, as kernels/cast.cl has them."""
AS_THEMSELVES = {BFLOAT16, *FLOATS8}
"""Narrow formats that have kernels."""
INTEGER_OF = {n: np.dtype(f"u{n}") for n in (1, 2, 4, 8)}
"""By size."""


def _options(source: np.dtype, target: np.dtype, saturates: bool) -> tuple[str, ...]:
    """Build options from the *stored* dtypes, narrow formats as such."""
    from engine.backends.opencl.backend import C_TYPES

    names = {**C_TYPES, BFLOAT16: "ushort", **dict.fromkeys(FLOATS8, "uchar")}
    floats = FLOATS | AS_THEMSELVES
    flags = {
        "USE_FP64": DOUBLE in (source, target),
        "IN_HALF": source == FLOAT16,
        "OUT_HALF": target == FLOAT16,
        "FROM_DOUBLE": source == DOUBLE,
        "TO_BOOL": target == BOOL,
        "TRUNCATES": source in floats and target not in floats | {BOOL},
        "IN_BFLOAT16": source == BFLOAT16,
        "OUT_BFLOAT16": target == BFLOAT16,
        "MAY_LOSE": source in INTEGERS | {DOUBLE},
        "SATURATES": target in FLOATS8 and saturates,
    }
    types = (f"-DIN={names[source]}", f"-DOUT={names[target]}")
    formats = (
        f"-D{end}_{part}"
        for end, dtype in (("IN", source), ("OUT", target))
        if dtype in FLOATS8
        for part in ("FLOAT8", *FLOATS8[dtype])
    )
    return (*types, *(f"-D{name}" for name, on in flags.items() if on), *formats)


def _prepare(backend: OpenCLBackend, node: Node) -> Kernel:
    x = node.inputs[0]
    assert x is not None
    source, target = (
        dtype if dtype in AS_THEMSELVES else backend.storage(dtype)
        for dtype in (x.known_type.dtype, node.outputs[0].known_type.dtype)
    )
    options = _options(source, target, bool(node.attributes.get("saturate", 1)))
    program = backend.program("cast", ("-DSTORAGE=uchar", "-DCOMPUTE=uchar", *options))

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


def _refuse(backend: OpenCLBackend, node: Node) -> str | None:
    assert node.inputs[0] is not None
    for value, which in ((node.inputs[0], "from"), (node.outputs[0], "to")):
        dtype = value.known_type.dtype
        if dtype in NARROW - AS_THEMSELVES:
            return f"Cast {which} {dtype.name} has no OpenCL kernel"
    return None


KERNELS = {"Cast": _prepare, "BitCast": _prepare_bits}
WHY_NOT = {"Cast": _refuse}
