"""Var: a tensor that may not be computed yet; `read_map` is where one waits."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine import arguments
from engine.arrays import ArrayLike, AsArray, array_of
from engine.errors import ClosedError
from engine.forks import ProcessBound, check_process
from engine.ir.types import TensorType, type_of
from engine.tensor import Kept, Snapshot, Tensor


class Var(AsArray, ProcessBound):
    """A tensor that may not be computed yet: an array of the user's, or a result of a Module.

    `np.asarray(var)` and `torch.from_dlpack(var)` wait for it, as `read_map` does. A result keeps
    its value for ever: when its module runs again while it is still referred to, the device copies
    it aside first.
    """

    noun = "result"

    def __init__(self, array: ArrayLike) -> None:
        self._array: np.ndarray | None = np.array(array_of("Var", array), order="C")
        self._place: Tensor | Snapshot | Kept | None = None
        self._type = type_of(self._array)
        self.lock = threading.RLock()
        self._bind_to_process()

    @classmethod
    def empty(cls, shape: Sequence[int], dtype: Any = np.float32) -> Var:
        """Zeros, to be filled through `write_map`."""
        extents = arguments.shape("Var.empty", shape)
        return cls(np.zeros(extents, arguments.dtype("Var.empty", dtype)))

    @classmethod
    def of(cls, tensor: Tensor, lock: Any) -> Var:
        """A result of a module whose lock this is."""
        var = cls.__new__(cls)
        var._array, var._place, var._type, var.lock = None, tensor, tensor.type, lock
        var._bind_to_process()
        return var

    @property
    def type(self) -> TensorType:
        """Dtype and shape; known before the value is."""
        return self._type

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents."""
        return self._type.dims

    @property
    def dtype(self) -> np.dtype:
        """Dtype."""
        return self._type.dtype

    @property
    def is_on_device(self) -> bool:
        """Whether the value lies (or will lie) where a module computed it."""
        return self._place is not None

    def read_map(self) -> np.ndarray:
        """The value, read-only; waits for it.

        Raises:
            ClosedError: the module was closed before. DeviceError: its run failed.
        """
        with self.lock:
            if self._array is not None:
                return _read_only(self._array)
            assert self._place is not None
            check_process(self)
            try:
                pending = self._place.read_later()
            except ClosedError:
                raise ClosedError("this result was not read before its Module was closed") from None
        array = pending.result()
        with self.lock:
            if self._array is None:
                self._array = array
            return _read_only(self._array)

    def write_map(self) -> np.ndarray:
        """The value as an array to write to; the next `on_forward` that is given this Var sees it.

        A result is waited for first, and becomes the user's array.
        """
        self.read_map()
        with self.lock:
            assert self._array is not None
            if not self._array.flags.writeable:
                self._array = self._array.copy()
            self._place = None
            return self._array

    def _host_array(self) -> np.ndarray:
        return self.read_map()

    def feed(self, target: Tensor) -> None:
        """Write the value to an input; the caller holds the lock."""
        arguments.of_kind("feed", target, Tensor, "an input Tensor of a session")
        if self._place is not None:
            target.copy_from(self._place)
        else:
            assert self._array is not None
            target.write(self._array)

    def set_aside(self) -> None:
        """Leave the session's memory, which is about to be written again."""
        if isinstance(self._place, Tensor) and self._array is None:
            self._place = self._place.snapshot()
        elif isinstance(self._place, Tensor):
            self._place = None

    def _after_fork(self) -> None:
        """What a thread of the parent was doing does not end here."""
        self.lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<Var {self._type}, {'of a module' if self.is_on_device else 'of the user'}>"


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
