"""Misreadings of onnxruntime's operators: their bodies are written wrongly, and only it knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from onnx import FunctionProto, NodeProto

from engine.onnx_import import definitions
from engine.onnx_import.microsoft import attention, grouped_attention, quantization
from engine.onnx_import.microsoft.body import Body
from engine.onnx_import.microsoft.schemas import DOMAIN
from properties.fault import Bench, Fault, FaultError, attribute, only_where
from properties.hostile.witnesses import Court
from properties.witnessed.microsoft import check_beside_onnxruntime

Change = Callable[[NodeProto], None]
TRIED = 60
"""Calls of an operator until a fault has survived."""


def beside_onnxruntime(op_type: str) -> Callable[[Bench], None]:
    """Valid calls of one of its operators, beside its own kernel."""

    def hunt(where: Bench) -> None:
        court = Court(lambda who: None)
        for seed in range(TRIED):
            where.step()
            check_beside_onnxruntime(op_type, seed, court, where.cpu.backend)

    return hunt


def _in_body(op_type: str, change: Callable[[FunctionProto], None]) -> Callable[[], Any]:
    """Every body of that operator is changed."""

    def changed(old: Callable[..., FunctionProto]) -> Callable[..., FunctionProto]:
        def body_of(call: Any, *known: Any) -> FunctionProto:
            body = old(call, *known)
            if call.op_type == op_type and call.domain == DOMAIN:
                change(body)
            return body

        return body_of

    return only_where(attribute(definitions, "body_of", changed), f"body {op_type}")


def _each(part: str, change: Change) -> Callable[[FunctionProto], None]:
    """Each node of one operator in it."""

    def on(body: FunctionProto) -> None:
        for node in body.node:
            if node.op_type == part:
                change(node)

    return on


def _becomes(op_type: str) -> Change:
    def change(node: NodeProto) -> None:
        node.op_type = op_type

    return change


def _reads(position: int, name: str) -> Change:
    def change(node: NodeProto) -> None:
        node.input[position] = name

    return change


def _inverts(name: str) -> Change:
    def change(node: NodeProto) -> None:
        (switch,) = (a for a in node.attribute if a.name == name)
        switch.i = 1 - switch.i

    return change


def _loses(name: str) -> Change:
    def change(node: NodeProto) -> None:
        kept = [a for a in node.attribute if a.name != name]
        del node.attribute[:]
        node.attribute.extend(kept)

    return change


def _turns_round(node: NodeProto) -> None:
    names = list(node.input)
    del node.input[:]
    node.input.extend(reversed(names))


def _adds_last(body: FunctionProto) -> None:
    """What was added before the activation is added after it."""
    first = next(node for node in body.node if node.op_type == "Add")
    last = body.node[-1]
    if first is last:
        raise FaultError("nothing follows what is added")
    (result,), (summed,) = last.output, first.output
    last.input[0], first.input[0] = first.input[0], f"{result}_activated"
    last.output[0], first.output[0] = f"{result}_activated", result
    others = [node for node in body.node if node.output[0] not in (result, f"{result}_activated")]
    moved = [NodeProto.FromString(n.SerializeToString()) for n in (*others, last, first)]
    del body.node[:]
    body.node.extend(moved)
    assert not any(summed in node.input for node in moved), "read by the activation alone"


def _heads_lie_last(old: Any) -> Any:
    """(b, s, d n) instead of (b, s, n d)."""

    def heads(body: Body, x: str) -> str:
        split = body.of("Reshape", x, body.integers(0, 0, -1, body.count("num_heads")))
        return body.of("Transpose", split, perm=[0, 3, 1, 2])

    return heads


def _groups_take_turns(old: Any) -> Any:
    """Query k reads keys k modulo m, not k over n / m."""

    def attended(body: Body, query: str, *others: str) -> str:
        n, m = body.attribute("num_heads"), body.attribute("kv_num_heads")
        order = np.arange(n).reshape(n // m, m).T.reshape(-1)
        mixed = body.of("Gather", query, body.integers(*order), axis=1)
        back = body.integers(*np.argsort(order))
        return body.of("Gather", old(body, mixed, *others), back, axis=1)

    return attended


def _misreadings() -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Name of the fault, operator, and what plants it."""
    for name, op_type, part, change in (
        ("mask-includes-the-end", "Attention", "Less", _becomes("LessOrEqual")),
        ("scale-is-the-usual-one", "MultiHeadAttention", "Attention", _loses("scale")),
        (
            "rotary-pairs-the-other-way",
            "RotaryEmbedding",
            "RotaryEmbedding",
            _inverts("interleaved"),
        ),
        ("window-is-one-longer", "GroupQueryAttention", "Greater", _becomes("GreaterOrEqual")),
        ("query-sees-no-key-of-its-own", "GroupQueryAttention", "LessOrEqual", _becomes("Less")),
        ("nibbles-are-high-first", "MatMulNBits", "Concat", _turns_round),
        ("zero-point-is-that-of-a", "QLinearAdd", "DequantizeLinear", _reads(2, "A_zero_point")),
        ("scale-is-that-of-x", "QLinearLeakyRelu", "QuantizeLinear", _reads(1, "X_scale")),
        ("gemm-forgets-beta", "FusedGemm", "Gemm", _loses("beta")),
        ("gelu-is-the-exact-one", "FastGelu", "Gelu", _loses("approximate")),
        ("ignores-epsilon", "EmbedLayerNormalization", "LayerNormalization", _loses("epsilon")),
    ):
        yield name, op_type, _in_body(op_type, _each(part, change))
    for name, op_type in (("bias-follows-gelu", "BiasGelu"), ("z-follows-activation", "FusedConv")):
        yield name, op_type, _in_body(op_type, _adds_last)
    for name, op_type, owner, part, fault in (
        ("heads-lie-last", "Attention", attention, "_heads", _heads_lie_last),
        (
            "groups-take-turns",
            "GroupQueryAttention",
            grouped_attention,
            "_attended",
            _groups_take_turns,
        ),
        ("axis-is-the-first", "DequantizeLinear", quantization, "AXIS", lambda old: 0),
        ("filter-is-mild", "MultiHeadAttention", attention, "FILTER", lambda old: -1.0),
    ):
        yield name, op_type, attribute(owner, part, fault)


def _spelled(op_type: str) -> str:
    """`microsoft-bias-gelu`."""
    return "microsoft-" + re.sub(r"(?<=[a-z])(?=[A-Z])", "-", op_type).lower()


MICROSOFT_FAULTS: tuple[Fault, ...] = tuple(
    Fault(f"{_spelled(op_type)}-{name}", "meaning", plant, beside_onnxruntime(op_type))
    for name, op_type, plant in _misreadings()
)
