"""Where one outside engine is known to read ONNX differently, and why: data, not excuses.

Each entry carries a call that shows it: one that no longer holds fails `test_hostile.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import helper

Array = np.ndarray


@dataclass(frozen=True)
class Call:
    """What was asked of the witnesses.

    Attributes:
        op_type: of the only node, or of those that make the outputs. feeds: what was fed.
    """

    op_type: str
    data: bytes
    feeds: Mapping[str, Array]

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The model."""
        return onnx.load_from_string(self.data)

    @property
    def opset(self) -> int:
        """Of the default domain."""
        return next((int(o.version) for o in self.model.opset_import if not o.domain), 1)

    def attribute(self, name: str, default: Any = None) -> Any:
        """Of the first node."""
        for attribute in self.model.graph.node[0].attribute:
            if attribute.name == name:
                return helper.get_attribute_value(attribute)
        return default

    @property
    def arrays(self) -> list[Array]:
        """All that goes in, constants included."""
        constants = [onnx.numpy_helper.to_array(t) for t in self.model.graph.initializer]
        return [*self.feeds.values(), *constants]

    @property
    def first(self) -> Array:
        """The first input."""
        name = self.model.graph.node[0].input[0]
        given = {t.name: onnx.numpy_helper.to_array(t) for t in self.model.graph.initializer}
        return np.asarray({**given, **self.feeds}[name])


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
    op_type: str, opset: int, *inputs: Array, constants: tuple[int, ...] = (), **attributes: Any
) -> Call:
    """A model of one node with inputs x0, x1..., fed but for the constants."""
    names = [f"x{i}" for i in range(len(inputs))]
    feeds = {n: x for i, (n, x) in enumerate(zip(names, inputs)) if i not in constants}
    graph = helper.make_graph(
        [helper.make_node(op_type, names, ["y"], **attributes)],
        "call",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for n, x in feeds.items()
        ],
        [helper.make_empty_tensor_value_info("y")],
        [onnx.numpy_helper.from_array(inputs[i], names[i]) for i in constants],
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return Call(op_type, model.SerializeToString(), feeds)


def _is_finite(call: Call) -> bool:
    return all(np.isfinite(x).all() for x in call.arrays if x.dtype.kind == "f")


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
        *("MatMul", "Gemm", "Conv", "ConvTranspose"),
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
        frozenset({"LRN"}),
        "takes a window of size + 1 for an even size; the specification's is "
        "[c - floor((size - 1) / 2), c + ceil((size - 1) / 2)]",
        lambda c: c.attribute("size") % 2 == 0,
        lambda: call("LRN", 13, 100 * _ones(1, 4, 1, 1), size=2),
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
        "adds off + hot * (on - off), which is NaN where a value is not finite",
        lambda c: not _is_finite(c),
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
        "evaluator",
        frozenset({"InstanceNormalization"}),
        "takes mean and variance in the dtype of the data: far from zero little is left of them",
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
        "has no kernel at this opset and expands the function body, whose exp overflows",
        lambda c: c.opset >= 28 and bool((np.abs(c.first) > 10).any()),
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
KNOWN: tuple[Disagreement, ...] = (*OF_THE_EVALUATOR, *OF_ONNXRUNTIME, *CASTS)


def reason_for(call: Call, witness: str) -> Disagreement | None:
    """The known reason why a witness differs on a call, None for none."""
    for known in KNOWN:
        if known.witness == witness and call.op_type in known.op_types and known.applies(call):
            return known
    return None
