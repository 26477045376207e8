"""Where onnxruntime is known to read ONNX differently, and why."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.ir.types import STRING
from engine.onnx_import.microsoft.schemas import DOMAIN
from engine.ops.grid_sample import FURTHEST
from engine.ops.label_encoder import column
from engine.ops.recurrent import evaluate
from engine.ops.running import Doubles, Function
from engine.ops.strings import strings
from properties.hostile.asked import (
    EXPANDED,
    Call,
    Disagreement,
    call,
    far_from_zero,
    has_nan,
    is_finite,
    ones,
    pads,
)


def _is_uneven(scales: np.ndarray) -> bool:
    """Whether there are scales that no few bits hold."""
    if scales.dtype != np.float32 or scales.ndim != 1:
        return False
    return bool((scales * 1024 % 1 != 0).any())


def _has_fractional_lengths(call: Call) -> bool:
    """Whether scales of a Resize ask for lengths that are no whole numbers."""
    x = call.first
    axes = call.attribute("axes", range(x.ndim))
    return any(s * x.shape[axis] % 1 for s, axis in zip(call.input(2), axes, strict=False))


class _Watched(Doubles):
    """Keeps the largest argument of each activation."""

    def __init__(self) -> None:
        self.largest = [0.0]

    def apply(self, function: Function, x: np.ndarray) -> np.ndarray:
        self.largest.append(float(np.nanmax(np.abs(x), initial=0.0)))
        return super().apply(function, x)


def _largest_arguments(call: Call) -> list[float]:
    """Of each activation of a recurrent operator."""
    watched = _Watched()
    inputs = [x if x is None else x.astype(np.float64) for x in call.inputs]
    evaluate(call.op_type, inputs, call.attributes, watched)
    return watched.largest


def _may_overflow(call: Call) -> bool:
    """Whether integers are summed or multiplied that are as large as to leave what float holds.

    Also where another node computes them, so that nothing is known of them.
    """
    if not call.knows_first:
        return True
    given = [np.abs(x.astype(np.float64)) for x in call.arrays if x.dtype.kind in "iu"]
    with np.errstate(over="ignore"):
        of_products = [np.maximum(x, 1).prod() for x in given]
        of_sums = np.prod([max(x.sum(), 1) for x in given])
        of_squares = [np.square(x).sum() for x in given]
    return bool(given) and max(*of_products, *of_squares, of_sums) >= 2**24


def _largest_byte_products(call: Call) -> float:
    """Of a MatMulInteger: two neighbours' products at most."""
    a, b = (float(np.abs(call.input(k).astype(int)).max(initial=0)) for k in (0, 1))
    return 2 * a * b


SURE_ARGUMENT = 10.0
"""Of a Sigmoid: up to here it is off by less than a thousandth of itself, and of 1 minus itself."""
NEARLY_NOTHING = 1e-3
"""Of a recurrent operator: where all arguments of a Tanh are below it, its error shows."""


def _has_other_spaces(call: Call) -> bool:
    """Whether a StringSplit by whitespace meets other than " "."""
    texts = "".join(call.first.flat)
    return not call.attribute("delimiter") and any(c.isspace() and c != " " for c in texts)


def _is_ascii(x: np.ndarray) -> bool:
    return all(text.isascii() for text in x.flat)


def _changes_case_beyond_ascii(call: Call) -> bool:
    """Of a StringNormalizer: of texts, or of their copies that are compared with stop words."""
    changes = call.attribute("case_change_action", b"NONE") != b"NONE"
    compares = bool(call.attribute("stopwords")) and not call.attribute("is_case_sensitive")
    return (changes or compares) and not _is_ascii(call.first)


def _has_keys_twice(call: Call) -> bool:
    """Of a LabelEncoder; where the version that counts its bits has NaN among them, too."""
    keys = column("keys", call.attributes)
    return len({*keys.tolist()}) < len(keys) or (keys != keys).any()


OF_ONNXRUNTIME = (
    Disagreement(
        "onnxruntime",
        frozenset({"Det"}),
        "eliminates in float, where most may cancel; docs/numerics.md has our rule",
        lambda c: c.first.dtype != np.float64,
        lambda: call("Det", 11, (1 / (1 + np.add.outer(*[np.arange(8)] * 2))).astype(np.float32)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"StringSplit"}),
        "finds nothing in an empty string, where delimiters are 'deemed to delimit empty strings'",
        lambda c: bool(c.attribute("delimiter")) and "" in c.first,
        lambda: call(
            "StringSplit", 20, strings("", "a,b"), constants=(0,), outputs=2, delimiter=","
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"StringSplit"}),
        "splits at spaces only, where 'consecutive whitespace characters' are a separator",
        _has_other_spaces,
        lambda: call("StringSplit", 20, strings("a\tb"), constants=(0,), outputs=2),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"StringNormalizer"}),
        "changes, and compares, the case of what one character has, and in some locales of ASCII "
        "only",
        _changes_case_beyond_ascii,
        lambda: call(
            "StringNormalizer",
            10,
            strings("straße"),
            constants=(0,),
            case_change_action="UPPER",
            locale="C",
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"ai.onnx.ml::LabelEncoder"}),
        "takes the first of keys that are repeated, where 'the last key takes precedence', and "
        "before opset 4 knows no NaN, where 'even a float NaN can be mapped'",
        _has_keys_twice,
        lambda: call(
            *("LabelEncoder", 4, strings("a")),
            domain="ai.onnx.ml",
            keys_strings=["a", "a"],
            values_int64s=[1, 2],
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"LSTM", "GRU", "RNN"}),
        "computes Tanh with an absolute error, so that of nearly 0 is another number",
        lambda c: any(0 < x < NEARLY_NOTHING for x in _largest_arguments(c)),
        lambda: call(
            "RNN", 14, ones(1, 1, 1), ones(1, 1, 1), ones(1, 1, 1), clip=1e-5, hidden_size=1
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"LSTM", "GRU"}),
        "computes Sigmoid with an absolute error, of arguments cut at 18 or so: what is nearly 0 "
        "or 1 is another number",
        lambda c: max(_largest_arguments(c)) > SURE_ARGUMENT,
        lambda: call(
            "LSTM",
            14,
            ones(1, 1, 1),
            np.array([[[1], [-20], [1], [1]]], np.float32),
            ones(1, 4, 1),
            hidden_size=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"LSTM", "GRU", "RNN"}),
        "takes 0 for the alpha of a ThresholdedRelu where none is given; 'default values are the "
        "same as of corresponding ONNX operators', which is 1",
        lambda c: b"ThresholdedRelu" in c.attribute("activations", ()),
        lambda: call(
            "GRU",
            14,
            ones(1, 1, 1),
            ones(1, 3, 1) * 0.5,
            ones(1, 3, 1),
            activations=["Sigmoid", "ThresholdedRelu"],
            hidden_size=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"LSTM", "GRU", "RNN"}),
        "makes 0 of a Relu of NaN; Relu is max(0, x), and docs/numerics.md has our rule",
        lambda c: b"Relu" in c.attribute("activations", ()) and not is_finite(c),
        lambda: call(
            "RNN",
            14,
            np.full((1, 1, 1), np.nan, np.float32),
            ones(1, 1, 1),
            ones(1, 1, 1),
            activations=["Relu"],
            hidden_size=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Unique"}),
        "orders by <, by which NaN is as any number: one of both is lost",
        lambda c: bool(np.isnan(c.first).any()),
        lambda: call("Unique", 11, np.array([0, np.nan], np.float32), constants=(0,), sorted=0),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Gather"}),
        "copies the first string alone of every part that is gathered",
        lambda c: c.first.dtype == STRING and prod(c.first.shape[c.attribute("axis", 0) :][1:]) > 1,
        lambda: call("Gather", 13, strings("a", "b").reshape(1, 2), np.array([0])),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"DequantizeLinear", f"{DOMAIN}::DequantizeLinear"}),
        "takes the zero point off in int32, which may leave its range; (x - zero_point) * scale is "
        "a number",
        lambda c: any(
            x.dtype == np.int32 and bool((np.abs(x.astype(float)) > 2**30).any()) for x in c.arrays
        ),
        lambda: call(
            "DequantizeLinear",
            13,
            np.array([-(2**31)], np.int32),
            np.array(1, np.float32),
            np.array(5, np.int32),
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"GridSample"}),
        "reflects positions however far out they are, where float does not tell pixels apart; "
        "docs/numerics.md has our rule",
        lambda c: bool((np.abs(c.input(1)) > FURTHEST).any()),
        lambda: call(
            "GridSample",
            20,
            np.array([1, -1, 1] * 3, np.float32).reshape(1, 1, 3, 3),
            np.array([[[[1e10, 0]]]], np.float32),
            mode="nearest",
            padding_mode="reflection",
            align_corners=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"MaxPool", "GlobalMaxPool"}),
        "skips NaN, or takes it for the lowest number; docs/numerics.md has our rule",
        lambda c: bool(np.isnan(c.first).any()),
        lambda: call(
            "MaxPool", 22, np.array([[[1, np.nan, 3]]], np.float32), kernel_shape=[1], strides=[1]
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"MaxPool", "GlobalMaxPool"}),
        "begins at the lowest finite float, which is what it gives for a window of -inf only",
        lambda c: c.first.dtype == np.float32 and bool(np.isneginf(c.first).any()),
        lambda: call("MaxPool", 22, np.array([[[-np.inf, 1]]], np.float32), kernel_shape=[1]),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"MaxPool", "AveragePool"}),
        "forgets dilations when it pads for SAME_*; outputs are ceil(input / stride)",
        lambda c: pads(c) and any(d != 1 for d in c.attribute("dilations", ())),
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
            ones(1, 1, 5),
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
        lambda: call("GroupNormalization", 22, *far_from_zero(), num_groups=2),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"LRN"}),
        "keeps one running sum over the channels: what a large one leaves when it is taken off "
        "again stays in those behind it",
        lambda c: bool((np.abs(c.first) > 100).any()) or c.attribute("bias", 1.0) < 1e-3,
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
        frozenset({"Resize"}),
        "computes coordinates in float, which may come out on the other side of a whole number; "
        "the evaluator computes ours",
        lambda c: c.attribute("mode", b"nearest") == b"nearest" and any(map(_is_uneven, c.arrays)),
        lambda: call(
            "Resize",
            12,
            np.arange(4, dtype=np.float32),
            np.zeros(0, np.float32),
            np.array([0.6], np.float32),
            constants=(1, 2),
            mode="nearest",
            nearest_mode="floor",
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Resize"}),
        "aligns the corners of the output as it is rounded; ONNX's own test "
        "(resize_downsample_scales_linear_align_corners) has the length that scales ask for",
        lambda c: (
            c.attribute("coordinate_transformation_mode") == b"align_corners"
            and _has_fractional_lengths(c)
        ),
        lambda: call(
            "Resize",
            18,
            np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 4),
            np.zeros(0, np.float32),
            np.array([1, 1, 0.6, 0.6], np.float32),
            constants=(1, 2),
            mode="linear",
            coordinate_transformation_mode="align_corners",
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Resize"}),
        "finds no sizes of axes that are counted from the end where it keeps the aspect ratio; "
        "ONNX's shape inference has ours",
        lambda c: (
            any(axis < 0 for axis in c.attribute("axes", ()))
            and c.attribute("keep_aspect_ratio_policy", b"stretch") != b"stretch"
        ),
        lambda: call(
            *("Resize", 20, ones(1, 33, 7), None, None, np.array([14])),
            constants=(3,),
            axes=[-2],
            keep_aspect_ratio_policy="not_smaller",
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Upsample", "Resize"}),
        "multiplies a neighbour of weight 0 all the same: NaN where it is infinite",
        lambda c: not is_finite(c),
        lambda: call(
            "Upsample",
            8,
            np.array([[[1, np.inf, 2, 3]]], np.float32),
            scales=[1.0, 1.0, 2.0],
            mode="linear",
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Sigmoid"}),
        "has an absolute error, and is 0 for arguments below -18 or so of float, -37 of double; "
        "the evaluator computes ours",
        lambda c: bool((c.first.astype(np.float64) < -SURE_ARGUMENT).any()),
        lambda: call("Sigmoid", 13, np.array([-30], np.float32)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Swish"}),
        "multiplies by such a Sigmoid",
        lambda c: bool(
            (c.attribute("alpha", 1.0) * c.first.astype(np.float64) < -SURE_ARGUMENT).any()
        ),
        lambda: call("Swish", 24, np.array([-30], np.float32)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Elu", "Selu", "Celu"}),
        "subtracts 1 of the exponential: of arguments near 0 little is left",
        lambda c: any(x.dtype.kind == "f" for x in c.arrays),
        lambda: call("Selu", 6, np.array([-3.4e-8], np.float32)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Softplus"}),
        "has no kernel for half and double and expands the function body, whose exp overflows",
        lambda c: c.first.dtype != np.float32,
        lambda: call("Softplus", 18, np.array([89], np.float16)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"LSTM", "GRU", "RNN"}),
        "takes the exponential of the large arguments of a Softplus, which overflows",
        lambda c: b"Softplus" in c.attribute("activations", ()) and max(_largest_arguments(c)) > 80,
        lambda: call(
            "RNN",
            14,
            100 * ones(1, 1, 1),
            ones(1, 1, 1),
            ones(1, 1, 1),
            activations=["Softplus"],
            hidden_size=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Sign"}),
        "gives 0 for NaN of half, and NaN for that of float; the evaluator computes ours",
        lambda c: c.first.dtype == np.float16 and has_nan(c),
        lambda: call("Sign", 13, np.array([np.nan], np.float16)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"ArgMax", "ArgMin", "ReduceMax", "ReduceMin", "Hardmax"}),
        "skips NaN unless it comes first; docs/numerics.md has our rule, which is the evaluator's",
        has_nan,
        lambda: call("ReduceMax", 12, np.array([1, np.nan, 2], np.float16)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Softmax", "LogSoftmax"}),
        "skips NaN where it looks for the largest, and gives other numbers than NaN",
        lambda c: not is_finite(c),
        lambda: call("LogSoftmax", 13, np.array([[1, np.nan]])),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"InstanceNormalization"}),
        "takes mean * scale off at the end, NaN where the scale is infinite; the evaluator "
        "computes ours",
        lambda c: not is_finite(c),
        lambda: call(
            "InstanceNormalization",
            6,
            np.arange(4, dtype=np.float32).reshape(1, 1, 4),
            np.array([np.inf], np.float32),
            ones(1),
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset(
            {
                *("ReduceL1", "ReduceL2", "ReduceSum", "ReduceProd", "ReduceSumSquare", "Einsum"),
                *("ReduceLogSum", "ReduceLogSumExp"),
            }
        ),
        "sums integers in a float, which neither holds all nor wraps; the evaluator computes ours",
        lambda c: c.arrays[0].dtype.kind in "iu" and _may_overflow(c),
        lambda: call("ReduceSum", 11, np.array([2**63 - 1, 1])),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"MatMulInteger"}),
        "adds two products of bytes in 16 bits that saturate, on a processor without dot products "
        "of bytes; its own documentation calls for weights of 7 bits there",
        lambda c: _largest_byte_products(c) > 2**15,
        lambda: call(
            "MatMulInteger", 10, np.full((1, 2), 255, np.uint8), np.full((2, 1), 127, np.int8)
        ),
        everywhere=False,
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"NonZero"}),
        "gives shape (1, N) for a scalar; 'for scalar input, NonZero produces output shape (0, N) "
        "instead of (1, N)'",
        lambda c: c.first.ndim == 0,
        lambda: call("NonZero", 13, np.array(0, np.int32)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Squeeze"}),
        "takes an empty list of axes for none; none of them is removed, as the evaluator has it",
        lambda c: c.opset >= 13 and len(c.inputs) > 1 and c.input(1).size == 0,
        lambda: call("Squeeze", 16, ones(5, 1), np.zeros(0, np.int64), constants=(1,)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Dropout"}),
        "gives a mask of False before opset 12, where the specification says nothing of it but "
        "that the output is a copy; the evaluator gives True",
        lambda c: c.opset < 12,
        lambda: call("Dropout", 11, ones(3), outputs=2),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Clip"}),
        "puts the largest finite numbers where no limit is given; the function body of the schema "
        "has no comparison then",
        lambda c: not is_finite(c),
        lambda: call("Clip", 11, np.array([-np.inf], np.float32)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Range"}),
        "adds delta again and again, and the roundings add up; 'output[i] = start + (i * delta)'",
        lambda c: c.arrays[0].dtype == np.float32,
        lambda: call(
            "Range", 11, *(np.array(n, np.float32) for n in (-2, 18, 1e-5)), constants=(0, 1, 2)
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"ReduceMean"}),
        "has 0 for the mean of nothing; docs/numerics.md has our rule, which is the evaluator's",
        lambda c: c.first.size == 0,
        lambda: call("ReduceMean", 14, ones(5, 0)),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"Slice"}),
        "takes the largest integer as an end for the very end of steps backward too; the "
        "specification clamps ends to [-1, dims - 1] there, and has INT_MIN for it",
        lambda c: bool((c.input(4) < 0).any()) and bool((c.input(2) >= 2**31 - 1).any()),
        lambda: call(
            "Slice",
            13,
            ones(3, 2),
            *(np.array([n]) for n in (2**63 - 1, 2**63 - 1, 0, -1)),
            constants=(1, 2, 3, 4),
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"BatchNormalization"}),
        "takes mean * scale / deviation off at the end, NaN where that is infinite",
        lambda c: not is_finite(c) or bool((c.input(4) == 0).any()),
        lambda: call(
            "BatchNormalization",
            9,
            2 * ones(1, 1, 1),
            *(n * ones(1) for n in (1, 0, 1, 0)),
            epsilon=0.0,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"TensorScatter"}),
        "leaves 64 bits where it counts on from a huge index, as the evaluator and we do otherwise",
        lambda c: c.attribute("mode") == b"circular" and bool((c.input(2) > 2**62).any()),
        lambda: call(
            *("TensorScatter", 24, ones(1, 6, 2), 2 * ones(1, 3, 2), np.array([2**63 - 1])),
            mode="circular",
            axis=1,
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"TopK"}),
        "has another order where none is asked for; 'the order of returned values is undefined'",
        lambda c: c.attribute("sorted", 1) == 0,
        lambda: call(
            "TopK", 24, ones(33), np.array([3]), constants=(1,), outputs=2, largest=0, sorted=0
        ),
    ),
)
