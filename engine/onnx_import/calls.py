"""What ONNX says of calls of operators that it defines by others, and their bodies do not heed.

Source: https://onnx.ai/onnx/operators/. A body would take the weight of another class for one that
has none.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import FunctionProto, helper

from engine.errors import ModelError
from engine.onnx_import.microsoft.body import ArrayOf, Body, TypeOf
from engine.onnx_import.raw_node import RawNode


def check_call(call: RawNode, type_of: TypeOf, array_of: ArrayOf) -> None:
    """Raise ModelError for a call that fits its schema and is known to contradict ONNX's text."""
    if not call.domain and call.op_type in _CHECKS:
        _CHECKS[call.op_type](Body(call, type_of, array_of))


def _center_crop_pad(body: Body) -> None:
    axes, rank = body.attribute("axes") or (), body.known_rank("input_data")
    normal = [axis % rank for axis in axes if -rank <= axis < rank] if rank else axes
    if rank and len(set(normal)) != len(axes):
        raise ModelError(
            f"{body.title}: axes={list(axes)}, expected different axes of a tensor of rank {rank}"
        )


def _attention(body: Body) -> None:
    mode = body.attribute("qk_matmul_output_mode") or 0
    if not 0 <= mode <= 3:
        raise ModelError(f"{body.title}: qk_matmul_output_mode={mode}, expected 0 to 3")


def _rms_normalization(body: Body) -> None:
    body.axis("X")


def _negative_log_likelihood_loss(body: Body) -> None:
    body.check_shapes(input="n c ...", weight="c")


def _softmax_cross_entropy_loss(body: Body) -> None:
    body.check_shapes(scores="n c ...", weights="c")


_CHECKS: dict[str, Callable[[Body], None]] = {
    "Attention": _attention,
    "CenterCropPad": _center_crop_pad,
    "NegativeLogLikelihoodLoss": _negative_log_likelihood_loss,
    "RMSNormalization": _rms_normalization,
    "SoftmaxCrossEntropyLoss": _softmax_cross_entropy_loss,
}


def with_checks(op_type: str, body: FunctionProto) -> FunctionProto:
    """The body, refusing calls whose shapes are known only when they are bound.

    One weight of each class is what a Reshape to so many makes of the weights.
    """
    readers = [node for node in body.node if "weight" in node.input]
    if op_type != "NegativeLogLikelihoodLoss" or not readers:
        return body
    for node in readers:
        node.input[:] = ["weights" if name == "weight" else name for name in node.input]
    checks = [
        helper.make_node("Constant", [], ["class_axis"], value_ints=[1]),
        helper.make_node("Constant", [], ["class_end"], value_ints=[2]),
        helper.make_node("Shape", ["input"], ["input_shape"]),
        helper.make_node("Slice", ["input_shape", "class_axis", "class_end"], ["classes"]),
        helper.make_node("Reshape", ["weight", "classes"], ["weights"]),
    ]
    nodes = [*checks, *body.node]
    del body.node[:]
    body.node.extend(nodes)
    return body
