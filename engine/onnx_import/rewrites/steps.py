"""Steps: short ways to write the nodes that an operator is taken apart into."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from engine.errors import ModelError, UnsupportedError
from engine.ir.graph import Value
from engine.ir.types import dtype_name
from engine.onnx_import.form import Emitter, Form


class Steps:
    """Writes the nodes before the one that is rewritten."""

    def __init__(self, form: Form, emitter: Emitter) -> None:
        self.form, self.emitter = form, emitter

    def of(self, op_type: str, *inputs: Value | None, **attributes: Any) -> Value:
        """One node."""
        return self.emitter.emit(op_type, list(inputs), attributes)

    def cast(self, value: Value, to: int) -> Value:
        """A Cast."""
        return self.of("Cast", value, to=to)

    def integers(self, name: str, *numbers: int) -> Value:
        """A constant vector; raises ModelError where attributes come to more than 64 bits."""
        if any(not -(2**63) <= n < 2**63 for n in numbers):
            raise ModelError(f"{self.form.title}: {name} of {numbers} do not fit into 64 bits")
        name = f"{self.form.outputs[0]}_{name}"
        return self.emitter.constant(name, np.array(numbers, np.int64))

    def like(self, name: str, number: float, value: Value | None) -> Value:
        """A constant number of a value's dtype."""
        dtype = self.emitter.dtype(value) or np.dtype(np.float32)
        return self.emitter.constant(f"{self.form.outputs[0]}_{name}", np.array(number, dtype))

    def range(self, end: Value, step: Value | None = None) -> Value:
        """0 up to below `end`, `step` (1) apart; both are one number in a vector."""
        first, one = (
            self.emitter.constant(f"{self.form.outputs[0]}_{n}", np.array(n, np.int64))
            for n in (0, 1)
        )
        apart = one if step is None else self.of("Squeeze", step)
        return self.of("Range", first, self.of("Squeeze", end), apart)

    def part(self, vector: Value | None, start: int, stop: int) -> Value:
        """Some of its elements."""
        return self.of("Slice", vector, self.integers("start", start), self.integers("stop", stop))

    def beside(self, vector: Value, axis: int, rank: int) -> Value:
        """A vector along one axis of `rank`."""
        others = (i for i in range(rank) if i != axis)
        return self.of("Unsqueeze", vector, self.integers("others", *others))

    def rank(self, value: Value | None, what: str) -> int:
        """A rank that must be known."""
        rank = self.emitter.rank(value)
        if rank is None:
            title = self.form.title
            raise UnsupportedError(f"{title}: the rank of {what} is not known at import")
        return rank

    def extent(self, value: Value | None, axis: int) -> int | None:
        """Of an axis, where it is known."""
        shape = () if value is None or value.type is None else value.type.shape
        found = shape[axis] if -len(shape) <= axis < len(shape) else None
        return found if isinstance(found, int) else None

    def is_one(self, value: Value) -> bool:
        """Whether it is one number, also in a vector."""
        known = value.type is not None and value.type.shape == (1,)
        return known or self.emitter.rank(value) == 0

    def scalar(self, value: Value) -> Value:
        """One number in a vector as a scalar, anything else as it is."""
        is_vector = value.type is not None and value.type.shape == (1,)
        return self.of("Squeeze", value) if is_vector else value

    def check(
        self, what: str, value: Value | None, allowed: Collection[np.dtype]
    ) -> np.dtype | None:
        """The dtype, where it is known; raises ModelError unless it is allowed."""
        dtype = self.emitter.dtype(value)
        if value is None or dtype is None or dtype in allowed:
            return dtype
        names = ", ".join(sorted(dtype_name(d) for d in allowed))
        raise ModelError(f"{self.form.title}: {what} is {dtype_name(dtype)}, expected {names}")

    def along(
        self, value: Value | None, axis: int, rank: int, extent: int | None = None
    ) -> Value | None:
        """A vector along one axis of `rank`; scalars, and what has all axes, stay as they are.

        Args:
            extent: of the axis, where it is known.
        """
        if value is None or self.is_one(value) or self.rank(value, "a parameter") == rank > 1:
            return value
        if self.emitter.rank(value) != 1:
            raise ModelError(f"{self.form.title}: a parameter is no number, vector or whole tensor")
        if not -rank <= axis < rank:
            raise ModelError(f"{self.form.title}: axis={axis} is outside a tensor of rank {rank}")
        if extent is not None and self.extent(value, 0) not in (None, 1, extent):
            raise ModelError(
                f"{self.form.title}: a parameter has {self.extent(value, 0)} elements for an axis "
                f"of {extent}"
            )
        dims = [1] * rank
        dims[axis] = -1
        return self.of("Reshape", value, self.integers("dims", *dims))
