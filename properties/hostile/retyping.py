"""Mutations of what a model declares: types, extents, constants, opsets, places of data."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

Rng = np.random.Generator

EXTENTS = (0, 1, 2, 3, 7, 64, 1000, -1, -2, 2**31, 2**40, 2**62, 2**63 - 1)


def retype_tensor(rng: Rng, model: ModelProto) -> str:
    """Another element type of an initialiser or an input."""
    kind = int(rng.integers(0, 24))
    tensors = model.graph.initializer
    if len(tensors) and rng.random() < 0.5:
        tensors[int(rng.integers(len(tensors)))].data_type = kind
    elif len(model.graph.input):
        info = model.graph.input[int(rng.integers(len(model.graph.input)))]
        info.type.tensor_type.elem_type = kind
    return f"element type {kind}"


def reshape_tensor(rng: Rng, model: ModelProto) -> str:
    """Another extent of an initialiser or an input, or another rank."""
    extent = int(EXTENTS[int(rng.integers(len(EXTENTS)))])
    tensors, inputs = model.graph.initializer, model.graph.input
    if len(tensors) and rng.random() < 0.5:
        dims = tensors[int(rng.integers(len(tensors)))].dims
        if len(dims) and rng.random() < 0.7:
            dims[int(rng.integers(len(dims)))] = extent
        else:
            dims.extend([1] * int(rng.choice([1, 40, 70])))
    elif len(inputs):
        shape = inputs[int(rng.integers(len(inputs)))].type.tensor_type.shape
        if len(shape.dim) and rng.random() < 0.7:
            shape.dim[int(rng.integers(len(shape.dim)))].dim_value = extent
        else:
            for _ in range(int(rng.choice([1, 40, 70]))):
                shape.dim.add().dim_value = 1
    return f"extent {extent}"


def set_constant(rng: Rng, model: ModelProto) -> str:
    """Extreme values in a small initialiser, such as a shape, an axis or a count."""
    small = [t for t in model.graph.initializer if 0 < np.prod(t.dims, initial=1.0) <= 64]
    if not small:
        return "no small constant"
    tensor = small[int(rng.integers(len(small)))]
    try:
        array = np.array(onnx.numpy_helper.to_array(tensor))
    except (ValueError, TypeError, RuntimeError, onnx.checker.ValidationError):
        return "unreadable constant"
    flat = array.reshape(-1)
    if flat.size and flat.dtype.kind in "iuf":
        values = EXTENTS if flat.dtype.kind != "f" else (np.nan, np.inf, 1e30, -1.0, 0.0)
        with np.errstate(all="ignore"):
            new = np.array(values[int(rng.integers(len(values)))]).astype(flat.dtype)
        flat[int(rng.integers(flat.size))] = new
        tensor.CopyFrom(onnx.numpy_helper.from_array(flat.reshape(array.shape), tensor.name))
    return "constant changed"


def make_constant(rng: Rng, model: ModelProto) -> str:
    """An input becomes an initialiser, so that what hangs on it is folded."""
    inputs = model.graph.input
    if not len(inputs):
        return "no input"
    index = int(rng.integers(len(inputs)))
    kind = inputs[index].type.tensor_type
    dims = [d.dim_value or 2 for d in kind.shape.dim]
    largest = math.prod(max(1, d) for d in dims)
    fits = len(dims) <= 64 and min(dims, default=0) >= 0 and largest <= 1e5
    if kind.elem_type in (1, 6, 7, 9, 10, 11) and fits:
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        array = np.ones(dims, dtype)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, inputs[index].name))
        del inputs[index]
    return "input made constant"


def change_opset(rng: Rng, model: ModelProto) -> str:
    """Another version, or no or several operator sets."""
    how = int(rng.integers(6))
    if how == 0:
        del model.opset_import[:]
        return "no opset"
    version = int(rng.choice([*range(1, 29), 0, -1, 99, 2**31, 2**62]))
    if how == 1:
        model.opset_import.add().version = version
    elif len(model.opset_import):
        model.opset_import[0].version = version
    return f"opset {version}"


def point_outside(rng: Rng, model: ModelProto) -> str:
    """An initialiser whose data lie in another file."""
    if not len(model.graph.initializer):
        return "no initialiser"
    tensors = model.graph.initializer
    tensor = tensors[int(rng.integers(len(tensors)))]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    places = ["absent", "../absent", "/etc/passwd", "", ".", "a" * 5000, "a\0b", "/dev/zero"]
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", places[int(rng.integers(len(places)))]
    if rng.random() < 0.5:
        entry = tensor.external_data.add()
        entry.key = str(rng.choice(["offset", "length"]))
        entry.value = str(rng.choice(["-1", "0", "9223372036854775807", "x", "1e3", ""]))
    return "data outside"
