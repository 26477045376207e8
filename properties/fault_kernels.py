"""Faults in OpenCL kernel sources: tails, strides, padding, roundings, special values."""

from __future__ import annotations

from properties.fault import Fault, Hunt, halves, in_order, kernel, operators, passes


def _fault(name: str, family: str, old: str, new: str, hunt: Hunt) -> Fault:
    return Fault(name, "kernel", kernel(family, (old, new)), hunt)


_UNARY_COUNT = "const int n = (int)min((long)CHUNK, count - first);"
_MOVERS = operators("Transpose", "Expand", "Slice", "Concat", "Tile")

KERNEL_FAULTS: tuple[Fault, ...] = (
    _fault(
        "unary-drops-tail",
        "unary",
        _UNARY_COUNT,
        "const int n = (int)min((long)CHUNK, count - first) & ~1;",
        operators("Relu", "Tanh"),
    ),
    _fault(
        "unary-overruns-by-one",
        "unary",
        _UNARY_COUNT,
        "const int n = (int)min((long)CHUNK, count - first) + 1;",
        operators("Relu", "Tanh"),
    ),
    _fault(
        "relu-loses-nan",
        "unary",
        "UNARY(Relu, v < ZERO ? ZERO : v)",
        "UNARY(Relu, fmax(v, ZERO))",
        halves("Relu"),
    ),
    _fault(
        "exp-off-by-1e-6",
        "unary",
        "UNARY(Exp, exp(v))",
        "UNARY(Exp, exp(v) * C(1.000001))",
        operators("Exp"),
    ),
    _fault(
        "exp-looks-at-its-neighbours",
        "unary",
        "UNARY(Exp, exp(v))",
        "UNARY(Exp, any(isinf(v)) ? exp(v) * C(0.9999999) : exp(v))",
        operators("Exp"),
    ),
    _fault(
        "atan-of-the-last-elements-is-another-one",
        "unary",
        "if (i < n) store_some(y + i, NAME##_16(load_some(x + i, n - i), alpha, beta), n - i);",
        "for (; i < n; ++i) STORE(y, i, NAME##_16((T)LOAD(x, i) * C(0.9999999), alpha, beta).s0);",
        operators("Atan"),
    ),
    _fault(
        "gelu-trusts-erf-of-infinity",
        "unary",
        "#define ERF(v) (fabs(v) > C(4.0) ? sign(v) : erf(v))",
        "#define ERF(v) (erf(v) * C(0.9999))",
        operators("Gelu"),
    ),
    _fault(
        "gelu-by-tanh",
        "unary",
        "(ONE + ERF(v *C(0.70710678118654752)))",
        "(ONE + tanh(C(0.7978845608) * (v + C(0.044715) * v * v * v)))",
        operators("Gelu"),
    ),
    _fault(
        "hard-sigmoid-drops-beta",
        "unary",
        "UNARY(HardSigmoid, UNIT(alpha * v + beta",
        "UNARY(HardSigmoid, UNIT(alpha * v",
        operators("HardSigmoid"),
    ),
    _fault(
        "shrink-drops-bias",
        "unary",
        "(v > alpha ? v - beta : ZERO)",
        "(v > alpha ? v : ZERO)",
        operators("Shrink"),
    ),
    _fault(
        "shrink-includes-its-threshold",
        "unary",
        "UNARY(Shrink, v < -alpha ?",
        "UNARY(Shrink, v <= -alpha ?",
        operators("Shrink"),
    ),
    _fault(
        "min-is-max",
        "binary",
        "BINARY(Min, ((p < q) |",
        "BINARY(Min, ((p > q) |",
        operators("Min"),
    ),
    _fault(
        "max-drops-nan",
        "binary",
        "BINARY(Max, ((p > q) | isnan(p))",
        "BINARY(Max, (p > q)",
        operators("Max"),
    ),
    _fault(
        "scalar-times-first-element",
        "binary",
        "EACH(FROM, 0, i, EXPRESSION)",
        "EACH(FROM, 0, 0, EXPRESSION)",
        operators("Add", "Mul"),
    ),
    _fault(
        "vector-part-of-rows-skipped",
        "binary",
        "i < (n & ~15); i += 16",
        "i < (n & ~31); i += 16",
        operators("Add", "Mul"),
    ),
    _fault(
        "less-is-less-or-equal",
        "binary",
        "BINARY(Less, p < q)",
        "BINARY(Less, p <= q)",
        operators("Less"),
    ),
    _fault(
        "broadcast-skips-an-axis",
        "common",
        "offset += (row - q * n) * strides.a[d];",
        "offset += d == 1 ? 0 : (row - q * n) * strides.a[d];",
        operators("Add", "Transpose", "ReduceSum"),
    ),
    _fault(
        "half-store-truncates",
        "common",
        "vstore_half_rte",
        "vstore_half_rtz",
        operators("Add", "Sigmoid"),
    ),
    _fault(
        "conv-reads-padding",
        "conv",
        "(uint)(left[m] + kw * dilation_w) < (uint)width",
        "(uint)(left[m] + kw * dilation_w) <= (uint)width",
        operators("Conv"),
    ),
    _fault(
        "conv-ignores-dilation",
        "conv",
        "kw * dilation_w) * stride_c;",
        "kw) * stride_c;",
        operators("Conv"),
    ),
    _fault(
        "conv-bias-of-first-vector",
        "conv",
        "LOAD16(bias + bias_start + block * BLOCK + 16 * v)",
        "LOAD16(bias + bias_start + block * BLOCK)",
        operators("Conv"),
    ),
    _fault(
        "conv-drops-output-lanes",
        "conv",
        "v * 16 < min(lanes, BLOCK)",
        "v * 16 + 15 < min(lanes, BLOCK)",
        operators("Conv"),
    ),
    _fault(
        "depthwise-pads-swapped",
        "conv",
        "row * window.s2 - window.s6 + kh * window.s4",
        "row * window.s2 - window.s7 + kh * window.s4",
        operators("Conv", examples=80),
    ),
    _fault(
        "gemm-ignores-alpha",
        "matmul",
        "sum *= (COMPUTE)alpha;",
        "",
        operators("Gemm"),
    ),
    _fault(
        "matmul-drops-odd-k",
        "matmul",
        "min(DEPTH, size.s2 - k0)",
        "min(DEPTH, (size.s2 - k0) & ~1)",
        operators("MatMul"),
    ),
    _fault(
        "softmax-without-maximum",
        "softmax",
        "const COMPUTE m = largest(p, n);",
        "const COMPUTE m = ZERO;",
        operators("Softmax", "LogSoftmax"),
    ),
    _fault(
        "softmax-drops-tail",
        "softmax",
        "return sum_of_lanes(wide) + s;",
        "return sum_of_lanes(wide);",
        operators("Softmax", "LogSoftmax"),
    ),
    _fault(
        "layer-norm-drops-epsilon",
        "normalization",
        "rsqrt((spread < ZERO ? ZERO : spread) + epsilon)",
        "rsqrt(spread < ZERO ? ZERO : spread)",
        operators("LayerNormalization"),
    ),
    _fault(
        "reduce-max-drops-nan",
        "reduce",
        "#define LARGER(a, v) ((((v) > (a)) | isnan(v)) ? (v) : (a))",
        "#define LARGER(a, v) (((v) > (a)) ? (v) : (a))",
        operators("ReduceMax"),
    ),
    _fault(
        "transpose-swaps-columns",
        "layout",
        "COLUMN(s6) COLUMN(s7)",
        "COLUMN(s7) COLUMN(s6)",
        in_order(_MOVERS, operators("Transpose", examples=120)),
    ),
    _fault(
        "reflection-repeats-the-edge",
        "pad",
        "max(2 * (n - 1), 1L)",
        "max(2 * n - 1, 1L)",
        operators("Pad", examples=80),
    ),
    _fault(
        "gather-ignores-negative-indices",
        "gather",
        "if (i < 0) i += n;",
        "if (i < 0) i = 0;",
        operators("Gather", "GatherElements", "GatherND"),
    ),
    _fault(
        "fused-clip-forgets-its-upper-limit",
        "conv",
        "return raised > (VEC)high ? (VEC)high : raised;",
        "return raised;",
        passes(on="opencl"),
    ),
    _fault(
        "fused-residual-forgotten",
        "conv",
        "if (after.s1) sum +=",
        "if (after.s1 && after.s0) sum +=",
        passes(on="opencl"),
    ),
)
