"""Quantised operators: dequantised, computed and quantised again in double, rounded once.

So their integers are the same on every device and at every precision, as those of ONNX's own
quantised operators are (docs/numerics.md). onnxruntime computes in float: where the exact quotient
is next to a tie, its integer may be the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from engine.errors import ModelError, UnsupportedError
from engine.onnx_import.microsoft.body import Body
from engine.ops.cast import NUMBERS

DOUBLE, FLOAT, INT32 = TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.INT32

_POOL = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")
_LSTM = (
    *("activation_alpha", "activation_beta", "activations", "clip", "direction"),
    *("hidden_size", "input_forget"),
)
OPSET_MAX = 2**31 - 1
"""As of any domain."""
AXIS = 1
"""Of scales, where `axis` is left out."""


def quantize_linear(body: Body) -> None:
    """ONNX's, for more dtypes than its first versions had."""
    axis = body.attribute("axis")
    axis = AXIS if axis is None else axis
    body.of("QuantizeLinear", "x", "y_scale", "y_zero_point", into="y", axis=axis)


def dequantize_linear(body: Body) -> None:
    """The same."""
    axis = body.attribute("axis")
    axis = AXIS if axis is None else axis
    body.of("DequantizeLinear", "x", "x_scale", "x_zero_point", into="y", axis=axis)


# --------------------------------------------------------------------- products
def mat_mul_integer_to_float(body: Body) -> None:
    """The product of integers, scaled; b_scale and b_zero_point are for all, or by columns."""
    body.check_shapes(a_scale=" | 1", a_zero_point=" | 1")
    _check_columns(body)
    product = body.of("MatMulInteger", "A", "B", "a_zero_point", "b_zero_point")
    body.of("Cast", _scaled(body, product, "a_scale"), into="Y", to=NUMBERS[body.dtype("a_scale")])


def dynamic_quantize_mat_mul(body: Body) -> None:
    """The same, with an A that is quantised by its own range."""
    _check_columns(body)
    a = ["quantised", "a_scale", "a_zero_point"]
    body.node("DynamicQuantizeLinear", ["A"], a)
    product = body.of("MatMulInteger", a[0], "B", a[2], "b_zero_point")
    body.of("Cast", _scaled(body, product, a[1]), into="Y", to=FLOAT)


def _check_columns(body: Body) -> None:
    """What is for all of B, or by columns; the bias is by columns. A vector is one column."""
    rank = body.known_rank("B")
    columns, bias = (" | 1", "1 | 1 1") if rank == 1 else (" | 1 | n", "n | 1 n")
    if rank is not None and rank > 1:
        columns += f" | {'* ' * (rank - 2)}1 n?"
    body.check_shapes(B="k | ... k n", b_scale=columns, b_zero_point=columns, bias=bias)


def _scaled(body: Body, product: str, a_scale: str) -> str:
    """product * a_scale * b_scale + bias, in double."""
    scales = body.of("Mul", _single(body, a_scale), _by_columns(body, "b_scale"))
    y = body.of("Mul", _double(body, product), scales)
    return body.of("Add", y, _by_columns(body, "bias")) if body.given("bias") else y


def _by_columns(body: Body, name: str) -> str:
    """In double; of the one column that a vector is, without an axis."""
    return _single(body, name) if body.known_rank("B") == 1 else _double(body, name)


def _single(body: Body, name: str) -> str:
    """One number, in double, that adds no axes to what it is multiplied by."""
    return body.of("Reshape", _double(body, name), body.integers())


def mat_mul_n_bits(body: Body) -> None:
    """A @ B.T, B of N rows in blocks along K that have a scale, and a zero point in the middle.

    `accuracy_level` is the least precision that is asked for, and heeded by being exceeded.
    """
    body.attribute("accuracy_level")
    body.only("weight_prepacked", 0)
    bits, block, n, k = (body.count(name) for name in ("bits", "block_size", "N", "K"))
    if bits not in (2, 4, 8):
        raise UnsupportedError(f"{body.title}: bits={bits} is not supported, only 2, 4 and 8")
    kind, blocks = NUMBERS[body.dtype("A")], -(-k // block)
    _check_blocks(body, bits, blocks)
    codes = body.of("Reshape", _unpacked(body, "B", bits), body.integers(n, blocks, block))
    if not body.given("zero_points"):
        zeros = body.number(2 ** (bits - 1), "A")
    else:
        zeros = "zero_points"
        if body.dtype(zeros) == np.uint8:
            rows = body.of("Reshape", zeros, body.integers(n, -1))
            wide = body.of("Reshape", _unpacked(body, rows, bits), body.integers(n, -1))
            zeros = _first(body, wide, blocks)
        zeros = body.of("Cast", body.of("Reshape", zeros, body.integers(n, blocks, 1)), to=kind)
    scales = body.of("Reshape", "scales", body.integers(n, blocks, 1))
    centred = body.of("Sub", body.of("Cast", codes, to=kind), zeros)
    rows = body.of("Reshape", body.of("Mul", centred, scales), body.integers(n, -1))
    b = body.of("Transpose", _first(body, rows, k), perm=[1, 0])
    if body.given("bias"):
        body.of("Add", body.of("MatMul", "A", b), "bias", into="Y")
    else:
        body.of("MatMul", "A", b, into="Y")


def _check_blocks(body: Body, bits: int, blocks: int) -> None:
    n, k, block = (body.count(name) for name in ("N", "K", "block_size"))
    is_packed = body.given("zero_points") and body.dtype("zero_points") == np.uint8
    zeros = -(-blocks * bits // 8) if is_packed else blocks
    body.check_shapes(
        A=f"... {k}",
        B=f"{n} {blocks} {block * bits // 8}",
        scales=f"{n} {blocks} | {n * blocks}",
        zero_points=f"{n} {zeros} | {n * zeros}",
        bias=f"{n}",
    )


def _first(body: Body, rows: str, count: int) -> str:
    """The first columns."""
    zero, end, axis = (body.integers(number) for number in (0, count, 1))
    return body.of("Slice", rows, zero, end, axis)


def _unpacked(body: Body, value: str, bits: int) -> str:
    """The numbers of a byte, the lowest bits first, along a new last axis."""
    if bits == 8:
        return value
    mask, last = body.constant(np.array(2**bits - 1, np.uint8)), body.integers(-1)
    parts = []
    for shift in range(0, 8, bits):
        count = body.constant(np.array(shift, np.uint8))
        part = body.of("BitShift", value, count, direction="RIGHT")
        parts.append(body.of("Unsqueeze", body.of("BitwiseAnd", part, mask), last))
    return body.of("Concat", *parts, axis=-1)


def gemm(body: Body) -> None:
    """alpha * a_scale * b_scale * (A B + C), C in the unit of the product; float, or quantised."""
    body.check_single("a_scale", "a_zero_point", "y_scale", "y_zero_point")
    body.check_together("y_scale", "y_zero_point")
    body.check_shapes(
        A="k m" if body.attribute("transA") else "m k",
        B="n k" if body.attribute("transB") else "k n",
        b_scale=" | 1 | n",
        b_zero_point=" | 1 | n",
        C=" | n? | m? n?",
    )
    a, b = (
        body.of("Transpose", name, perm=[1, 0]) if body.attribute(f"trans{name}") else name
        for name in ("A", "B")
    )
    y = body.of("MatMulInteger", a, b, "a_zero_point", "b_zero_point")
    if body.given("C"):
        y = body.of("Add", y, "C")
    scale = body.of("Mul", _double(body, "a_scale"), _double(body, "b_scale"))
    scale = body.of("Mul", scale, body.constant(np.array(body.attribute("alpha"), np.float64)))
    y = body.of("Mul", _double(body, y), scale)
    if body.given("y_scale"):
        _quantised(body, y, "y_scale", "y_zero_point", "Y", body.dtype("y_zero_point"))
    else:
        body.of("Cast", y, into="Y", to=FLOAT)


def lstm(body: Body) -> None:
    """An LSTM of dequantised weights, and of an X that is quantised by its own range and back.

    onnxruntime quantises h too, anew in each step; here it is not rounded.
    """
    columns = "d | d g"
    body.check_shapes(X="s b i", W="d i g", W_scale=columns, W_zero_point=columns)
    body.check_shapes(R="d h g", R_scale=columns, R_zero_point=columns)
    quantised = ["quantised", "x_scale", "x_zero_point"]
    body.node("DynamicQuantizeLinear", ["X"], quantised)
    x = body.of("DequantizeLinear", *quantised)
    weights = [_transposed_weight(body, name) for name in ("W", "R")]
    states = ("B", "sequence_lens", "initial_h", "initial_c", "P")
    outputs = [name if body.wanted(name) else "" for name in ("Y", "Y_h", "Y_c")]
    body.node("LSTM", [x, *weights, *states], outputs, **body.attributes(*_LSTM))


def _transposed_weight(body: Body, name: str) -> str:
    """Of (directions, inputs, 4 hidden), scaled for each direction, or each column of it."""
    scale, zero = (
        body.of("Unsqueeze", part, body.integers(*((1, 2) if body.rank(part) == 1 else (1,))))
        for part in (f"{name}_scale", f"{name}_zero_point")
    )
    centred = body.of("Sub", body.of("Cast", name, to=FLOAT), body.of("Cast", zero, to=FLOAT))
    return body.of("Transpose", body.of("Mul", centred, scale), perm=[0, 2, 1])


# --------------------------------------------------------------------- element by element
def _binary(op_type: str) -> Callable[[Body], None]:
    def write(body: Body) -> None:
        names = [(n, f"{n}_scale", f"{n}_zero_point") for n in ("A", "B")]
        y = body.of(op_type, *(_real(body, *name) for name in names))
        _quantised(body, y, "C_scale", "C_zero_point", "C", body.dtype("A"))

    return write


add = _binary("Add")
mul = _binary("Mul")


def where(body: Body) -> None:
    """X or Y, each dequantised."""
    x = _real(body, "X", "x_scale", "x_zero_point")
    y = _real(body, "Y", "y_scale", "y_zero_point")
    chosen = body.of("Where", "condition", x, y)
    _quantised(body, chosen, "z_scale", "z_zero_point", "Z", body.dtype("X"))


def concat(body: Body) -> None:
    """Triples of a tensor, its scale and its zero point."""
    names = body.all_of("inputs")
    if not names or len(names) % 3:
        raise ModelError(f"{body.title}: {len(names)} inputs to join, expected three for each")
    for name in names[1::3]:
        if body.dtype(name) != np.float32:
            raise ModelError(
                f"{body.title}: scale '{name}' is {body.dtype(name)}, expected float32"
            )
    parts = [_real(body, *names[i : i + 3]) for i in range(0, len(names), 3)]
    y = body.of("Concat", *parts, axis=body.attribute("axis"))
    _quantised(body, y, "Y_scale", "Y_zero_point", "Y", body.dtype("Y_zero_point"))


def leaky_relu(body: Body) -> None:
    """By table."""
    _by_table(body, "LeakyRelu", alpha=body.attribute("alpha"))


def sigmoid(body: Body) -> None:
    """By table."""
    _by_table(body, "Sigmoid")


def _by_table(body: Body, op_type: str, **attributes: Any) -> None:
    """What becomes of each of the 256 bytes: a constant, where scales and zero points are."""
    dtype = body.dtype("X")
    least = int(np.iinfo(dtype).min)
    every = body.constant(np.arange(least, least + 256).astype(dtype))
    y = body.of(op_type, _real(body, every, "X_scale", "X_zero_point"), **attributes)
    table = _quantised(body, y, "Y_scale", "Y_zero_point", "", dtype)
    index = body.of("Cast", "X", to=INT32)
    if least:
        index = body.of("Sub", index, body.constant(np.array(least, np.int32)))
    body.of("Gather", table, index, into="Y")


# --------------------------------------------------------------------- rows and windows
def softmax(body: Body) -> None:
    """Along an axis; as of opset 12 or older along all from that one on.

    onnxruntime takes 1 / y_scale rounded down, which is exact for the 1 / 256 that it writes.
    """
    axis, rank = body.axis("X"), body.rank("X")
    x = _real(body, "X", "X_scale", "x_zero_point")
    if (opset := body.count("opset")) > OPSET_MAX:
        raise ModelError(f"{body.title}: opset={opset}, expected at most {OPSET_MAX}")
    if opset < 13:
        flat = body.of("Flatten", x, axis=axis % rank)
        y = body.of("Reshape", body.of("Softmax", flat, axis=1), body.of("Shape", "X"))
    else:
        y = body.of("Softmax", x, axis=axis)
    _quantised(body, y, "y_scale", "y_zero_point", "Y", body.dtype("X"))


def average_pool(body: Body) -> None:
    """Windows of what is dequantised; padding is 0 there.

    Of windows beyond padding that count, ONNX and onnxruntime divide by other numbers.
    """
    if body.attribute("ceil_mode") and body.attribute("count_include_pad"):
        raise UnsupportedError(f"{body.title}: ceil_mode with count_include_pad is not supported")
    _pool(body, "AveragePool", **body.attributes(*_POOL))


def global_average_pool(body: Body) -> None:
    """One window."""
    _pool(body, "GlobalAveragePool")


def _pool(body: Body, op_type: str, **attributes: Any) -> None:
    y = _real(body, "X", "x_scale", "x_zero_point")
    if body.attribute("channels_last"):
        rank = body.rank("X")
        y = body.of("Transpose", y, perm=[0, rank - 1, *range(1, rank - 1)])
        y = body.of(op_type, y, **attributes)
        y = body.of("Transpose", y, perm=[0, *range(2, rank), 1])
    else:
        y = body.of(op_type, y, **attributes)
    _quantised(body, y, "y_scale", "y_zero_point", "Y", body.dtype("X"))


# --------------------------------------------------------------------- parts
def _double(body: Body, value: str) -> str:
    return body.of("Cast", value, to=DOUBLE)


def _real(body: Body, value: str, scale: str, zero_point: str) -> str:
    """(value - zero_point) * scale, in double."""
    body.check_single(scale, zero_point)
    return body.of("DequantizeLinear", value, _double(body, scale), zero_point)


def _quantised(
    body: Body, value: str, scale: str, zero_point: str, into: str, dtype: np.dtype
) -> str:
    """The integers of doubles."""
    body.check_single(scale, zero_point)
    scale, kind = _double(body, scale), NUMBERS[dtype]
    return body.of("QuantizeLinear", value, scale, zero_point, into=into, output_dtype=kind)
