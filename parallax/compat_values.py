"""Arrays in host memory as onnxruntime's calls pass them: OrtValue and IOBinding."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx
from onnx import TensorProto

from engine import arguments
from engine.errors import InputError
from engine.ir.types import STRING


class MissingInput(InputError, ValueError):
    """A run lacks an input, which is a ValueError in onnxruntime."""


class BindingError(InputError, RuntimeError):
    """What is bound does not fit, which is a RuntimeError in onnxruntime."""


@dataclass(frozen=True)
class NodeArg:
    """An input or output: `tensor(float)`, and its extents; free ones are names, or None."""

    name: str
    type: str
    shape: list[int | str | None]


class Runs(Protocol):
    """A session, as far as a binding needs one."""

    def get_inputs(self) -> list[NodeArg]:
        """In the order of the file."""

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, np.ndarray]
    ) -> list[np.ndarray]:
        """One inference."""


class OrtValue:
    """An array in host memory."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array.astype(STRING) if array.dtype.kind == "U" else array

    @staticmethod
    def ortvalue_from_numpy(
        numpy_obj: np.ndarray, device_type: str = "cpu", device_id: int = 0
    ) -> OrtValue:
        """Hold an array; raises InputError for another device than the host's memory."""
        _check_host("ortvalue_from_numpy", device_type)
        return OrtValue(np.asarray(numpy_obj))

    @staticmethod
    def ortvalue_from_shape_and_type(
        shape: Sequence[int],
        element_type: Any = np.float32,
        device_type: str = "cpu",
        device_id: int = 0,
    ) -> OrtValue:
        """Memory to be written; `element_type` is a NumPy type or ONNX's number of one."""
        _check_host("ortvalue_from_shape_and_type", device_type)
        extents = arguments.shape("ortvalue_from_shape_and_type", shape)
        return OrtValue(np.empty(extents, _dtype(element_type)))

    def numpy(self) -> np.ndarray:
        """The array."""
        return self._array

    def update_inplace(self, np_arr: np.ndarray) -> None:
        """Overwrite the array by another of its shape and dtype."""
        if (self._array.shape, self._array.dtype) != (np_arr.shape, np_arr.dtype):
            raise InputError(
                f"OrtValue: {np_arr.dtype}{list(np_arr.shape)} does not go into "
                f"{self._array.dtype}{self.shape()}"
            )
        np.copyto(self._array, np_arr)

    def data_ptr(self) -> int:
        """Its address."""
        return int(self._array.ctypes.data)

    def element_type(self) -> int:
        """ONNX's number of its dtype."""
        return int(onnx.helper.np_dtype_to_tensor_dtype(self._array.dtype))

    def has_value(self) -> bool:
        """Always."""
        return True

    def shape(self) -> list[int]:
        """Its extents."""
        return list(self._array.shape)

    def data_type(self) -> str:
        """`tensor(float)`."""
        return tensor_name(self.element_type())

    def device_name(self) -> str:
        """Always "cpu"."""
        return "cpu"

    def is_tensor(self) -> bool:
        """Always."""
        return True


class IOBinding:
    """Inputs and outputs of one run, in host memory."""

    def __init__(self, session: Runs) -> None:
        self._session = session
        self._feeds: dict[str, np.ndarray] = {}
        self._wanted: dict[str, OrtValue | None] = {}
        self._outputs: list[OrtValue] = []

    def bind_cpu_input(self, name: str, arr_on_cpu: np.ndarray) -> None:
        """Feed an array."""
        self._feed(name, arr_on_cpu)

    def bind_input(
        self,
        name: str,
        device_type: str,
        device_id: int,
        element_type: Any,
        shape: Sequence[int],
        buffer_ptr: int,
    ) -> None:
        """Feed what lies at an address of host memory when the binding is run."""
        _check_host("bind_input", device_type)
        self._feed(name, _array_at(buffer_ptr, shape, element_type))

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        """Feed a value."""
        self._feed(name, ortvalue.numpy())

    def _feed(self, name: str, array: np.ndarray) -> None:
        inputs = [i.name for i in self._session.get_inputs()]
        if name not in inputs:
            raise BindingError(str(arguments.unknown("io_binding: no input", name, inputs)))
        self._feeds[name] = array

    def bind_output(
        self,
        name: str,
        device_type: str = "cpu",
        device_id: int = 0,
        element_type: Any = None,
        shape: Sequence[int] | None = None,
        buffer_ptr: int | None = None,
    ) -> None:
        """Ask for an output, in new memory or at an address of host memory."""
        _check_host("bind_output", device_type)
        self._wanted[name] = None
        if buffer_ptr is not None:
            if shape is None or element_type is None:
                raise InputError("bind_output: buffer_ptr needs an element_type and a shape")
            self._wanted[name] = OrtValue(_array_at(buffer_ptr, shape, element_type))

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        """Ask for an output in the memory of a value."""
        self._wanted[name] = ortvalue

    def clear_binding_inputs(self) -> None:
        """Forget the inputs."""
        self._feeds.clear()

    def clear_binding_outputs(self) -> None:
        """Forget the outputs."""
        self._wanted.clear()

    def synchronize_inputs(self) -> None:
        """Host memory needs none."""

    def synchronize_outputs(self) -> None:
        """Host memory needs none."""

    def run(self) -> None:
        """Run once; raises BindingError where no output was bound, or something does not fit."""
        if not self._wanted:
            raise BindingError("run_with_iobinding: no output is bound; call bind_output(name)")
        try:
            arrays = self._session.run(list(self._wanted), self._feeds)
        except InputError as error:
            raise BindingError(str(error)) from error
        self._outputs = []
        for array, target in zip(arrays, self._wanted.values(), strict=True):
            if target is not None:
                target.update_inplace(array)
            self._outputs.append(OrtValue(array) if target is None else target)

    def get_outputs(self) -> list[OrtValue]:
        """Of the last run, in the order they were bound."""
        return list(self._outputs)

    def copy_outputs_to_cpu(self) -> list[np.ndarray]:
        """The same as arrays."""
        return [value.numpy() for value in self._outputs]


def tensor_name(element_type: int) -> str:
    """`tensor(float)`."""
    return f"tensor({TensorProto.DataType.Name(element_type).lower()})"


def _dtype(element_type: Any) -> np.dtype:
    """Of a NumPy type, or of ONNX's number of one."""
    if isinstance(element_type, int):
        element_type = onnx.helper.tensor_dtype_to_np_dtype(element_type)
    dtype: np.dtype = np.dtype(element_type)
    return dtype


def _array_at(address: int, shape: Sequence[int], element_type: Any) -> np.ndarray:
    """The array at an address of host memory, which stays its owner's."""
    dtype = _dtype(element_type)
    if dtype == STRING:
        raise InputError("strings have no address: bind an OrtValue, or an array")
    nbytes = math.prod(shape) * dtype.itemsize
    memory = (ctypes.c_ubyte * nbytes).from_address(address)
    return np.ctypeslib.as_array(memory).view(dtype).reshape(shape)


def _check_host(where: str, device_type: str) -> None:
    if device_type != "cpu":
        raise InputError(f"{where}: device_type={device_type!r}, expected 'cpu'")
