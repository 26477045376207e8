"""Faults of meaning: what reference and all backends read alike, and wrongly.

They are planted where a node comes in, so no comparison between ours can notice; only engines that
are not ours do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.onnx_import import build
from engine.onnx_import.form import Emitter, Form
from engine.ops.spec import Arrays, Attributes, Reference
from properties.fault import Bench, Fault, attribute, only_where, spec
from properties.memory import Violation
from properties.witnessed.features import features, versions
from properties.witnessed.main import is_wrong, reason
from properties.witnessed.walk import Walk

Change = Callable[[Form], None]


def _read_as(op_type: str, change: Change) -> Callable[[], Any]:
    """Every node of that operator comes in changed."""

    def changed(old: Callable[[Form, Emitter], None]) -> Callable[[Form, Emitter], None]:
        def to_newest(form: Form, emitter: Emitter) -> None:
            if form.op_type == op_type:
                change(form)
            old(form, emitter)

        return to_newest

    return only_where(attribute(build, "to_newest", changed), f"import {op_type}")


def _unread(name: str) -> Change:
    return lambda form: form.attributes.pop(name, None)


def _as(op_type: str) -> Change:
    def change(form: Form) -> None:
        form.op_type = op_type

    return change


def _swapped(one: str, other: str) -> Change:
    def change(form: Form) -> None:
        given = form.attributes
        values = {other: given.pop(one, None), one: given.pop(other, None)}
        given.update({name: value for name, value in values.items() if value is not None})

    return change


def _inverted(name: str, default: int) -> Change:
    def change(form: Form) -> None:
        form.attributes[name] = 1 - int(form.attributes.get(name, default))

    return change


def _backwards(form: Form) -> None:
    form.inputs.reverse()


def _without_last_input(form: Form) -> None:
    if len(form.inputs) > 2:
        form.inputs.pop()


def witnessed(op_type: str, *, every: bool = False) -> Callable[[Bench], None]:
    """Every feature of an operator as it is now (`every`: ever was), beside other engines."""

    def hunt(where: Bench) -> None:
        walk = Walk(where.cpu.backend)
        for version in versions(op_type) if every else versions(op_type)[-1:]:
            for feature in features(op_type, version):
                where.step()
                heard = walk.hear(feature)
                if is_wrong(feature, heard):
                    raise Violation(f"{feature} is {heard.verdict}: {reason(feature, heard)}")

    return hunt


MISREADINGS: dict[str, tuple[str, Change]] = {
    "leaky-relu-ignores-alpha": ("LeakyRelu", _unread("alpha")),
    "hard-sigmoid-ignores-beta": ("HardSigmoid", _unread("beta")),
    "average-pool-never-counts-padding": ("AveragePool", _unread("count_include_pad")),
    "softmax-ignores-its-axis": ("Softmax", _unread("axis")),
    "resize-ignores-nearest-mode": ("Resize", _unread("nearest_mode")),
    "depth-to-space-knows-one-mode": ("DepthToSpace", _unread("mode")),
    "arg-max-takes-the-first-of-equals": ("ArgMax", _unread("select_last_index")),
    "layer-norm-ignores-epsilon": ("LayerNormalization", _unread("epsilon")),
    "gemm-ignores-beta": ("Gemm", _unread("beta")),
    "reduce-sum-always-reduces": ("ReduceSum", _unread("noop_with_empty_axes")),
    "cumsum-confuses-its-switches": ("CumSum", _swapped("exclusive", "reverse")),
    "trilu-keeps-the-other-triangle": ("Trilu", _inverted("upper", 1)),
    "gru-resets-the-other-way": ("GRU", _inverted("linear_before_reset", 0)),
    "sub-is-taken-backwards": ("Sub", _backwards),
    "greater-includes-equal": ("Greater", _as("GreaterOrEqual")),
    "layer-norm-forgets-its-bias": ("LayerNormalization", _without_last_input),
}
"""Name -> the operator that is read otherwise, and how."""


def _by_signed_indices(old: Reference) -> Reference:
    def reference(inputs: Arrays, attributes: Attributes) -> tuple[np.ndarray, ...]:
        indices, *others = inputs
        return old((indices.astype(np.int64), *others), attributes)

    return reference


MEANING_FAULTS: tuple[Fault, ...] = (
    *(
        Fault(name, "meaning", _read_as(op_type, change), witnessed(op_type))
        for name, (op_type, change) in MISREADINGS.items()
    ),
    Fault(
        "one-hot-takes-unsigned-indices-for-signed",
        "meaning",
        spec("OneHot", reference=_by_signed_indices),
        witnessed("OneHot"),
    ),
)
