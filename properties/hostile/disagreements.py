"""Where one outside engine is known to read ONNX differently, and why: data, not excuses.

Each entry carries a call that shows it: one that no longer holds fails `test_hostile.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import helper

Array = np.ndarray


@lru_cache(1)
def _inlined(data: bytes) -> onnx.ModelProto:
    return onnx.inliner.inline_local_functions(onnx.load_from_string(data))


@dataclass(frozen=True)
class Call:
    """A node of what was asked of the witnesses.

    Attributes:
        data: the model. feeds: what was fed. node: position of the node in it.
    """

    data: bytes
    feeds: Mapping[str, Array]
    node: int = 0

    @property
    def model(self) -> onnx.ModelProto:
        """The model, without calls of functions."""
        return _inlined(self.data)

    @property
    def op_type(self) -> str:
        """Of the node."""
        return str(self.model.graph.node[self.node].op_type)

    @property
    def op_types(self) -> str:
        """Of all nodes, each once."""
        return "+".join(dict.fromkeys(node.op_type for node in self.model.graph.node))

    @property
    def opset(self) -> int:
        """Of the default domain."""
        return next((int(o.version) for o in self.model.opset_import if not o.domain), 1)

    def attribute(self, name: str, default: Any = None) -> Any:
        """Of the node."""
        for attribute in self.model.graph.node[self.node].attribute:
            if attribute.name == name:
                return helper.get_attribute_value(attribute)
        return default

    @property
    def arrays(self) -> list[Array]:
        """All that goes in, constants included."""
        constants = [onnx.numpy_helper.to_array(t) for t in self.model.graph.initializer]
        return [*self.feeds.values(), *constants]

    @property
    def limits(self) -> list[Array]:
        """Of a Clip."""
        given = [self.attribute(name) for name in ("min", "max")]
        names = list(self.model.graph.node[self.node].input)[1:]
        return [np.asarray(v) for v in given if v is not None] + [
            self._given[n] for n in names if n
        ]

    @cached_property
    def _given(self) -> dict[str, Array]:
        constants = self.model.graph.initializer
        return {**{t.name: onnx.numpy_helper.to_array(t) for t in constants}, **self.feeds}

    @property
    def first(self) -> Array:
        """The first input; raises KeyError where another node computes it."""
        name = self.model.graph.node[self.node].input[0]
        return np.asarray(self._given[name])


@dataclass(frozen=True)
class Disagreement:
    """One reason.

    Attributes:
        reason: what the witness does, and what settles it.
        applies: whether it explains a call. shown: a call that shows it.
    """

    witness: str
    op_types: frozenset[str]
    reason: str
    applies: Callable[[Call], bool]
    shown: Callable[[], Call]


def call(
    op_type: str,
    opset: int,
    *inputs: Array,
    constants: tuple[int, ...] = (),
    outputs: int = 1,
    **attributes: Any,
) -> Call:
    """A model of one node with inputs x0, x1..., fed but for the constants."""
    results = ["y", "z"][:outputs]
    names = [f"x{i}" for i in range(len(inputs))]
    feeds = {n: x for i, (n, x) in enumerate(zip(names, inputs)) if i not in constants}
    graph = helper.make_graph(
        [helper.make_node(op_type, names, results, **attributes)],
        "call",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for n, x in feeds.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in results],
        [onnx.numpy_helper.from_array(inputs[i], names[i]) for i in constants],
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return Call(model.SerializeToString(), feeds)


def _is_finite(call: Call) -> bool:
    return all(np.isfinite(x).all() for x in call.arrays if x.dtype.kind == "f")


def _pads(call: Call) -> bool:
    return any(call.attribute("pads", ())) or call.attribute("auto_pad", b"").startswith(b"SAME")


def _has_large_integers(call: Call) -> bool:
    """Some whose products may leave 32 bits, or what a double holds."""
    wide = [x.astype(float) for x in call.arrays if x.dtype.kind in "iu"]
    return any((np.abs(x) > 2**12).any() for x in wide)


def _has_factors_out_of_range(call: Call) -> bool:
    """Whether a Gemm of integers has a factor that is none: docs/numerics.md has our rule."""
    factors = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    kind = call.first.dtype.kind
    return kind in "iu" and (max(map(abs, factors)) > 2**12 or (kind == "u" and min(factors) < 0))


def _ones(*shape: int) -> Array:
    return np.ones(shape, np.float32)


EXPANDED = (
    "expands the function body, which takes the variance as E[x^2] - E[x]^2: far from zero that is "
    "off, and NaN where it comes out negative"
)


def _far_from_zero() -> tuple[Array, Array, Array]:
    x = 1000 + np.linspace(0, 0.01, 16, dtype=np.float32).reshape(1, 2, 8)
    return x, _ones(2), 0 * _ones(2)


SUMMING = frozenset(
    {
        *("InstanceNormalization", "LayerNormalization", "GroupNormalization", "CumSum", "LRN"),
        *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceSum"),
        *("ReduceSumSquare", "AveragePool", "GlobalAveragePool", "Softmax", "LogSoftmax"),
        *("MatMul", "Gemm", "Conv", "ConvTranspose", "Mean", "Sum"),
    }
)
"""Operators that add many terms."""
OF_THE_EVALUATOR = (
    Disagreement(
        "evaluator",
        frozenset({"GlobalMaxPool"}),
        "reduces other axes than the spatial ones of maps that are not 2-D; the output keeps the "
        "rank of the input ('the first two dimensions of output shape are the same as the input')",
        lambda c: c.first.ndim != 4,
        lambda: call("GlobalMaxPool", 22, _ones(1, 3, 5)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ReduceSumSquare"}),
        "squares integers of 32 bits as such of 64; T is one type for input and output",
        lambda c: c.first.dtype in (np.uint32, np.int32),
        lambda: call("ReduceSumSquare", 13, np.ones((2, 3), np.uint32)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ReduceMean"}),
        "takes the mean of integers in double, which holds no int64 beyond 2**53",
        lambda c: c.first.dtype.kind in "iu",
        lambda: call("ReduceMean", 13, np.full((1, 3), 2**60 + 1), axes=[1]),
    ),
    Disagreement(
        "evaluator",
        frozenset({"AveragePool"}),
        "leaves NaN out of a mean, because it pads with NaN",
        lambda c: not _is_finite(c),
        lambda: call("AveragePool", 10, np.array([[[1, np.nan, 2]]], np.float32), kernel_shape=[2]),
    ),
    Disagreement(
        "evaluator",
        frozenset({"AveragePool"}),
        "counts the padding before opset 7, where the sum 'is divided by the number of elements "
        "exclude pad'",
        lambda c: c.opset < 7 and _pads(c),
        lambda: call("AveragePool", 1, _ones(1, 1, 4), kernel_shape=[2], pads=[1, 0]),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ConvTranspose"}),
        "adds the bias wrongly where group is not 1; onnxruntime computes ours",
        lambda c: c.attribute("group", 1) != 1,
        lambda: call(
            "ConvTranspose",
            18,
            np.arange(18, dtype=np.float32).reshape(1, 2, 3, 3),
            np.arange(12, dtype=np.float32).reshape(2, 1, 3, 2),
            np.array([1, 2], np.float32),
            group=2,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"PRelu"}),
        "multiplies 0 by the slope too, NaN where that is infinite; the specification has x for "
        "x >= 0",
        lambda c: not _is_finite(c),
        lambda: call("PRelu", 16, np.zeros(1, np.float32), np.array([np.inf], np.float32)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Gelu", "Erf"}),
        "rounds erf to float: 1 + erf of a double is zero early",
        lambda c: c.first.dtype == np.float64,
        lambda: call("Gelu", 20, np.array([-6.6])),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Resize"}),
        "makes the largest finite numbers of infinities",
        lambda c: not _is_finite(c),
        lambda: call(
            "Resize",
            18,
            np.array([[[[-np.inf, 4, 1, 2]]]], np.float32),
            np.zeros(0, np.float32),
            np.array([1, 1, 1, 2], np.float32),
            constants=(1, 2),
            mode="cubic",
            exclude_outside=1,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MaxPool"}),
        "pads nothing for SAME_LOWER; outputs are ceil(input / stride)",
        lambda c: c.attribute("auto_pad") == b"SAME_LOWER",
        lambda: call(
            "MaxPool",
            22,
            np.arange(8, dtype=np.float32).reshape(1, 1, 8),
            kernel_shape=[3],
            strides=[3],
            auto_pad="SAME_LOWER",
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"AveragePool"}),
        "forgets dilations where auto_pad is given",
        lambda c: (
            c.attribute("auto_pad", b"NOTSET") != b"NOTSET"
            and any(d != 1 for d in c.attribute("dilations", ()))
        ),
        lambda: call(
            "AveragePool",
            22,
            np.arange(5, dtype=np.float32).reshape(1, 1, 5),
            kernel_shape=[3],
            dilations=[2],
            auto_pad="VALID",
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Resize"}),
        "takes the pixel before where rounding leaves a place just below a pixel; interpolation is "
        "continuous there",
        lambda c: c.attribute("coordinate_transformation_mode") == b"half_pixel_symmetric",
        lambda: call(
            "Resize",
            20,
            np.array([[0, 9, 0, 0, 0, 0, 0, 0, 0]], np.float32),
            np.zeros(0, np.float32),
            np.array([1, 1.5], np.float32),
            constants=(1, 2),
            mode="cubic",
            coordinate_transformation_mode="half_pixel_symmetric",
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ConvTranspose"}),
        "takes pads beside auto_pad=VALID, which 'cannot be used simultaneously'",
        lambda c: c.attribute("auto_pad") == b"VALID" and any(c.attribute("pads", ())),
        lambda: call(
            "ConvTranspose", 11, _ones(1, 1, 5), _ones(1, 1, 2), auto_pad="VALID", pads=[0, 1]
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MaxPool"}),
        "gives 0 where a window lies wholly in the padding, whose elements are -inf",
        lambda c: _pads(c) and any(d != 1 for d in c.attribute("dilations", ())),
        lambda: call(
            "MaxPool",
            22,
            -_ones(1, 1, 2),
            kernel_shape=[2],
            strides=[2],
            dilations=[4],
            auto_pad="SAME_UPPER",
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MaxPool"}),
        "takes padding for another axis, and loses it with ceil_mode; onnxruntime computes ours",
        _pads,
        lambda: call("MaxPool", 12, _ones(1, 1, 7), kernel_shape=[2], pads=[1, 1], ceil_mode=1),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Clip"}),
        "lets a limit that is NaN make everything NaN; the function body of the schema compares, "
        "and no comparison with NaN holds",
        lambda c: any(np.isnan(limit).any() for limit in c.limits),
        lambda: call("Clip", 13, _ones(2), np.array(np.nan, np.float32)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Shape"}),
        "takes end < -rank as Python does; the specification clamps it to [0, r]",
        lambda c: c.attribute("end", 0) < -c.first.ndim,
        lambda: call("Shape", 15, _ones(7, 8), end=-3),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Gemm"}),
        "multiplies integers by a float alpha or beta before opset 7 and leaves them floats; T is "
        "one type for input and output",
        lambda c: c.first.dtype.kind in "iu" and c.opset < 7,
        lambda: call("Gemm", 6, *[np.ones((2, 2), np.uint64)] * 3, alpha=0.5),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Gemm"}),
        "forgets beta before opset 7 where nothing is broadcast; Y = alpha * A * B + beta * C",
        lambda c: c.opset < 7 and c.attribute("beta", 1.0) != 1 and not c.attribute("broadcast", 0),
        lambda: call("Gemm", 6, *[_ones(2, 2)] * 3, beta=3.0),
    ),
    Disagreement(
        "evaluator",
        frozenset({*("Add", "Sub", "Mul", "Div", "And", "Or", "Xor", "Equal", "Greater", "Less")}),
        "knows NumPy's broadcasting only; before opset 7, `axis` says where the axes of B begin",
        lambda c: c.opset < 7 and c.attribute("axis") is not None,
        lambda: call("Add", 6, 0 * _ones(2, 2), np.array([1, 2], np.float32), axis=0, broadcast=1),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Gemm"}),
        "multiplies integers by alpha as doubles, which hold no int64 beyond 2**53, and casts "
        "what is out of range as the processor does; T is one type",
        lambda c: _has_large_integers(c) or _has_factors_out_of_range(c),
        lambda: call("Gemm", 12, np.full((1, 1), 2**60 + 1), np.ones((1, 1), np.int64)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"LayerNormalization"}),
        "gives Mean and InvStdDev in the dtype of the data; with stash_type=1 they are float",
        lambda c: c.first.dtype == np.float64,
        lambda: call("LayerNormalization", 17, np.ones((2, 3)), np.ones(3), outputs=2),
    ),
    Disagreement(
        "evaluator",
        frozenset({"LRN"}),
        "takes a window of size + 1 for an even size; the specification's is "
        "[c - floor((size - 1) / 2), c + ceil((size - 1) / 2)]",
        lambda c: c.attribute("size") % 2 == 0,
        lambda: call("LRN", 13, 100 * _ones(1, 4, 1, 1), size=2),
    ),
    Disagreement(
        "evaluator",
        frozenset({"LRN"}),
        "takes a power of 0.5 as a square root, whose sign is that of -0; a power of -0 is +0",
        lambda c: c.attribute("beta") == 0.5 and c.attribute("bias") == 0,
        lambda: call("LRN", 13, _ones(1, 1, 1, 1), size=1, alpha=-0.0, beta=0.5, bias=-0.0),
    ),
    Disagreement(
        "evaluator",
        frozenset({"LRN"}),
        "normalises only as many channels as there are batch entries",
        lambda c: c.first.ndim > 1 and c.first.shape[0] < c.first.shape[1],
        lambda: call("LRN", 13, 100 * _ones(1, 4, 1, 1), size=3),
    ),
    Disagreement(
        "evaluator",
        frozenset({"GroupNormalization"}),
        EXPANDED,
        lambda c: True,
        lambda: call("GroupNormalization", 22, *_far_from_zero(), num_groups=2),
    ),
    Disagreement(
        "evaluator",
        frozenset({"OneHot"}),
        "adds off + hot * (on - off), which rounds, and is NaN where a value is not finite",
        lambda c: not _is_finite(c) or any(x.dtype == np.float16 for x in c.arrays),
        lambda: call(
            "OneHot",
            11,
            np.array([0]),
            np.array(2),
            np.array([1, np.inf], np.float32),
            constants=(1,),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Softmax", "LogSoftmax", "Hardmax"}),
        "knows the meaning of opset 13 only; before, all axes from `axis` on were one",
        lambda c: c.opset < 13,
        lambda: call("Softmax", 11, np.arange(8, dtype=np.float32).reshape(2, 2, 2), axis=1),
    ),
    Disagreement(
        "evaluator",
        SUMMING,
        "sums half in half, term by term",
        lambda c: c.first.dtype == np.float16,
        lambda: call(
            "InstanceNormalization",
            22,
            np.linspace(990, 1000, 33000).astype(np.float16).reshape(1, 1, -1),
            np.ones(1, np.float16),
            np.zeros(1, np.float16),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Resize", "Upsample"}),
        "interpolates integers in double, which holds no int64 beyond 2**53",
        lambda c: c.first.dtype.kind in "iu",
        lambda: call(
            "Resize",
            13,
            np.full((1, 1, 2, 2), 2**60 + 1),
            np.zeros(0, np.float32),
            np.array([1, 1, 2, 2], np.float32),
            constants=(1, 2),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Resize"}),
        "takes exclude_outside for every mode; it is about the weights of cubic interpolation",
        lambda c: c.attribute("exclude_outside", 0) == 1 and c.attribute("mode") != b"cubic",
        lambda: call(
            "Resize",
            13,
            _ones(1, 1, 1, 1),
            np.zeros(0, np.float32),
            np.array([1, 1, 1, 4], np.float32),
            constants=(1, 2),
            mode="nearest",
            nearest_mode="ceil",
            exclude_outside=1,
        ),
    ),
)
OF_ONNXRUNTIME = (
    *(
        Disagreement(
            witness,
            frozenset({"LayerNormalization"}),
            "keeps the mean in float, as stash_type has it: far from zero its rounding is much of "
            "what is left",
            lambda c: bool((np.abs(c.first) > 100).any()),
            lambda: call(
                "LayerNormalization",
                17,
                (1000 + 0.01 * np.sin(np.arange(1024))).astype(np.float32).reshape(64, 16),
                _ones(16),
                epsilon=1e-12,
            ),
        )
        for witness in ("evaluator", "onnxruntime")
    ),
    Disagreement(
        "evaluator",
        frozenset({"BatchNormalization"}),
        "mixes the statistics of the data in, although one output means inference: the default of "
        "momentum, which its class of opset 9 takes for a request to train",
        lambda c: 7 <= c.opset < 14,
        lambda: call(
            "BatchNormalization",
            9,
            np.arange(12, dtype=np.float32).reshape(2, 2, 3),
            *[_ones(2)] * 4,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"MaxPool", "AveragePool"}),
        "forgets dilations when it pads for SAME_*; outputs are ceil(input / stride)",
        lambda c: _pads(c) and any(d != 1 for d in c.attribute("dilations", ())),
        lambda: call(
            "MaxPool",
            14,
            np.arange(7, dtype=np.float32).reshape(1, 1, 7),
            kernel_shape=[3],
            strides=[2],
            dilations=[2],
            auto_pad="SAME_UPPER",
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"MaxPool", "AveragePool"}),
        "rounds up for VALID with ceil_mode; the specification has ceil((input - span + 1) / "
        "stride), which is as without",
        lambda c: c.attribute("auto_pad") == b"VALID" and c.attribute("ceil_mode", 0) == 1,
        lambda: call(
            "AveragePool",
            22,
            _ones(1, 1, 5),
            kernel_shape=[3],
            strides=[3],
            auto_pad="VALID",
            ceil_mode=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"ReduceSumSquare"}),
        "saturates int32; sums wrap, as its own ReduceSum does",
        lambda c: c.first.dtype == np.int32 and bool((np.abs(c.first.astype(float)) > 2**12).any()),
        lambda: call("ReduceSumSquare", 13, np.full((1, 2), 50000, np.int32)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"ReduceMean"}),
        "takes the mean of integers through a float, which does not hold all of them",
        lambda c: c.first.dtype.kind in "iu",
        lambda: call("ReduceMean", 13, np.full((1, 3), 2**60 + 1), axes=[1]),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"GroupNormalization"}),
        EXPANDED,
        lambda c: True,
        lambda: call("GroupNormalization", 22, *_far_from_zero(), num_groups=2),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"LRN"}),
        "keeps one running sum over the channels: what a large one leaves when it is taken off "
        "again stays in those behind it",
        lambda c: bool((np.abs(c.first) > 100).any()),
        lambda: call(
            "LRN",
            13,
            np.array([1e5, 1, 1, 1], np.float32).reshape(1, 4, 1, 1),
            size=1,
            alpha=1.0,
            bias=1e-3,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"ReduceLogSumExp"}),
        "has no kernel at opset 28 or for half and expands the function body, whose exp overflows",
        lambda c: (
            (c.opset >= 28 or c.first.dtype == np.float16) and bool((np.abs(c.first) > 10).any())
        ),
        lambda: call("ReduceLogSumExp", 28, np.array(1e10)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Upsample", "Resize"}),
        "multiplies a neighbour of weight 0 all the same: NaN where it is infinite",
        lambda c: not _is_finite(c),
        lambda: call(
            "Upsample",
            8,
            np.array([[[1, np.inf, 2, 3]]], np.float32),
            scales=[1.0, 1.0, 2.0],
            mode="linear",
        ),
    ),
)


def _leaves_the_range(call: Call) -> bool:
    """Whether a float is no element of the integers that it is cast to."""
    if call.op_type == "Pow":
        return call.first.dtype.kind in "iu"
    kind = call.attribute("to")
    to = helper.tensor_dtype_to_np_dtype(kind) if isinstance(kind, int) and kind else None
    if to is None or to.kind not in "iu" or call.first.dtype.kind != "f":
        return False
    limits, x = np.iinfo(to), call.first.astype(np.float64)
    return not bool(((x >= limits.min) & (x < float(limits.max) + 1)).all())


def _without_variance(dtype: np.dtype) -> Call:
    """Equal numbers whose mean comes out otherwise when they are summed."""
    arrays = np.full((1, 1, 256), -1.94796558), np.ones(1), np.zeros(1)
    given = [array.astype(dtype) for array in arrays]
    return call("InstanceNormalization", 17, *given, epsilon=0.0)


BY_BOTH = tuple(
    disagreement
    for witness in ("evaluator", "onnxruntime")
    for disagreement in (
        Disagreement(
            witness,
            frozenset({"ScatterElements", "ScatterND"}),
            "compares with NaN in whichever order elements come; docs/numerics.md has our rule",
            lambda c: c.attribute("reduction") in (b"min", b"max") and not _is_finite(c),
            lambda: call(
                "ScatterElements",
                18,
                np.array([np.nan, 1], np.float32),
                np.array([0, 1]),
                np.array([2, np.nan], np.float32),
                reduction="min",
            ),
        ),
        Disagreement(
            witness,
            frozenset({"InstanceNormalization"}),
            "divides by what its rounded mean leaves of a variance of zero, where epsilon is 0 too",
            lambda c: c.attribute("epsilon") == 0,
            partial(_without_variance, np.dtype("f8" if witness == "evaluator" else "f4")),
        ),
        Disagreement(
            witness,
            frozenset({"InstanceNormalization"}),
            "takes mean and variance in the dtype of the data: far from zero little is left",
            lambda c: bool((np.abs(c.first) > 100).any()),
            lambda: call(
                "InstanceNormalization",
                6,
                np.full((1, 1, 7, 9), 1000.00287, np.float32),
                3 * _ones(1),
                0 * _ones(1),
            ),
        ),
        Disagreement(
            witness,
            frozenset({"ConvTranspose"}),
            "pads or crops otherwise for SAME_* where taps are too few; output_shape is "
            "input_shape * strides, total padding is halved towards zero",
            lambda c: str(c.attribute("auto_pad", b"")).startswith("b'SAME"),
            lambda: call(
                "ConvTranspose",
                22,
                np.arange(8, dtype=np.float32).reshape(1, 1, 8),
                1 + np.arange(2, dtype=np.float32).reshape(1, 1, 2),
                strides=[3],
                auto_pad="SAME_UPPER",
            ),
        ),
    )
)
CASTS = tuple(
    Disagreement(
        witness,
        frozenset({"Cast", "Pow"}),
        "casts a float beyond the range of an integer as the processor does; ONNX leaves it open, "
        "and docs/numerics.md has our rule",
        _leaves_the_range,
        lambda: call("Cast", 21, np.array([1e10, -1e10, np.nan], np.float32), to=5),
    )
    for witness in ("evaluator", "onnxruntime")
)
KNOWN: tuple[Disagreement, ...] = (*OF_THE_EVALUATOR, *OF_ONNXRUNTIME, *BY_BOTH, *CASTS)


def reason_for(call: Call, witness: str) -> Disagreement | None:
    """The known reason why a witness differs on a call, None for none."""
    for known in KNOWN:
        if known.witness == witness and call.op_type in known.op_types:
            with suppress(KeyError):
                if known.applies(call):
                    return known
    return None


def explained(call: Call, witness: str, outputs: Collection[str]) -> bool:
    """Whether each of these outputs comes from some node with a known disagreement."""
    nodes = call.model.graph.node
    makers = {name: k for k, node in enumerate(nodes) for name in node.output}
    because = {k for k in range(len(nodes)) if reason_for(replace(call, node=k), witness)}
    return all(because & _ancestry(nodes, makers, name) for name in outputs)


def _ancestry(nodes: Any, makers: Mapping[str, int], output: str) -> set[int]:
    """Positions of all nodes that a value is computed from."""
    found: set[int] = set()
    names = [output]
    while names:
        k = makers.get(names.pop())
        if k is not None and k not in found:
            found.add(k)
            names += nodes[k].input
    return found
