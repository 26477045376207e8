"""Inputs: ways in which what a session computes on gets there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

from engine import arguments, heap
from engine.arrays import AnyArray, AnyArrayLike, ArrayLike, shape_of, value_of
from engine.errors import InputError
from engine.execution.plans import find
from engine.ir.graph import Value
from engine.session.shapes import Resizable
from engine.tensor import Tensor


class Writable(Resizable):
    """What has inputs to be written; a value that decides shapes resizes it."""

    def input(self, name: str | None = None) -> Tensor:
        """An input by name; None means the only one.

        Raises:
            InputError: unknown name (with near matches), or several inputs and no name.
        """
        with self._lock:
            self.execution.check_open()
            return self._tensor("input", name, self._inputs)

    def _tensor(self, kind: str, name: str | None, known: Mapping[str, Value]) -> Tensor:
        if name is None:
            if len(known) != 1:
                raise InputError(f"{kind}: the model has {list(known)}; say which")
            (name,) = known
        value = find(kind, name, known)
        return Tensor(self.execution.part_of(value), value)

    def write(self, name: str, array: AnyArrayLike) -> None:
        """Fill one input, as `Tensor.write` does; raises InputError for an unknown name too.

        A sequence is a list of arrays, of the shapes that the session is resized to.
        Another value of an input that decides shapes resizes the session, once its shapes and all
        deciding values are known; other inputs that were written keep what they hold.
        """
        with self._lock:
            self.check_open()
            lists = {v.name: v.list_type for v in self._interface.inputs if v.list_type}
            if name in self.deciding:
                self._write_deciding(name, array)
            elif is_one_of(name, lists):
                self._write_list(name, value_of(f"input {name!r}", array, lists[name]))
            else:
                self.input(name).write(cast("ArrayLike", array))

    def _write_list(self, name: str, value: AnyArray) -> None:
        graph, planned = self.execution.graph, self._planned_shape(name)
        if planned != shape_of(value):
            got, expected = map(arguments.shown_shape, (shape_of(value), planned))
            raise InputError(
                f"input {name!r}: got the shapes {got}, expected {expected}; resize the session"
            )
        if isinstance(value, list):
            for n, x in zip(graph.lists_in[name] or (), value, strict=True):
                self.input(n).write(x)
        elif value is not None:
            self.input(name).write(value)

    def _write_deciding(self, name: str, array: AnyArrayLike) -> None:
        before = dict(self._pending), dict(self._values)
        waits = self._has_plan and bool(self._pending)  # for the user's resize_session
        held = {}
        if self._has_plan and not waits:
            execution = self.execution
            held = {v.name: execution.read(v) for v in execution.written}
        try:
            self._decide(name, array)
            if waits or not self._is_decided:
                return
            plan = self._execution
            self.resize_session()
        except BaseException:
            self._pending, self._values = before
            raise
        if self._execution is not plan:
            for other, data in held.items():
                self.input(other).write(data)

    def attach(self, name: str, memory: Any) -> None:
        """Let an input lie in the user's own memory, until the next resize: nothing is copied.

        Args:
            memory: OpenCL: a `pyopencl.Buffer` of the same context that holds the input at its
                `storage_dtype` in row-major order. CPU: a NumPy array.

        Raises:
            InputError: it does not fit, or its value decides shapes.
        """
        with self._lock:
            self.check_open()
            if name in self.deciding:
                raise InputError(f"input {name!r}: its value decides shapes; write it")
            self.execution.attach(find("input", name, self._inputs), memory)

    def take(self, name: str, tensor: Tensor) -> None:
        """Fill one input from a tensor of another session; on one device without the host."""
        with self._lock:
            self.check_open()
            if name in self.deciding:
                self.write(name, tensor.read())
            else:
                self.input(name).copy_from(tensor)

    def _feed(self, feeds: Mapping[str, AnyArrayLike]) -> None:
        arguments.feeds("feeds", feeds)
        inputs = {v.name: v for v in self._interface.inputs}
        for name in feeds:
            find("input", name, inputs)
        optional = {n for n, v in inputs.items() if v.list_type and v.list_type.is_optional}
        missing = [n for n in inputs if n not in feeds and n not in optional]
        if missing:
            raise InputError(
                f"missing input {', '.join(map(repr, missing))}; all of {list(inputs)} needed"
            )
        with heap.enough_for("the inputs"):
            arrays = {
                n: value_of(f"input {n!r}", feeds.get(n), v.declared) for n, v in inputs.items()
            }
        self._pending = {}
        self.resize(
            {name: shape_of(array) for name, array in arrays.items()},
            {name: arrays[name] for name in self.deciding},
        )
        for name in arrays:
            if name not in self.deciding:
                self.write(name, arrays[name])


def is_one_of(name: object, names: Collection[str]) -> bool:
    """Whether it is one of these names; what is no name is left to `find`, which says so."""
    return isinstance(name, str) and name in names
