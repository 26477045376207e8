"""Tensor: a named tensor of a session and every way to reach its data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from engine.arguments import of_kind
from engine.arrays import ArrayLike, AsArray, array_of
from engine.backends.protocol import Backend, PendingRead, Slot
from engine.errors import InputError
from engine.execution.execution import Execution
from engine.forks import ProcessBound, check_process
from engine.ir.graph import Value
from engine.ir.types import STRING, TensorType, type_of, zero_of


class Constant:
    """The "read" of what needs no device; implements `PendingRead`."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def result(self) -> np.ndarray:
        """The array."""
        return self._array


class Snapshot(ProcessBound):
    """A copy of a tensor in memory of its own, on the device where the tensor lies."""

    noun = "result"

    def __init__(self, backend: Backend, source: Slot) -> None:
        self._bind_to_process()
        arena = backend.allocate(source.nbytes)
        self.backend = backend
        self.slot = Slot(arena, 0, source.type, source.storage, source.layout)
        backend.copy(source, self.slot).enqueue()

    @property
    def type(self) -> TensorType:
        """Logical dtype and shape."""
        return self.slot.type

    def read_later(self) -> PendingRead:
        """Enqueue the read."""
        check_process(self)
        return self.backend.read_later(self.slot)

    def put(self, target: Tensor) -> None:
        """Fill an input with it; on one device without the host."""
        target._execution.take(target._value, self.slot, self.backend)


class Kept:
    """The snapshot of a tensor that lies on no device: a constant, or what was computed early."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.type = type_of(array)

    def read_later(self) -> PendingRead:
        """The array itself."""
        return Constant(self._array)

    def put(self, target: Tensor) -> None:
        """Fill an input with it."""
        target.write(self._array)


class Tensor(AsArray):
    """An input, an output or a saved tensor, for the shapes of one resize.

    `np.asarray(tensor)` and `torch.from_dlpack(tensor)` read it, as `read` does. After the next
    resize its methods raise ClosedError: ask the session again.
    """

    def __init__(self, execution: Execution, value: Value) -> None:
        remedy = "Session.input, output and saved give Tensors"
        of_kind("Tensor", execution, Execution, f"an Execution; {remedy}")
        of_kind("Tensor", value, Value, f"a Value; {remedy}")
        self._execution, self._value = execution, value

    # ------------------------------------------------------------------ what it is
    @property
    def name(self) -> str:
        """The ONNX name."""
        return self._value.name

    @property
    def type(self) -> TensorType:
        """Logical dtype and shape.

        Raises:
            InputError: data of a run decide it, and there was none.
        """
        if self._value.type is None:
            raise InputError(
                f"tensor {self.name!r}: data decide its shape: it is known after a run"
            )
        return self._value.known_type

    @property
    def shape(self) -> tuple[int, ...]:
        """Logical extents."""
        return self.type.dims

    @property
    def dtype(self) -> np.dtype:
        """Logical dtype: that of every array that goes in or comes out."""
        return self.type.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the logical tensor."""
        return self.type.nbytes

    @property
    def storage_dtype(self) -> np.dtype:
        """How its elements lie in memory."""
        return self.dtype if self._is_constant else self._slot.storage

    @property
    def storage_nbytes(self) -> int:
        """Bytes of the stored tensor; layouts here never pad."""
        return self.nbytes if self._is_constant else self._slot.nbytes

    @property
    def layout(self) -> str:
        """Order in memory: "plain" (row-major) or "channels_last"."""
        return self._value.layout

    @property
    def backend(self) -> str:
        """The name of the backend whose memory it lies in; "" for a constant of the model."""
        return "" if self._is_constant else self._execution.home(self._value)

    @property
    def device_memory(self) -> tuple[Any, int]:
        """The `pyopencl.Buffer` (or byte array) it lies in, and the offset there in bytes."""
        arena = self._slot.arena
        if self.dtype == STRING:
            raise InputError(f"tensor {self.name!r} is of strings, which lie in no device's memory")
        return getattr(arena, "buffer", None) or arena.bytes, self._slot.offset_nbytes

    @property
    def _is_constant(self) -> bool:
        return self._value.is_constant

    @property
    def _slot(self) -> Slot:
        self._execution.check_open()
        if self._is_constant:
            raise InputError(f"tensor {self.name!r} is a constant of the model: it has no memory")
        return self._execution.slot(self._value)

    def _check_holds(self) -> None:
        self._execution.check_open()
        if not self._execution.holds(self._value):
            raise InputError(
                f"tensor {self.name!r} holds no data: nothing was written to it, and no run was "
                "completed, since the resize"
            )

    # ------------------------------------------------------------------ its data
    def write(self, array: ArrayLike) -> None:
        """Copy an array in, in order with what is enqueued.

        Args:
            array: a NumPy array, what DLPack or a buffer lends, or lists of Python numbers.

        Raises:
            InputError: wrong dtype or shape, or a constant.
        """
        if self._is_constant:
            raise InputError(
                f"tensor {self.name!r} is a constant of the model, or decides its shapes; "
                "Session.write takes another value of one that decides"
            )
        data = array_of(f"input {self.name!r}", array, self.type)
        if data.shape != self.shape:
            raise InputError(
                f"input {self.name!r}: got {data.dtype}{list(data.shape)}, expected {self.type}; "
                "reshape the array, or resize the session"
            )
        self._execution.write(self._value, data)

    def copy_from(self, other: Tensor | Snapshot | Kept) -> None:
        """Copy another session's tensor in; on one device this happens there, without waiting.

        Raises:
            InputError: another dtype or shape, or `other` holds no data yet.
        """
        kinds = (Tensor, Snapshot, Kept)
        of_kind("copy_from", other, kinds, "a Tensor, as session.output() gives it")
        self._execution.check_open()
        if other.type != self.type:
            raise InputError(f"input {self.name!r}: got {other.type}, expected {self.type}")
        if not isinstance(other, Tensor):
            other.put(self)
            return
        other._check_holds()
        if other._is_constant:
            self.write(other.read())
        else:
            backend = other._execution.backend_of(other._value)
            self._execution.take(self._value, other._slot, backend)

    def snapshot(self) -> Snapshot | Kept:
        """A copy on the device, in order with what is enqueued; it outlives the session."""
        self._check_holds()
        if self._is_constant:
            return Kept(self.read())
        return Snapshot(self._execution.backend_of(self._value), self._slot)

    def read(self) -> np.ndarray:
        """A copy of the data; waits for the work it depends on.

        Raises:
            InputError: nothing was written to it or computed since the resize.
        """
        self._check_holds()
        return self._execution.read(self._value)

    def read_later(self) -> PendingRead:
        """Enqueue the read; runs enqueued afterwards do not change what `result()` gives.

        Raises:
            InputError: nothing was written to it or computed since the resize.
        """
        self._check_holds()
        if self._is_constant:
            return Constant(self.read())
        return self._execution.read_later(self._value)

    def wait(self) -> None:
        """Return when the work that this tensor depends on is done."""
        self._execution.check_open()
        if not self._is_constant:
            self._execution.backend_of(self._value).synchronize()

    def _host_array(self) -> np.ndarray:
        return self.read()

    @contextmanager
    def map_read(self) -> Iterator[np.ndarray]:
        """The data as a read-only array for the length of a `with` block; waits first."""
        with self._mapping():
            array = self.read()
            array.flags.writeable = False
            yield array

    @contextmanager
    def map_write(self) -> Iterator[np.ndarray]:
        """An array to fill in a `with` block; it is written to the tensor at the end.

        An exception in the block leaves the tensor as it was.
        """
        with self._mapping():
            array = np.full(self.shape, zero_of(self.dtype))
            yield array
            self.write(array)

    @contextmanager
    def _mapping(self) -> Iterator[None]:
        mapped = self._execution.mapped
        if self._value in mapped:
            raise InputError(f"tensor {self.name!r} is mapped already: leave that block first")
        mapped.add(self._value)
        try:
            yield
        finally:
            mapped.discard(self._value)

    def __repr__(self) -> str:
        return f"<Tensor {self.name!r}: {self.type}>"
