"""Where onnx's reference evaluator is known to read ONNX differently, and why."""

from __future__ import annotations

from io import BytesIO

import ml_dtypes
import numpy as np
from onnx import numpy_helper

from engine.ir.types import FLOAT8E8M0, FLOATS8, NARROW_FLOATS, STRING
from engine.ops.image_decoder import opened, portable
from engine.ops.strings import strings
from properties.hostile.asked import (
    EXPANDED,
    Call,
    Disagreement,
    call,
    cast_to,
    far_from_zero,
    has_factors_out_of_range,
    has_large_integers,
    has_nan,
    is_finite,
    ones,
    pads,
    squares_leave_the_range,
)

SUMMING = frozenset(
    {
        *("InstanceNormalization", "LayerNormalization", "GroupNormalization", "CumSum", "LRN"),
        *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceSum"),
        *("ReduceSumSquare", "AveragePool", "GlobalAveragePool", "Softmax", "LogSoftmax"),
        *("MatMul", "Gemm", "Conv", "ConvTranspose", "Mean", "Sum", "Attention"),
    }
)
"""Operators that add many terms."""


def _loses_its_second(pair: np.ndarray) -> bool:
    """Whether off + (on - off) is not on."""
    if pair.dtype.kind != "f" or pair.size != 2:
        return False
    off, on = pair.reshape(-1)
    with np.errstate(all="ignore"):
        return bool(pair.dtype == np.float16 or off + (on - off) != on)


def _indices_are_floats(call: Call) -> bool:
    """Also where another node computes them, so that nothing is known of them."""
    try:
        return call.first.dtype.kind == "f"
    except KeyError:
        return True


RECURRENT = frozenset({"LSTM", "GRU", "RNN"})


def _is_more_than_it_knows(call: Call) -> bool:
    """Of a recurrent operator."""
    inputs = call.model.graph.node[call.node].input
    has_lengths = len(inputs) > 4 and bool(inputs[4])
    names = ("activations", "clip", "input_forget")
    return has_lengths or any(call.attribute(name) is not None for name in names)


def _is_rounded_on_the_way(call: Call) -> bool:
    """Whether a number is cast to a narrow one that float does not hold."""
    wide = call.first.dtype == np.float64 or call.first.dtype.kind in "iu"
    return cast_to(call) in NARROW_FLOATS and wide


def _takes_along_the_first_axis(call: Call) -> bool:
    """Whether a Unique is not along that one; without an axis, it is along all of them."""
    axis, rank = call.attribute("axis"), call.first.ndim
    return rank != 1 if axis is None else axis % rank != 0


def _doubles_beyond_the_range(call: Call) -> bool:
    """Whether twice the sum of all that a DFT takes leaves the range of its dtype."""
    dtype = call.first.dtype
    return bool(2 * np.abs(call.first.astype(np.float64)).sum() > np.finfo(dtype).max)


def _overhangs(call: Call) -> bool:
    """Whether the last window of an axis, rounded up, ends two elements or more after it."""
    lengths, kernel = call.first.shape[2:], call.attribute("kernel_shape")
    ones = [1] * len(kernel)
    strides, dilations = call.attribute("strides", ones), call.attribute("dilations", ones)
    return any(
        ((k - 1) * d + 1 - n) % s > 1 for n, k, s, d in zip(lengths, kernel, strides, dilations)
    )


def _repeats_a_causal_row(call: Call) -> bool:
    """Whether an Attention is causal and its mask has one row for many queries."""
    mask = (*call.inputs, *[None] * 4)[3]
    is_causal = call.attribute("is_causal", 0) == 1
    return is_causal and mask is not None and mask.shape[-2:-1] in ((), (1,))


def _has_three_bands(stream: np.ndarray) -> bool:
    """Whether an image is one of red, green and blue."""
    from PIL import Image

    if opened(stream, "RGB") is None:
        return False
    return bool(Image.open(BytesIO(stream.tobytes())).mode == "RGB")


OF_THE_EVALUATOR = (
    Disagreement(
        "evaluator",
        RECURRENT,
        "knows no sequence_lens, no clip, no input_forget, and of activations a part: 'TODO: "
        "support overridden attributes'; onnxruntime computes ours",
        _is_more_than_it_knows,
        lambda: call("RNN", 14, ones(1, 1, 1), ones(1, 1, 1), ones(1, 1, 1), clip=0.25),
    ),
    Disagreement(
        "evaluator",
        RECURRENT,
        "rounds sums and states of half to half; docs/numerics.md has our rule",
        lambda c: c.first.dtype == np.float16,
        lambda: call(
            "RNN",
            14,
            np.array([[[1024, 0.5]]], np.float16),
            np.ones((1, 1, 2), np.float16),
            np.zeros((1, 1, 1), np.float16),
            np.array([[-1024, 0]], np.float16),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Cast"}),
        "rounds twice, first to float; ONNX rounds to nearest, ties to even",
        _is_rounded_on_the_way,
        lambda: call("Cast", 21, np.array([1 + 2.0**-4 + 2.0**-40]), to=17),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Cast"}),
        "makes NaN of infinities and the smallest number of 0 whatever saturate says, and takes "
        "subnormal numbers for normal ones; ONNX has a table",
        lambda c: cast_to(c) == FLOAT8E8M0,
        lambda: call("Cast", 24, np.array([0, np.inf], np.float32), to=24, saturate=0),
    ),
    Disagreement(
        "evaluator",
        frozenset({"RMSNormalization"}),
        "takes squares in half, which leave its range, whatever stash_type says",
        lambda c: squares_leave_the_range(c.first, c.first.dtype, c.attribute("axis", -1)),
        lambda: call("RMSNormalization", 23, np.array([400, 1], "f2"), np.ones(2, "f2")),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Unique"}),
        "sorts whatever `sorted` says where one output alone is asked for",
        lambda c: c.attribute("sorted", 1) == 0 and len(c.model.graph.node[c.node].output) == 1,
        lambda: call("Unique", 11, np.array([2, 1], np.float32), sorted=0),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Unique"}),
        "takes elements along axis 0, whichever is asked for, where they stay unsorted",
        lambda c: c.attribute("sorted", 1) == 0 and _takes_along_the_first_axis(c),
        lambda: call("Unique", 11, ones(2, 1), constants=(0,), sorted=0, axis=1, outputs=2),
    ),
    Disagreement(
        "evaluator",
        frozenset({"DFT"}),
        "divides by the length after it has added up what leaves the range",
        lambda c: c.attribute("inverse", 0) == 1 and _doubles_beyond_the_range(c),
        lambda: call("DFT", 20, np.full((1, 4, 2), 2e38, np.float32), inverse=1, onesided=1),
    ),
    Disagreement(
        "evaluator",
        frozenset({"RandomNormalLike", "RandomUniformLike"}),
        "draws other numbers without a seed, as every engine does",
        lambda c: c.attribute("seed") is None,
        lambda: call("RandomNormalLike", 22, ones(8, 8)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"RandomNormalLike", "RandomUniformLike"}),
        "rounds numbers to half before it scales and moves them; docs/numerics.md has our rule",
        lambda c: c.attribute("dtype", 0) == 10 or c.first.dtype == np.float16,
        lambda: call(
            "RandomUniformLike", 22, np.ones((32, 15), np.float16), seed=366.0, low=-1.0, high=0.5
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"GlobalMaxPool"}),
        "reduces other axes than the spatial ones of maps that are not 2-D; the output keeps the "
        "rank of the input ('the first two dimensions of output shape are the same as the input')",
        lambda c: c.first.ndim != 4,
        lambda: call("GlobalMaxPool", 22, ones(1, 3, 5)),
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
        lambda c: not is_finite(c),
        lambda: call("AveragePool", 10, np.array([[[1, np.nan, 2]]], np.float32), kernel_shape=[2]),
    ),
    Disagreement(
        "evaluator",
        frozenset({"AveragePool"}),
        "counts the padding before opset 7, where the sum 'is divided by the number of elements "
        "exclude pad'",
        lambda c: c.opset < 7 and pads(c),
        lambda: call("AveragePool", 1, ones(1, 1, 4), kernel_shape=[2], pads=[1, 0]),
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
        lambda c: not is_finite(c),
        lambda: call("PRelu", 16, np.zeros(1, np.float32), np.array([np.inf], np.float32)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"PRelu"}),
        "lets the slope widen the output, and takes a vector for the last axis; it is broadcast to "
        "the input, before opset 7 one number for each channel",
        lambda c: (
            c.model.opset_import[0].version < 7
            or np.broadcast_shapes(*(x.shape for x in c.arrays)) != c.first.shape
        ),
        lambda: call("PRelu", 6, -ones(2, 3, 1), ones(3)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Conv"}),
        "stuffs a dilated kernel with zeros and multiplies by those too: NaN where no tap is",
        lambda c: any(d != 1 for d in c.attribute("dilations", ())) and not is_finite(c),
        lambda: call(
            "Conv",
            11,
            np.array([[[1, np.inf, 2]]], np.float32),
            ones(1, 1, 2),
            dilations=[2],
        ),
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
        lambda c: not is_finite(c),
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
            "ConvTranspose", 11, ones(1, 1, 5), ones(1, 1, 2), auto_pad="VALID", pads=[0, 1]
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MaxPool"}),
        "gives 0 where a window lies wholly in the padding, whose elements are -inf",
        lambda c: pads(c) and any(d != 1 for d in c.attribute("dilations", ())),
        lambda: call(
            "MaxPool",
            22,
            -ones(1, 1, 2),
            kernel_shape=[2],
            strides=[2],
            dilations=[4],
            auto_pad="SAME_UPPER",
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"OneHot"}),
        "compares indices that are no integers as they are; ONNX casts them to int64",
        _indices_are_floats,
        lambda: call(
            "OneHot", 11, np.array([0.5], np.float32), np.array(2), np.arange(2.0), constants=(1, 2)
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"AveragePool"}),
        "moves the windows of ceil_mode beside uneven padding; onnxruntime computes ours",
        lambda c: pads(c) and c.attribute("ceil_mode", 0) == 1,
        lambda: call(
            "AveragePool",
            10,
            np.arange(8.0).reshape(1, 1, 8),
            kernel_shape=[5],
            strides=[3],
            pads=[4, 0],
            ceil_mode=1,
            count_include_pad=1,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"AveragePool"}),
        "moves all windows where ceil_mode lets the last reach two elements over the end or more, "
        "as if that were padding to be halved; onnxruntime computes ours",
        lambda c: c.attribute("ceil_mode", 0) == 1 and _overhangs(c),
        lambda: call(
            "AveragePool",
            22,
            np.arange(7, dtype=np.float32).reshape(1, 1, 7),
            kernel_shape=[2],
            strides=[3],
            dilations=[2],
            ceil_mode=1,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MaxPool"}),
        "takes padding for another axis, and loses it with ceil_mode; onnxruntime computes ours",
        pads,
        lambda: call("MaxPool", 12, ones(1, 1, 7), kernel_shape=[2], pads=[1, 1], ceil_mode=1),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MaxPool"}),
        "counts indices from the first element of each image, with its padding; ONNX says of all "
        "of x, without padding; onnxruntime computes ours",
        lambda c: len(c.model.graph.node[c.node].output) == 2,
        lambda: call(
            "MaxPool",
            22,
            np.arange(6, dtype=np.float32).reshape(1, 2, 3),
            kernel_shape=[2],
            outputs=2,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MaxPool"}),
        "skips NaN but for one that comes first; docs/numerics.md has our rule",
        lambda c: bool(np.isnan(c.first).any()),
        lambda: call("MaxPool", 8, np.array([[[1, np.nan, 3]]], np.float32), kernel_shape=[3]),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Clip"}),
        "lets a limit that is NaN make everything NaN; the function body of the schema compares, "
        "and no comparison with NaN holds",
        lambda c: any(np.isnan(limit).any() for limit in c.limits),
        lambda: call("Clip", 13, ones(2), np.array(np.nan, np.float32)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Clip"}),
        "broadcasts a limit that is a vector of one number, and a scalar becomes one; the output "
        "has the input's shape",
        lambda c: any(np.ndim(limit) > 0 for limit in c.limits),
        lambda: call("Clip", 12, np.array(3, np.int16), ones(1).astype(np.int16)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Shape"}),
        "takes end < -rank as Python does; the specification clamps it to [0, r]",
        lambda c: c.attribute("end", 0) < -c.first.ndim,
        lambda: call("Shape", 15, ones(7, 8), end=-3),
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
        lambda: call("Gemm", 6, *[ones(2, 2)] * 3, beta=3.0),
    ),
    Disagreement(
        "evaluator",
        frozenset({*("Add", "Sub", "Mul", "Div", "And", "Or", "Xor", "Equal", "Greater", "Less")}),
        "knows NumPy's broadcasting only; before opset 7, `axis` says where the axes of B begin",
        lambda c: c.opset < 7 and c.attribute("axis") is not None,
        lambda: call("Add", 6, 0 * ones(2, 2), np.array([1, 2], np.float32), axis=0, broadcast=1),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Gemm"}),
        "multiplies integers by alpha as doubles, which hold no int64 beyond 2**53, and casts "
        "what is out of range as the processor does; T is one type",
        lambda c: has_large_integers(c) or has_factors_out_of_range(c),
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
        lambda: call("LRN", 13, 100 * ones(1, 4, 1, 1), size=2),
    ),
    Disagreement(
        "evaluator",
        frozenset({"LRN"}),
        "takes a power of 0.5 as a square root, whose sign is that of -0; a power of -0 is +0",
        lambda c: c.attribute("beta") == 0.5 and c.attribute("bias") == 0,
        lambda: call("LRN", 13, ones(1, 1, 1, 1), size=1, alpha=-0.0, beta=0.5, bias=-0.0),
    ),
    Disagreement(
        "evaluator",
        frozenset({"LRN"}),
        "normalises only as many channels as there are batch entries",
        lambda c: c.first.ndim > 1 and c.first.shape[0] < c.first.shape[1],
        lambda: call("LRN", 13, 100 * ones(1, 4, 1, 1), size=3),
    ),
    Disagreement(
        "evaluator",
        frozenset({"GroupNormalization"}),
        EXPANDED,
        lambda c: True,
        lambda: call("GroupNormalization", 22, *far_from_zero(), num_groups=2),
    ),
    Disagreement(
        "evaluator",
        frozenset({"OneHot"}),
        "rounds a depth that is no integer up; 'it will be casted to int64 before use'",
        lambda c: bool(np.any(c.input(1) % 1)),
        lambda: call(
            "OneHot", 11, np.array([0]), np.array(1.5), np.array([0, 1]), constants=(1,), axis=0
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"InstanceNormalization"}),
        "multiplies by the scale before it divides by the deviation, which may leave the range on "
        "the way",
        lambda c: any(bool((np.abs(x.astype(float)) > 1e36).any()) for x in c.arrays),
        lambda: call(
            "InstanceNormalization",
            17,
            np.array([[[-100, 0, 100]]], np.float32),
            np.array([1e37], np.float32),
            np.zeros(1, np.float32),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"OneHot"}),
        "adds off + hot * (on - off), which rounds, and is NaN where a value is not finite",
        lambda c: not is_finite(c) or any(map(_loses_its_second, c.arrays)),
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
        frozenset({"LogSoftmax"}),
        "takes the logarithm of a softmax that may be 0; onnxruntime computes ours",
        lambda c: not is_finite(c) or bool(np.ptp(c.first.astype(np.float64)) > 10),
        lambda: call("LogSoftmax", 13, np.array([[0, 1000]], np.float32)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Gelu"}),
        "rounds erf to half: of 1 + erf little is left where that is nearly -1",
        lambda c: c.first.dtype == np.float16,
        lambda: call("Gelu", 20, np.array([-2.86], np.float16)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Attention"}),
        "takes every query for the first where it is causal and the mask has one row for all; "
        "ONNX's own definition counts the queries",
        _repeats_a_causal_row,
        lambda: call(
            "Attention",
            23,
            *(ones(1, 1, 2, 1), ones(1, 1, 2, 1)),
            np.array([[[[0], [1]]]], np.float32),
            np.zeros((1, 2), np.float32),
            is_causal=1,
        ),
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
        frozenset({"RoiAlign"}),
        "shifts regions by half a pixel before opset 16 too, which brought that in; onnxruntime "
        "computes ours",
        lambda c: c.opset < 16,
        lambda: call(
            "RoiAlign",
            10,
            np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3),
            np.array([[0, 0, 2, 2]], np.float32),
            np.array([0]),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"RoiAlign"}),
        "takes the largest by Python's max, which drops NaN unless it comes first",
        lambda c: c.attribute("mode") == b"max" and not is_finite(c),
        lambda: call(
            "RoiAlign",
            22,
            np.array([0] * 11 + [np.inf] + [0] * 16, np.float32).reshape(1, 1, 7, 4),
            np.array([[11, 11, 12, 12]], np.float32),
            np.array([0]),
            mode="max",
            output_height=2,
            output_width=4,
            spatial_scale=0.3,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"DeformConv"}),
        "interpolates half in half, and adds up in half",
        lambda c: c.first.dtype == np.float16,
        lambda: call(
            "DeformConv",
            19,
            np.resize(np.array([1000, -1000], np.float16), (1, 1, 2, 100)),
            np.ones((1, 1, 1, 1), np.float16),
            np.full((1, 2, 2, 100), 0.3, np.float16),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"BitCast"}),
        "keeps the byte of a boolean constant that is neither 0 nor 1",
        lambda c: bool(c.first.dtype == np.bool_ and (c.first.view(np.uint8) > 1).any()),
        lambda: call(
            "BitCast", 26, np.array([0, 1, 4], np.uint8).view(np.bool_), constants=(0,), to=2
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"GridSample"}),
        "interpolates half in half, and rounds positions of doubles to float",
        lambda c: c.first.dtype != np.float32,
        lambda: call(
            "GridSample",
            20,
            np.array([1000, -1000] * 50, np.float16).reshape(1, 1, 1, -1),
            np.array([[[[0.8, 0]]]], np.float16),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"GridSample"}),
        "moves a position beyond the border to it before its cubic taps are; docs/numerics.md has "
        "our rule",
        lambda c: (
            c.attributes.get("mode") == "cubic" and c.attributes.get("padding_mode") == "border"
        ),
        lambda: call(
            "GridSample",
            20,
            np.array([1, 2, 4, 8], np.float32).reshape(1, 1, 1, 4),
            np.array([[[[1.5, 0]]]], np.float32),
            mode="cubic",
            padding_mode="border",
            align_corners=1,
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
            ones(1, 1, 1, 1),
            np.zeros(0, np.float32),
            np.array([1, 1, 1, 4], np.float32),
            constants=(1, 2),
            mode="nearest",
            nearest_mode="ceil",
            exclude_outside=1,
        ),
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
            *[ones(2)] * 4,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Unsqueeze"}),
        "inserts axes one after another as they come, and counts negative ones from the end "
        "reached by then; they are axes of the output, in any order",
        lambda c: (
            bool(axes := [*c.attribute("axes", ())]) and (axes != sorted(axes) or min(axes) < 0)
        ),
        lambda: call("Unsqueeze", 4, ones(3, 1, 4), axes=[-1, -3, 4]),
    ),
    Disagreement(
        "evaluator",
        frozenset({"QuantizeLinear"}),
        "adds no zero point of an 8-bit float; 'the quantization formula remains the same for "
        "consistency'",
        lambda c: c.input(2).dtype in FLOATS8 and bool(c.input(2).astype(np.float32).any()),
        lambda: call(
            "QuantizeLinear",
            21,
            ones(1),
            np.array(1, np.float32),
            np.array(1, np.float32).astype(ml_dtypes.float8_e4m3fn),
            constants=(1, 2),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"NonMaxSuppression"}),
        "orders scores by <, by which NaN is as any number; docs/numerics.md has our rule",
        has_nan,
        lambda: call(
            "NonMaxSuppression",
            10,
            np.array([[[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]]], np.float32),
            np.array([[[np.inf, np.nan, 1]]], np.float32),
            np.array([2]),
            np.array([0.5], np.float32),
            constants=(0, 1, 2, 3),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ReduceLogSumExp"}),
        "takes the largest element off, NaN where that is infinite; the sum of exp(-inf) is 0",
        lambda c: not is_finite(c),
        lambda: call(
            "ReduceLogSumExp", 18, np.array([[-np.inf], [1]]), np.array([1]), constants=(1,)
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"CumProd"}),
        "multiplies in half, which overflows on the way",
        lambda c: c.first.dtype == np.float16,
        lambda: call(
            "CumProd", 26, np.array([300, 300, 0], np.float16), np.array(0), constants=(1,)
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"StringNormalizer"}),
        "strips accents, drops empty strings and takes stop words out of sentences, where the text "
        "'removes elements specified in \"stopwords\"'",
        lambda c: not all(text.isascii() and text and " " not in text for text in c.first.flat),
        lambda: call(
            "StringNormalizer", 10, strings("é", "", "a b"), constants=(0,), stopwords=["a"]
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"StringNormalizer"}),
        "heeds the case of stop words unless it changes that of all",
        lambda c: bool(c.attribute("stopwords")) and not c.attribute("is_case_sensitive"),
        lambda: call("StringNormalizer", 10, strings("A", "b"), constants=(0,), stopwords=["a"]),
    ),
    Disagreement(
        "evaluator",
        frozenset({"RegexFullMatch"}),
        "matches by Python's re, whose classes and words are Unicode's; 'RE2 regex syntax is used'",
        lambda c: not all(text.isascii() for text in c.first.flat),
        lambda: call("RegexFullMatch", 20, strings("é"), pattern=r"\w"),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Pad"}),
        "pads strings with '0', where the default is 'empty string'",
        lambda c: c.first.dtype == STRING and c.attribute("mode", b"constant") == b"constant",
        lambda: call("Pad", 13, strings("a"), np.array([1, 0]), constants=(1,)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"StringSplit"}),
        "leaves whitespace at the end where maxsplit ends the splitting, although 'trailing "
        "whitespace is removed'",
        lambda c: c.attribute("maxsplit", -1) >= 0 and any(t != t.rstrip() for t in c.first.flat),
        lambda: call("StringSplit", 20, strings("a b "), constants=(0,), outputs=2, maxsplit=0),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ai.onnx.ml::LabelEncoder"}),
        "takes no default_tensor beside values that are a list; 'the type of the default_* "
        "attribute must match the values_* attribute', and it does",
        lambda c: (
            c.attribute("default_tensor") is not None and c.attribute("values_tensor") is None
        ),
        lambda: call(
            *("LabelEncoder", 4, strings("b")),
            domain="ai.onnx.ml",
            keys_strings=["a"],
            values_int64s=[1],
            default_tensor=numpy_helper.from_array(np.array([3])),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ai.onnx.ml::LabelEncoder"}),
        "knows no NaN among the keys",
        lambda c: c.first.dtype.kind == "f" and bool(np.isnan(c.first).any()),
        lambda: call(
            *("LabelEncoder", 2, np.array([np.nan], np.float32)),
            domain="ai.onnx.ml",
            keys_floats=[np.nan],
            values_int64s=[1],
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"TfIdfVectorizer"}),
        "gives weights to places in the result, where 'the i-th element in weights is the weight "
        "of the i-th n-gram in pool'",
        lambda c: len(c.attribute("weights", ())) > 0,
        lambda: call(
            *("TfIdfVectorizer", 9, np.array([7, 8, 8], np.int64)),
            pool_int64s=[7, 8],
            ngram_counts=[0],
            ngram_indexes=[1, 0],
            weights=[1.0, 3.0],
            mode="TFIDF",
            min_gram_length=1,
            max_gram_length=1,
            max_skip_count=0,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MaxPool"}),
        "counts indices anew in each map; 'the values in indices are in "
        "[0, N x C x D1 x ... x Dn)'",
        lambda c: len(c.model.graph.node[c.node].output) > 1,
        lambda: call("MaxPool", 12, ones(1, 2, 2, 2), kernel_shape=[2, 2], outputs=2),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Slice"}),
        "finds nothing in steps backward from before the first element, as Python does; the "
        "specification clamps starts to [0, dims - 1] there",
        lambda c: bool((c.input(4) < 0).any() and (c.input(1) < -min(c.first.shape)).any()),
        lambda: call(
            "Slice",
            13,
            ones(3, 2),
            *(np.array([n]) for n in (-9, -9, 0, -1)),
            constants=(1, 2, 3, 4),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"LpNormalization"}),
        "takes no absolute values for p = 1, divides by a sum that may be 0, and sums in half",
        lambda c: c.attribute("p", 2) == 1 or c.first.dtype == np.float16,
        lambda: call("LpNormalization", 18, np.array([[3, -1]], np.float32), p=1),
    ),
    Disagreement(
        "evaluator",
        frozenset({"RegexFullMatch"}),
        "has Python's classes, in which letters of all alphabets are words; those of RE2 are ASCII",
        lambda c: b"\\" in c.attribute("pattern") and not all(t.isascii() for t in c.first.flat),
        lambda: call("RegexFullMatch", 20, strings("é"), pattern=r"\w"),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Unique"}),
        "orders by <, by which NaN is as any number",
        has_nan,
        lambda: call(
            *("Unique", 11, np.array([[0, 1], [np.nan, 0], [-1, 0]], np.float32)),
            constants=(0,),
            axis=0,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"GridSample"}),
        "has no rule for positions that are NaN; docs/numerics.md has ours",
        lambda c: not np.isfinite(c.input(1).astype(np.float64)).all(),
        lambda: call(
            *("GridSample", 23, 1 + ones(1, 1, 4), np.array([[[np.nan]]], np.float32)),
            mode="nearest",
            align_corners=1,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"MelWeightMatrix"}),
        "computes bins of frequencies in half, where they are given so",
        lambda c: any(x.dtype == np.float16 for x in c.arrays),
        lambda: call(
            "MelWeightMatrix",
            18,
            *(np.array(n) for n in (6, 33, 8192)),
            *(np.array(n, np.float16) for n in (0, 3500)),
            constants=(0, 1, 2, 3, 4),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ImageDecoder"}),
        "leaves pixels as the file has them: gray ones of rank 2, places in a palette; 'decoded "
        "images follow a channel-last layout: (Height, Width, Channels)'",
        lambda c: not _has_three_bands(c.first),
        lambda: call("ImageDecoder", 20, portable(np.zeros((2, 3), np.uint8)), constants=(0,)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"RMSNormalization"}),
        "gives the dtype of X, where 'Y' is of 'V', which is that of scale",
        lambda c: c.first.dtype != c.input(1).dtype,
        lambda: call("RMSNormalization", 23, ones(2), ones(2).astype(np.float16)),
    ),
)
