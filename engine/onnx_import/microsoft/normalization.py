"""Normalizations of the last axes, also of a sum of tensors that is given out with them."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from engine.onnx_import.microsoft.body import Body


def simplified_layer_normalization(body: Body) -> None:
    """By the root of the mean square; inv_std_var is its reciprocal, in float as in ONNX."""
    axis, epsilon = body.axis("X"), body.attribute("epsilon")
    body.of("RMSNormalization", "X", "scale", into="Y", axis=axis, epsilon=epsilon, stash_type=1)
    if body.wanted("inv_std_var"):
        _inverse_root(body, "X", axis)


def skip_layer_normalization(body: Body) -> None:
    """LayerNormalization of input + skip + bias."""
    x = _sum(body)
    body.check_shapes(beta="h")
    statistics = [name if body.wanted(name) else "" for name in ("mean", "inv_std_var")]
    body.node(
        "LayerNormalization",
        (x, "gamma", "beta"),
        ["output", *statistics],
        axis=-1,
        epsilon=body.attribute("epsilon"),
    )


def skip_simplified(body: Body) -> None:
    """The same by the root of the mean square alone."""
    x = _sum(body)
    epsilon = body.attribute("epsilon")
    body.of("RMSNormalization", x, "gamma", into="output", axis=-1, epsilon=epsilon)
    if body.wanted("inv_std_var"):
        _inverse_root(body, x, -1)


def embed_layer_normalization(body: Body) -> None:
    """Of the sum of what words, positions and segments are embedded as; and the ones of masks."""
    body.only("mask_index_type", None, 0, 1)  # of mask_index there is this one form
    body.check_together("segment_ids", "segment_embedding")
    body.check_shapes(input_ids="b s", segment_ids="b s", position_ids="b? s", mask="b s")
    body.check_shapes(word_embedding="* h", position_embedding="* h", segment_embedding="* h")
    body.check_shapes(gamma="h", beta="h")
    x = body.of("Gather", "word_embedding", "input_ids")
    if body.given("position_ids"):
        positions = body.of("Gather", "position_embedding", "position_ids")
    else:
        count = body.of("Shape", "input_ids", start=1, end=2)
        positions = body.of("Slice", "position_embedding", body.integers(0), count)
    x = body.of("Add", x, positions)
    if body.given("segment_ids"):
        x = body.of("Add", x, body.of("Gather", "segment_embedding", "segment_ids"))
    if body.wanted("embedding_sum"):
        body.of("Identity", x, into="embedding_sum")
    epsilon = body.attribute("epsilon")
    body.of("LayerNormalization", x, "gamma", "beta", into="output", axis=-1, epsilon=epsilon)
    if body.wanted("mask_index"):
        mask = "mask" if body.given("mask") else body.of("Sub", "input_ids", "input_ids")
        ones = body.of("Equal", mask, body.constant(np.array(1, np.int32)))
        ones = body.of("Cast", ones, to=TensorProto.INT32)
        body.of("ReduceSum", ones, body.integers(1), into="mask_index", keepdims=0)
    elif body.given("mask"):
        body.ignore("mask")


def _sum(body: Body) -> str:
    """input + skip + bias, which may be wanted as an output."""
    body.check_shapes(input="b s h | s h", skip="b? s h | s h", gamma="h", bias="h")
    terms = ["input", "skip", *(["bias"] if body.given("bias") else [])]
    into = "input_skip_bias_sum" if body.wanted("input_skip_bias_sum") else ""
    if len(terms) > 2:
        terms[:2] = [body.of("Add", *terms[:2])]
    return body.of("Add", *terms, into=into)


def _inverse_root(body: Body, x: str, axis: int) -> None:
    """1 / sqrt(mean square + epsilon) of the axes from one on."""
    wide = body.of("Cast", x, to=TensorProto.FLOAT)
    stop = 0 if axis < 0 else body.rank("X")
    squares = body.of("Mul", wide, wide)
    mean = body.of("ReduceMean", squares, body.integers(*range(axis, stop)), keepdims=1)
    epsilon = body.constant(np.array(body.attribute("epsilon"), np.float32))
    root = body.of("Sqrt", body.of("Add", mean, epsilon))
    body.of("Reciprocal", root, into="inv_std_var")
