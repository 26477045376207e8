"""Body: writes the ONNX nodes by which one call of an operator is defined.

Values have the names that they have in the operator's schema, so a body reads like its formula.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, NoReturn

import numpy as np
from onnx import FunctionProto, NodeProto, TypeProto, defs, helper, numpy_helper

from engine.errors import ModelError, UnsupportedError
from engine.onnx_import.attributes import check_finite, decode_attribute, schema_of
from engine.onnx_import.microsoft.shapes import Dims, Letters
from engine.onnx_import.raw_node import RawNode
from engine.onnx_import.switches import check_switches
from engine.onnx_import.tensors import DTYPES

OPSET = min(24, defs.onnx_opset_version())
"""Of the nodes in bodies."""

TypeOf = Callable[[str], TypeProto | None]
"""What is known of a value's type; None where its dtype is not."""
ArrayOf = Callable[[str], np.ndarray | None]
"""The array of a value that is constant; None of another."""
VARIADIC = defs.OpSchema.FormalParameterOption.Variadic


class Body:
    """The body of one call, while it is written.

    Args:
        type_of, array_of: of the values that the call is given.

    Attributes:
        title: of the call, for errors.
    """

    def __init__(self, call: RawNode, type_of: TypeOf, array_of: ArrayOf) -> None:
        schema = schema_of(call.op_type, call.opset, call.domain)
        assert schema is not None, "a call that was checked"
        self.title = call.title
        self._schema, self._type_of, self._array_of = schema, type_of, array_of
        self._inputs = _by_name(schema.inputs, call.inputs)
        self._outputs = _by_name(schema.outputs, call.outputs)
        self._attributes = {
            name: decode_attribute(a, f"{call.title}: attribute '{name}'")
            for name, a in call.attributes.items()
        }
        check_finite(call.title, self._attributes)
        check_switches(call.title, self._attributes)
        self._read: set[str] = set()
        self._ignored: set[str] = set()
        self._nodes: list[NodeProto] = []
        self._made: Counter[str] = Counter()
        self._letters = Letters()

    # ----------------------------------------------------------------- the call
    def given(self, name: str) -> bool:
        """Whether the call has that input."""
        return self._inputs[name] != ""

    def wanted(self, name: str) -> bool:
        """Whether the call has that output."""
        return self._outputs[name] != ""

    def attribute(self, name: str) -> Any:
        """Its value, or the default; None where it has neither."""
        self._read.add(name)
        if name in self._attributes:
            return self._attributes[name]
        default = self._schema.attributes[name].default_value
        return decode_attribute(default, self.title) if default.name else None

    def attributes(self, *names: str) -> dict[str, Any]:
        """Those of them that have a value."""
        found = {name: self.attribute(name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def count(self, name: str) -> int:
        """The value of an attribute that counts something; raises ModelError below 1."""
        value = int(self.attribute(name))
        if value < 1:
            raise ModelError(f"{self.title}: {name}={value}, expected 1 or more")
        return value

    def only(self, name: str, *values: Any) -> None:
        """Raise UnsupportedError for an attribute of another value."""
        value = self.attribute(name)
        if value not in values:
            raise UnsupportedError(
                f"{self.title}: {name}={value!r} is not supported, only {values[-1]!r}"
            )

    def axis(self, name: str) -> int:
        """The value of `axis`; raises ModelError where an input is known to have no such axis."""
        axis, rank = int(self.attribute("axis")), self.known_rank(name)
        if rank is not None and not -rank <= axis < rank:
            raise ModelError(f"{self.title}: axis={axis} is no axis of a tensor of rank {rank}")
        return axis

    def known_rank(self, name: str) -> int | None:
        """The rank of an input, None where it is not known at import."""
        dims = self._known_dims(name)
        return None if dims is None else len(dims)

    def rank(self, name: str) -> int:
        """The rank of an input, which must be known."""
        return len(self.dims(name))

    def dims(self, name: str) -> list[int | None]:
        """The dimensions of an input of known rank; None where one is not known at import."""
        dims = self._known_dims(name)
        if dims is None:
            raise UnsupportedError(
                f"{self.title}: the rank of input '{name}' is not known at import"
            )
        return dims

    def check_shapes(self, **shapes: str) -> None:
        """Raise ModelError for inputs that are known to have other shapes, as `shapes` writes them.

        Letters are the same in all calls. What is left out or not known at import is passed over.
        """
        for name, shape in shapes.items():
            dims = self._known_dims(name)
            if dims is not None and not self._letters.fit(shape, dims):
                self._refuse_shape(name, dims, self._letters.shown(shape))

    def extent(self, letters: str) -> int | None:
        """What letters of shapes that were checked add up to; None where that is not known."""
        return self._letters.extent(letters)

    def check_single(self, *names: str) -> None:
        """Raise ModelError for inputs that are known not to be one number."""
        for name in names:
            dims = self._known_dims(name) or []
            if any(dim not in (None, 1) for dim in dims):
                self._refuse_shape(name, dims, "one number")

    def check_range(self, name: str, least: int, most: int) -> None:
        """Raise ModelError for an input that is constant and has a number outside."""
        array = self.array(name)
        if array is not None and not ((array >= least) & (array <= most)).all():
            raise ModelError(
                f"{self.title}: input '{name}' is {array.tolist()}, expected {least} to {most}"
            )

    def ignore(self, name: str) -> None:
        """Take note that an input has no effect in this call."""
        self._ignored.add(name)

    def check_together(self, *names: str) -> None:
        """Raise ModelError where some of the inputs are given and others are not."""
        if len({self.given(name) for name in names}) > 1:
            raise ModelError(
                f"{self.title}: {' and '.join(names)} are given together or not at all"
            )

    def array(self, name: str) -> np.ndarray | None:
        """The value of an input, None where it is not constant."""
        return self._array_of(self._inputs[name])

    def all_of(self, name: str) -> list[str]:
        """The names of what a variadic input is given."""
        return [given for given in self._inputs if given.startswith(f"{name}_")]

    def dtype(self, name: str) -> np.dtype:
        """The dtype of an input, which must be known."""
        known = self._type_of(self._inputs[name])
        if known is None:
            raise UnsupportedError(
                f"{self.title}: the dtype of input '{name}' is not known at import"
            )
        return DTYPES[known.tensor_type.elem_type]

    def _known_dims(self, name: str) -> list[int | None] | None:
        """None for an input that is left out, or whose rank is not known."""
        known = self._type_of(self._inputs[name]) if self.given(name) else None
        if known is None or not known.tensor_type.HasField("shape"):
            return None
        dims = known.tensor_type.shape.dim
        return [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]

    def _refuse_shape(self, name: str, dims: Dims, expected: str) -> NoReturn:
        got = ", ".join("?" if dim is None else str(dim) for dim in dims)
        raise ModelError(f"{self.title}: input '{name}' has shape ({got}), expected {expected}")

    # ----------------------------------------------------------------- what it is made of
    def of(self, op_type: str, *inputs: str, into: str = "", **attributes: Any) -> str:
        """Write a node; returns its output, which is that of the call named `into`, if given."""
        self._made[op_type] += 1
        output = into or f"{op_type}_{self._made[op_type]}"
        self.node(op_type, inputs, [output], **attributes)
        return output

    def node(
        self, op_type: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> None:
        """The same of a node of several outputs, whose names are given; "" is omitted."""
        node = helper.make_node(op_type, inputs, outputs)
        schema = defs.get_schema(op_type, OPSET)
        for name, value in attributes.items():
            kind = schema.attributes[name].type.value if value in ([], ()) else None
            node.attribute.append(helper.make_attribute(name, value, attr_type=kind))
        self._nodes.append(node)

    def constant(self, array: np.ndarray) -> str:
        """A constant."""
        return self.of("Constant", value=numpy_helper.from_array(array))

    def integers(self, *numbers: int) -> str:
        """A constant vector: a shape, or axes."""
        return self.constant(np.array(numbers, np.int64))

    def number(self, number: float, like: str) -> str:
        """A constant of an input's dtype."""
        return self.constant(np.array(number, self.dtype(like)))

    # ----------------------------------------------------------------- the whole
    def finished(self) -> FunctionProto:
        """The body; raises UnsupportedError for what the call has and the body does not heed."""
        read = self._ignored.union(*(node.input for node in self._nodes))
        written = {name for node in self._nodes for name in node.output}
        for what, given, heeded in (
            ("input", self._inputs, read),
            ("output", self._outputs, written),
            ("attribute", self._unlike_default(), self._read),
        ):
            for name, value in given.items():
                if value != "" and name not in heeded:
                    raise UnsupportedError(f"{self.title}: {what} '{name}' is not supported")
        imports = [helper.make_opsetid("", OPSET)]
        return helper.make_function(
            "", self._schema.name, list(self._inputs), list(self._outputs), self._nodes, imports
        )

    def _unlike_default(self) -> dict[str, Any]:
        """Attributes that say something."""
        schema = self._schema.attributes
        defaults = {
            name: decode_attribute(schema[name].default_value, self.title)
            for name in self._attributes
            if schema[name].default_value.name
        }
        return {
            name: repr(value)
            for name, value in self._attributes.items()
            if name not in defaults or value != defaults[name]
        }


def _by_name(formals: Sequence[Any], given: Sequence[str]) -> dict[str, str]:
    """What each parameter is given; a variadic one is as many as there are: `name_0` and so on."""
    names = [formal.name for formal in formals]
    if formals[-1].option == VARIADIC:
        names[-1:] = [f"{names[-1]}_{i}" for i in range(len(given) - len(names) + 1)]
    return dict(zip_longest(names, given, fillvalue=""))
