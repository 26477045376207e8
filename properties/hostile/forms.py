"""Calls drawn from forms: the shapes of inputs, written as documentation writes them.

A letter is an extent, drawn anew for each call; `3nd` is a product and `p+s` a sum; `|` stands
between shapes of which one is drawn.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, defs, helper

from engine.ops.spec import Call, Choose

Array = np.ndarray
Extents = Mapping[str, int]
EXTENTS: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys("bgnm", (2, 1, 3)),
    **dict.fromkeys("pqrstuv", (3, 1, 5)),
    **dict.fromkeys("acehik", (5, 1, 3, 17)),
    **dict.fromkeys("d", (8, 4, 16)),
    **dict.fromkeys("w", (9, 5)),
}
"""What letters may be, simplest first."""


@dataclass(frozen=True)
class Form:
    """One way in which an operator is called.

    Attributes:
        inputs: `name:shape` of those that are given; `name?:shape` of those given half the time.
        attributes: values of which one is drawn (None: left out), or a function of the extents.
        below: extents that what the inputs of these names hold is less than, as sums of letters.
    """

    inputs: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    below: Mapping[str, str] = field(default_factory=dict)


def extent(letters: str) -> Callable[[Extents], int]:
    """An attribute that is an extent."""
    return lambda extents: _sum(letters, extents)


def of_forms(schema: defs.OpSchema, *forms: Form) -> Callable[[Choose], Call]:
    """Draws a call of one of the forms."""

    def example(choose: Choose) -> Call:
        form = choose.one_of(forms)
        extents = {letter: choose.one_of(values) for letter, values in EXTENTS.items()}
        dtypes = {c.type_param_str: _dtype(choose, c) for c in schema.type_constraints}
        inputs: list[Array | None] = []
        for formal in schema.inputs:
            shape = _shape(choose, form, formal.name)
            dtype = dtypes.get(formal.type_str) or tensor_dtype(formal.type_str)
            inputs.append(
                None
                if shape is None
                else _array(choose, formal.name, _dims(shape, extents), dtype, form, extents)
            )
        while inputs and inputs[-1] is None:
            inputs.pop()
        return Call(tuple(inputs), _attributes(choose, form, extents))

    return example


def tensor_dtype(text: str) -> np.dtype:
    """Of "tensor(float)"."""
    name = text.removeprefix("tensor(").removesuffix(")").upper()
    found: np.dtype = helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(name))
    return found


def _dtype(choose: Choose, constraint: Any) -> np.dtype:
    """The first that is allowed; of bytes, either."""
    names = [str(name) for name in constraint.allowed_type_strs]
    either = [name for name in names if name in ("tensor(uint8)", "tensor(int8)")]
    return tensor_dtype(choose.one_of(either) if names[0] in either else names[0])


def _shape(choose: Choose, form: Form, name: str) -> str | None:
    """None for an input that is left out."""
    given = dict(part.split(":") for part in form.inputs.split())
    optional = given.get(f"{name}?")
    shapes = optional if optional is not None and choose.integer(0, 1) else given.get(name)
    return None if shapes is None else choose.one_of(shapes.split("|"))


def _dims(shape: str, extents: Extents) -> tuple[int, ...]:
    return tuple(_sum(axis, extents) for axis in shape.split(",")) if shape else ()


def _sum(axis: str, extents: Extents) -> int:
    """Of `2nd+ne`."""
    terms = [re.findall(r"\d+|[a-z]", term) for term in axis.split("+")]
    return sum(math.prod(extents.get(f) or int(f) for f in term) for term in terms)


def _array(
    choose: Choose, name: str, dims: tuple[int, ...], dtype: np.dtype, form: Form, extents: Extents
) -> Array:
    if name in form.below:
        return choose.tensor(dims, dtype, 0, _sum(form.below[name], extents) - 1)
    if name.endswith(("scale", "scales")):
        return choose.tensor(dims, dtype, 0.01, 0.1)
    if dtype.kind in "iu":
        limits = np.iinfo(np.int16 if dtype.itemsize > 1 else dtype)
        return choose.tensor(dims, dtype, limits.min, limits.max)
    return choose.tensor(dims, dtype, -2, 2)


def _attributes(choose: Choose, form: Form, extents: Extents) -> dict[str, Any]:
    drawn = {
        name: values(extents) if callable(values) else choose.one_of(values)
        for name, values in form.attributes.items()
    }
    return {name: value for name, value in drawn.items() if value is not None}
