"""What witnesses are asked: a node of a model, and what disagreements look at in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from onnx import helper

from engine.onnx_import.attributes import decode_attribute
from engine.onnx_import.microsoft.schemas import DOMAIN

Array = np.ndarray


def _name_of(node: onnx.NodeProto) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else str(node.op_type)


@lru_cache(1)
def _inlined(data: bytes) -> onnx.ModelProto:
    """Functions of another opset would stay as they are, were it not taken for the model's."""
    model = onnx.load_from_string(data)
    versions = {o.domain: o.version for o in model.opset_import}
    for function in model.functions:
        for imported in function.opset_import:
            imported.version = versions.get(imported.domain, imported.version)
    return onnx.inliner.inline_local_functions(model)


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
        """Of the node, as the attack calls it."""
        return _name_of(self.model.graph.node[self.node])

    @property
    def op_types(self) -> str:
        """Of all nodes, each once."""
        return "+".join(dict.fromkeys(map(_name_of, self.model.graph.node)))

    @property
    def has_own(self) -> bool:
        """Whether there is an operator of onnxruntime's in it."""
        return any(node.domain == DOMAIN for node in self.model.graph.node)

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
    def attributes(self) -> dict[str, Any]:
        """Of the node, as the engine has them."""
        given = self.model.graph.node[self.node].attribute
        return {a.name: decode_attribute(a, a.name) for a in given}

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
    def knows_first(self) -> bool:
        """Whether the first input is no other node's."""
        return self.model.graph.node[self.node].input[0] in self._given

    @property
    def first(self) -> Array:
        """The first input; raises KeyError where another node computes it."""
        return self.input(0)

    @property
    def inputs(self) -> list[Array | None]:
        """Of the node, None where left out; raises KeyError where another node computes one."""
        names = self.model.graph.node[self.node].input
        return [self._given[name] if name else None for name in names]

    def input(self, index: int) -> Array:
        """One input of the node; raises KeyError where it is left out or another node's."""
        names = self.model.graph.node[self.node].input
        return np.asarray(self._given[names[index] if index < len(names) else ""])


@dataclass(frozen=True)
class Disagreement:
    """One reason.

    Attributes:
        reason: what the witness does, and what settles it.
        applies: whether it explains a call. shown: a call that shows it.
        everywhere: False where it depends on the processor, so that the call may not show it.
    """

    witness: str
    op_types: frozenset[str]
    reason: str
    applies: Callable[[Call], bool]
    shown: Callable[[], Call]
    everywhere: bool = True


def call(
    op_type: str,
    opset: int,
    *inputs: Array | None,
    constants: tuple[int, ...] = (),
    outputs: int = 1,
    domain: str = "",
    **attributes: Any,
) -> Call:
    """A model of one node with inputs x0, x1..., fed but for the constants; None is left out.

    Args:
        op_type: of onnxruntime's operators with their domain, `com.microsoft::`.
        opset: of the domain; for onnxruntime's operators, of ONNX.
    """
    results = ["y", "z", "w"][:outputs]
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    given = {name: x for name, x in zip(names, inputs) if x is not None}
    feeds = {name: x for name, x in given.items() if int(name[1:]) not in constants}
    own, _, name = op_type.rpartition("::")
    graph = helper.make_graph(
        [helper.make_node(name, names, results, domain=own or domain, **attributes)],
        "call",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for n, x in feeds.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in results],
        [onnx.numpy_helper.from_array(given[names[i]], names[i]) for i in constants],
    )
    imports = [helper.make_opsetid(domain, opset)]
    if own:
        imports.append(helper.make_opsetid(own, 1))
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return Call(model.SerializeToString(), feeds)


def cast_to(call: Call) -> np.dtype | None:
    """What a Cast makes; None where its attribute is absurd."""
    kind = call.attribute("to")
    try:
        found: np.dtype = helper.tensor_dtype_to_np_dtype(kind)
        return found
    except (KeyError, TypeError, ValueError):
        return None


def is_finite(call: Call) -> bool:
    """Whether no float that goes in is infinite or NaN."""
    return all(np.isfinite(x).all() for x in call.arrays if x.dtype.kind == "f")


def has_nan(call: Call) -> bool:
    """Whether a float that goes in is none."""
    return any(np.isnan(x).any() for x in call.arrays if x.dtype.kind == "f")


def pads(call: Call) -> bool:
    """Whether a window may reach beyond the tensor."""
    return any(call.attribute("pads", ())) or call.attribute("auto_pad", b"").startswith(b"SAME")


def has_large_integers(call: Call) -> bool:
    """Some whose products may leave 32 bits, or what a double holds."""
    wide = [x.astype(float) for x in call.arrays if x.dtype.kind in "iu"]
    return any((np.abs(x) > 2**12).any() for x in wide)


def has_factors_out_of_range(call: Call) -> bool:
    """Whether a Gemm of integers has a factor that is none: docs/numerics.md has our rule."""
    factors = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    kind = call.first.dtype.kind
    return kind in "iu" and (max(map(abs, factors)) > 2**12 or (kind == "u" and min(factors) < 0))


def squares_leave_the_range(x: Array, dtype: np.dtype, axis: int = -1) -> bool:
    """Whether the mean of the squares from an axis on is another number in a dtype."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    with np.errstate(all="ignore"):
        mean = np.square(x.astype(dtype)).mean(axes)
        expected = np.square(x.astype(np.longdouble)).mean(axes)
        return not np.allclose(mean, expected, rtol=0.1, atol=0, equal_nan=True)


def ones(*shape: int) -> Array:
    """Of float32."""
    return np.ones(shape, np.float32)


EXPANDED = (
    "expands the function body, which takes the variance as E[x^2] - E[x]^2: far from zero that is "
    "off, and NaN where it comes out negative"
)


def far_from_zero() -> tuple[Array, Array, Array]:
    """x, scale and bias of a normalization, where E[x^2] - E[x]^2 loses all."""
    x = 1000 + np.linspace(0, 0.01, 16, dtype=np.float32).reshape(1, 2, 8)
    return x, ones(2), 0 * ones(2)
