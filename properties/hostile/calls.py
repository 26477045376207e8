"""Calls of single operators, at any opset: examples of ours, bent along their schemas."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from itertools import count
from typing import Any, TypeAlias

import numpy as np
from onnx import defs

from engine.ir.types import STRING
from engine.onnx_import.support import OPSET_MAX
from engine.ops import OPERATORS
from engine.ops.spec import Call, OpSpec
from engine.ops.strings import WORDS
from properties.choose import SeededChoose
from properties.dtypes import as_dtype
from properties.hostile.composed import COMPOSED, Composed
from properties.hostile.microsoft import MICROSOFT, outputs_of
from properties.hostile.values import dtype_of, edge_value, value_of
from properties.node_models import node_model

Rng = np.random.Generator
Schema: TypeAlias = defs.OpSchema

LIKE = {"Upsample": "Resize", "Scatter": "ScatterElements", "Dropout": "Identity"}
"""Operators without a spec, and one whose examples suit them."""
AS_ATTRIBUTE = {"constant_value": "value"}
"""Inputs that older opsets have as an attribute under another name."""
OPSETS_OF_WITNESSES = 23
OPSET_OF_OWN = 13
"""From it on models hold onnxruntime's operators."""


def _source(op_type: str) -> OpSpec | Composed | None:
    """What draws examples of an operator, None for one that has none."""
    if op_type in MICROSOFT:
        return MICROSOFT[op_type][1]
    return COMPOSED.get(op_type) or OPERATORS.get(LIKE.get(op_type, op_type))


def _domain(op_type: str) -> str:
    """In which ONNX has an operator."""
    return OPERATORS[op_type].domain if op_type in OPERATORS else ""


@cache
def schemas() -> dict[str, tuple[Schema, ...]]:
    """Every version of every operator with examples of its own or of one like it, by name.

    Names of onnxruntime's operators begin with their domain, `com.microsoft::`.
    """
    found: dict[str, list[Schema]] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == _domain(schema.name) and _source(schema.name) and not schema.deprecated:
            found.setdefault(schema.name, []).append(schema)
    versions = {
        name: tuple(sorted(versions, key=lambda s: s.since_version))
        for name, versions in sorted(found.items())
        if name != "Constant"
    }
    return versions | {name: (schema,) for name, (schema, _) in sorted(MICROSOFT.items())}


@cache
def _ends() -> dict[str, int]:
    """The opset that drops an operator, by name."""
    return {
        schema.name: schema.since_version
        for schema in defs.get_all_schemas_with_history()
        if schema.domain == "" and schema.deprecated
    }


class Drawn:
    """A call on its way into a model.

    Args:
        version: of the operator, as an index; None for any.

    Attributes:
        inputs: arrays, None where omitted. constant_inputs: positions of those that must be known
            before a run. attributes: by name. outputs: how many.
    """

    def __init__(self, rng: Rng, op_type: str, version: int | None = None) -> None:
        self.rng, self.op_type = rng, op_type
        versions = schemas()[op_type]
        which = int(rng.integers(len(versions))) if version is None else version
        self.schema = versions[which]
        ends = _ends().get(op_type, OPSET_MAX + 1)
        later = versions[which + 1].since_version if which + 1 < len(versions) else ends
        newest = min(later - 1, OPSETS_OF_WITNESSES)
        oldest = OPSET_OF_OWN if op_type in MICROSOFT else self.schema.since_version
        self.opset = int(rng.integers(oldest, max(newest, oldest), endpoint=True))
        if self.schema.domain and op_type not in MICROSOFT:
            self.opset = OPSETS_OF_WITNESSES
        source = _source(op_type)
        assert source is not None
        with np.errstate(all="ignore"):
            call = source.example(SeededChoose(int(rng.integers(2**32)), long=False))
        self.constant_inputs = source.constant_inputs
        self.inputs: list[np.ndarray | None] = []
        self.attributes: dict[str, Any] = {}
        self._take(call)
        self.outputs = outputs_of(op_type, call) or self._outputs()

    def chance(self, share: float) -> bool:
        """True that often."""
        return bool(self.rng.random() < share)

    # ------------------------------------------------------------------ from the newest form
    def _take(self, call: Call) -> None:
        """The example as this opset spells it: inputs that were attributes become those again."""
        like = LIKE.get(self.op_type, self.op_type)
        newest = schemas()[like][-1]
        here = [f.name for f in self.schema.inputs]
        formals = [f.name for f in newest.inputs]
        known = self.schema.attributes
        for index, x in enumerate(call.inputs):
            name = formals[min(index, len(formals) - 1)] if formals else ""
            spelled = AS_ATTRIBUTE.get(name, name)
            if name not in here and spelled in known:
                if x is not None:
                    self.attributes[spelled] = x.tolist()
            elif (
                index < self.schema.max_input and (like == self.op_type or name in (*here, ""))
            ) or index == 0:
                self.inputs.append(x)
        for name, value in call.attributes.items():
            if name in known:
                self.attributes[name] = value
        if "classes_strings" in known:  # one table for both directions
            self.attributes["classes_strings"] = strings_of(call)
        if self.op_type == "Gemm" and len(self.inputs) < self.schema.min_input:
            self.inputs.append(self._no_bias())

    def _no_bias(self) -> np.ndarray:
        """C of a Gemm before opset 11, where it must be there: zeros."""
        a, b = (np.asarray(x) for x in self.inputs)
        rows, columns = (self.attributes.get(name, 0) for name in ("transA", "transB"))
        return np.zeros((a.shape[1 if rows else 0], b.shape[0 if columns else 1]), a.dtype)

    def _outputs(self) -> int:
        least, most = self.schema.min_output, self.schema.max_output
        if "num_outputs" in self.attributes:
            return int(self.attributes["num_outputs"])
        if self.op_type == "Split":
            split = self.attributes.get("split") or (
                self.inputs[1] if len(self.inputs) > 1 else None
            )
            return len(split) if split is not None else 2
        return int(self.rng.integers(least, min(most, 3), endpoint=True)) if most > least else least

    # ------------------------------------------------------------------ bent
    def bend(self) -> None:
        """Change attributes, inputs, dtypes, shapes and values, each sometimes."""
        for name, attribute in self.schema.attributes.items():
            if self.chance(0.25):
                self.attributes[name] = value_of(self.rng, attribute, self._rank())
            elif self.chance(0.1):
                self.attributes.pop(name, None)
        for index, x in enumerate(self.inputs):
            if x is not None and self._is_optional(index) and self.chance(0.15):
                self.inputs[index] = None
        while self.inputs and self.inputs[-1] is None:
            self.inputs.pop()
        if self.chance(0.5):
            self._retype()
        if self.chance(0.2):
            self._reshape()
        if self.chance(0.4):
            self._poison()

    def _rank(self) -> int:
        first = self.inputs[0] if self.inputs else None
        return 1 if first is None else first.ndim

    def _is_optional(self, index: int) -> bool:
        formals = self.schema.inputs
        return (
            index < len(formals) and formals[index].option == Schema.FormalParameterOption.Optional
        )

    def _retype(self) -> None:
        """Another dtype for one type variable, wherever it stands."""
        allowed = {c.type_param_str: c.allowed_type_strs for c in self.schema.type_constraints}
        if not allowed or not self.inputs:
            return
        formals = self.schema.inputs
        variable = str(self.rng.choice(sorted(allowed)))
        dtypes = sorted(filter(None, map(dtype_of, allowed[variable])), key=str)
        if not dtypes:
            return
        dtype = dtypes[int(self.rng.integers(len(dtypes)))]
        for index, x in enumerate(self.inputs):
            if x is not None and formals[min(index, len(formals) - 1)].type_str == variable:
                with np.errstate(all="ignore"):
                    self.inputs[index] = as_dtype(x, dtype)

    def _reshape(self) -> None:
        """One input empty, of rank 0, of a rank more, or of another extent."""
        index = int(self.rng.integers(len(self.inputs))) if self.inputs else 0
        x = self.inputs[index] if self.inputs else None
        if x is None:
            return
        how = int(self.rng.integers(5))
        if how == 0 and x.ndim:
            x = x.take([], axis=int(self.rng.integers(x.ndim)))
        elif how == 1 and x.size:
            x = x.reshape(-1)[:1].reshape(())
        elif how == 2:
            x = x[None]
        elif how == 3 and x.ndim:
            axis = int(self.rng.integers(x.ndim))
            x = x.take([0] if x.shape[axis] else [], axis=axis)
        elif x.ndim < 6:
            x = x.reshape(x.shape + (1,) * (6 - x.ndim))
        self.inputs[index] = np.asarray(x)

    def _poison(self) -> None:
        """Values at the edges of a dtype in a few places of one input.

        Of a fused operator no floats: in which order its parts overflow is nobody's promise.
        """
        index = int(self.rng.integers(len(self.inputs))) if self.inputs else 0
        x = self.inputs[index] if self.inputs else None
        if x is None or not x.size or x.dtype == np.bool_:
            return
        if self.op_type in MICROSOFT and x.dtype.kind == "f":
            return
        flat = np.array(x).reshape(-1)
        places = self.rng.integers(flat.size, size=int(self.rng.integers(1, 4)))
        with np.errstate(all="ignore"):
            for place in places:
                flat[place] = edge_value(self.rng, flat.dtype)
        self.inputs[index] = flat.reshape(x.shape)

    # ------------------------------------------------------------------ a model
    def model(
        self, attributes: Mapping[str, Any] | None = None
    ) -> tuple[bytes, dict[str, np.ndarray]]:
        """A serialised model of this one node, and what to feed it.

        Args:
            attributes: instead of the call's own.
        """
        known = self.constant_inputs
        constants = frozenset(
            index
            for index, x in enumerate(self.inputs)
            if x is not None and self.chance(0.9 if index in known else 0.2 if index else 0.05)
        )
        return node_model(
            self.schema,
            self.inputs,
            self.attributes if attributes is None else attributes,
            constants=constants,
            outputs=self.outputs,
            opset=self.opset,
        )


def strings_of(call: Call) -> list[str]:
    """Texts that go in, or some that stand in a table."""
    found = [text for x in call.inputs if x is not None and x.dtype == STRING for text in x.flat]
    return sorted({*found[:4], *WORDS[:3]})


def operator_of(number: int) -> str:
    """Which operator has its turn."""
    names = list(schemas())
    return names[number % len(names)]


def turns_of(op_types: Collection[str]) -> Iterator[int]:
    """Numbers at which one of these operators has its turn, without end.

    Raises:
        ValueError: for an operator of which no calls are drawn.
    """
    if strange := sorted(set(op_types) - set(schemas())):
        raise ValueError(f"no calls of {', '.join(strange)} are drawn")
    return (number for number in count() if operator_of(number) in op_types)


def draw(rng: Rng, number: int) -> tuple[str, bytes, dict[str, np.ndarray]]:
    """What it is in words, a model, and feeds; every operator in turn."""
    drawn = Drawn(rng, operator_of(number))
    if drawn.chance(0.85):
        drawn.bend()
    data, feeds = drawn.model()
    return f"{drawn.op_type} at opset {drawn.opset}", data, feeds
