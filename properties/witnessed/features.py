"""Features: what a call of an operator may have that others of it have not, from ONNX's schemas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from onnx import defs, helper

from engine.ir.types import ALL_DTYPES, STRING, dtype_name
from engine.onnx_import.opsets import HINTS
from engine.onnx_import.switches import SWITCHES
from engine.ops import OPERATORS
from properties.dtypes import as_dtype
from properties.hostile.calls import LIKE, OPSETS_OF_WITNESSES, Drawn, schemas
from properties.hostile.values import STRINGS, dtype_of, value_of

Rng = np.random.Generator
Schema = defs.OpSchema
PER_AXIS = {"pads": 1, "strides": 2, "dilations": 2}
"""Attributes of windows with an entry for each axis, and an entry that changes something."""
ANY = "another value"
"""Of an attribute whose values cannot be listed: any but the default."""


@dataclass(frozen=True, order=True)
class Feature:
    """One of them.

    Attributes:
        version: of the operator, as an index.
        kind: "example", "attribute", "given", "omitted" or "dtype".
        name: of the attribute, input or type parameter.
        value: of the attribute, as text; of a dtype, its name.
    """

    op_type: str
    version: int
    kind: str
    name: str = ""
    value: str = ""

    def __str__(self) -> str:
        schema = schemas()[self.op_type][self.version]
        return f"{self.op_type}-{schema.since_version}: {self._what}"

    @property
    def _what(self) -> str:
        if self.kind == "example":
            return "examples"
        if self.kind == "attribute":
            return f"{self.name}={self.value}"
        if self.kind == "dtype":
            return f"{self.name} of {self.value}"
        return f"{'with' if self.kind == 'given' else 'without'} {self.name}"


def versions(op_type: str) -> range:
    """Indices of the versions of an operator that the witnesses know, of all if they know none."""
    since = [schema.since_version for schema in schemas()[op_type]]
    return range(sum(v <= OPSETS_OF_WITNESSES for v in since) or len(since))


def features(op_type: str, version: int) -> Iterator[Feature]:
    """All of a version of an operator, each value of an enumeration apart."""
    schema = schemas()[op_type][version]
    made = partial(Feature, op_type, version)
    spec = OPERATORS.get(op_type) or OPERATORS[LIKE[op_type]]
    yield made("example")
    for name, attribute in sorted(schema.attributes.items()):
        if name not in spec.ignores and name not in HINTS:
            for value in values_of(schema, attribute):
                yield made("attribute", name, value)
    for formal in schema.inputs:
        if formal.option == Schema.FormalParameterOption.Optional:
            yield made("given", formal.name)
            yield made("omitted", formal.name)
    used = {formal.type_str for formal in schema.inputs}
    for constraint in schema.type_constraints:
        if constraint.type_param_str in used:
            for dtype in filter(None, map(dtype_of, sorted(constraint.allowed_type_strs))):
                if dtype in ALL_DTYPES | {STRING}:
                    yield made("dtype", constraint.type_param_str, dtype_name(dtype))


def values_of(schema: defs.OpSchema, attribute: defs.OpSchema.Attribute) -> Iterator[str]:
    """All but the default, where the text of the schema lists them; else ANY."""
    name, default = attribute.name, default_of(attribute)
    if attribute.type.name == "STRING" and name in STRINGS:
        text = f"{schema.doc} {attribute.description}"
        yield from (value for value in STRINGS[name] if value != default and value in text)
    elif name in SWITCHES:
        yield from (str(value) for value in (0, 1) if value != (default or 0))
    else:
        yield ANY


def default_of(attribute: defs.OpSchema.Attribute) -> Any:
    """The value of an attribute that is left out, None where there is none."""
    if not attribute.default_value.name:
        return None
    value = helper.get_attribute_value(attribute.default_value)
    return value.decode() if isinstance(value, bytes) else value


def give(drawn: Drawn, feature: Feature) -> None:
    """Change a call so that it has a feature, where that is possible."""
    if feature.kind == "attribute" and feature.value == ANY:
        _give_another_value(drawn, feature)
    elif feature.kind == "attribute":
        _give_value(drawn, feature)
    elif feature.kind == "omitted":
        _omit(drawn, feature.name)
    elif feature.kind == "dtype":
        _retype(drawn, feature)


def _give_value(drawn: Drawn, feature: Feature) -> None:
    is_text = drawn.schema.attributes[feature.name].type.name == "STRING"
    drawn.attributes[feature.name] = feature.value if is_text else int(feature.value)
    if feature.name == "auto_pad":
        drawn.attributes.pop("pads", None)  # "cannot be used simultaneously"
    if feature.name == "broadcast":
        _repeat(drawn, axis=-1)


def _give_another_value(drawn: Drawn, feature: Feature) -> None:
    known, name = drawn.schema.attributes, feature.name
    if name == "axis" and "broadcast" in known:
        drawn.attributes["broadcast"] = 1
        _repeat(drawn, drawn.attributes.setdefault("axis", int(drawn.rng.integers(3))))
    elif name in PER_AXIS and "kernel_shape" in known:
        drawn.attributes[name] = _per_axis(drawn, name)
    elif not has(drawn, feature):
        rank = 1 if not drawn.inputs or drawn.inputs[0] is None else drawn.inputs[0].ndim
        drawn.attributes[name] = value_of(drawn.rng, known[name], rank)


def _omit(drawn: Drawn, name: str) -> None:
    index = [formal.name for formal in drawn.schema.inputs].index(name)
    if index < len(drawn.inputs):
        drawn.inputs[index] = None
    while drawn.inputs and drawn.inputs[-1] is None:
        drawn.inputs.pop()


def _retype(drawn: Drawn, feature: Feature) -> None:
    with np.errstate(all="ignore"):
        for index, x in enumerate(drawn.inputs):
            if x is not None and _type_of(drawn, index) == feature.name:
                dtype = STRING if feature.value == "string" else np.dtype(feature.value)
                drawn.inputs[index] = as_dtype(x, dtype)


def _per_axis(drawn: Drawn, name: str) -> list[int]:
    """The same for every spatial axis, in step with the kernel."""
    x = drawn.inputs[0]
    axes = len(drawn.attributes.get("kernel_shape", ())) or (0 if x is None else x.ndim - 2)
    drawn.attributes.pop("auto_pad", None)
    return [PER_AXIS[name]] * (2 * axes if name == "pads" else axes)


def _repeat(drawn: Drawn, axis: int) -> None:
    """Give the last input the extent of one axis of the first, as opsets before 7 broadcast."""
    first, last = drawn.inputs[0], drawn.inputs[-1]
    if first is not None and last is not None and first.size and last.size and first.ndim > axis:
        count = first.shape[axis] if first.ndim and drawn.op_type != "Gemm" else 1
        drawn.inputs[-1] = np.resize(last, count)


def has(drawn: Drawn, feature: Feature) -> bool:
    """Whether a call has it."""
    if feature.kind == "attribute":
        value = drawn.attributes.get(feature.name)
        default = default_of(drawn.schema.attributes[feature.name])
        if feature.value == ANY:
            return value is not None and repr(value) != repr(default)
        return str(value) == feature.value
    if feature.kind in ("given", "omitted"):
        index = [formal.name for formal in drawn.schema.inputs].index(feature.name)
        is_given = index < len(drawn.inputs) and drawn.inputs[index] is not None
        return is_given == (feature.kind == "given")
    if feature.kind == "dtype":
        return any(
            _type_of(drawn, i) == feature.name and dtype_name(x.dtype) == feature.value
            for i, x in enumerate(drawn.inputs)
            if x is not None
        )
    return True


def _type_of(drawn: Drawn, index: int) -> str:
    formals = drawn.schema.inputs
    return str(formals[min(index, len(formals) - 1)].type_str)
