"""Attributes that have become inputs, or changed their names, types or defaults."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from onnx import TensorProto

from engine.errors import ModelError, UnsupportedError
from engine.ir.types import FLOAT8E8M0, FLOATS8, NARROW_INTEGERS
from engine.onnx_import.form import Emitter, Form, Rewrite
from engine.onnx_import.tensors import dtype_of
from engine.ops.numerics import saturated


def ints_to_input(attribute: str, index: int) -> Rewrite:
    """An integer-list attribute becomes an int64 input."""

    def rewrite(form: Form, emitter: Emitter) -> None:
        if attribute in form.attributes:
            values = np.array(form.attributes.pop(attribute), np.int64)
            form.set_input(index, emitter.constant(f"{form.outputs[0]}_{attribute}", values))

    return rewrite


def squeeze(form: Form, emitter: Emitter) -> None:
    """Its axes; a list without any is none, as for other engines: a file cannot tell the two."""
    if not form.attributes.get("axes", (0,)):
        del form.attributes["axes"]
    ints_to_input("axes", 1)(form, emitter)


def slice_(form: Form, emitter: Emitter) -> None:
    """Its ranges; axes left out are the first ones."""
    starts, ends = form.attributes["starts"], form.attributes["ends"]
    form.attributes.setdefault("axes", tuple(range(len(starts))))
    if not len(starts) == len(ends) == len(form.attributes["axes"]):
        raise ModelError(
            f"{form.title}: starts={starts}, ends={ends} and axes={form.attributes['axes']} "
            "must have one length"
        )
    for index, name in enumerate(("starts", "ends", "axes"), start=1):
        ints_to_input(name, index)(form, emitter)


def element(form: Form, name: str, value: float, dtype: np.dtype | None) -> np.ndarray:
    """A float attribute as an element of the data; raises ModelError where it cannot be one.

    Args:
        dtype: None where what produces the data has been refused already; taken for float32.
    """
    dtype = np.dtype(np.float32) if dtype is None else dtype
    if dtype.kind in "iu" or dtype in NARROW_INTEGERS:
        limits = ml_dtypes.iinfo(dtype)
        if not limits.min <= value <= limits.max:
            raise ModelError(f"{form.title}: {name}={value} is no number of type {dtype.name}")
    with np.errstate(over="ignore"):
        return np.array(value, dtype)


def clip(form: Form, emitter: Emitter) -> None:
    """Its limits. Opset 6 has finite ones for those left out, so that infinities are cut."""
    dtype = emitter.dtype(form.inputs[0])
    for index, name in enumerate(("min", "max"), start=1):
        limit = form.take(name)
        if limit is not None:
            array = element(form, name, limit, dtype)
            form.set_input(index, emitter.constant(f"{form.outputs[0]}_{name}", array))


def pad(form: Form, emitter: Emitter) -> None:
    """Its widths and its value."""
    ints_to_input("pads", 1)(form, emitter)
    value = form.take("value")
    if value != 0:
        array = element(form, "value", value, emitter.dtype(form.inputs[0]))
        form.set_input(2, emitter.constant(f"{form.outputs[0]}_value", array))


def top_k(form: Form, emitter: Emitter) -> None:
    """How many."""
    k = np.array([form.attributes.pop("k")], np.int64)
    form.set_input(1, emitter.constant(f"{form.outputs[0]}_k", k))


def paddings(form: Form, emitter: Emitter) -> None:
    """In the same order under the name of opset 2."""
    form.attributes["pads"] = form.attributes.pop("paddings")


def reshape(form: Form, emitter: Emitter) -> None:
    """Its target."""
    if "shape" not in form.attributes:
        raise ModelError(f"{form.title}: the attribute 'shape' is missing")
    ints_to_input("shape", 1)(form, emitter)


def concat(form: Form, emitter: Emitter) -> None:
    """By ONNX's text ("Default value is 1"), though not in its schema, axis may be left out."""
    form.attributes.setdefault("axis", 1)


def split_of_floats(form: Form, emitter: Emitter) -> None:
    """The lengths may be an input of the data's own type; no default of axis is defined."""
    if "axis" not in form.attributes:
        raise UnsupportedError(
            f"{form.title}: opset 1 does not define along which axis; export with a newer opset"
        )
    if form.input(1) is not None:
        lengths = _constant_integers(form, 1, "split")
        form.inputs, form.attributes["split"] = form.inputs[:1], lengths


def tile(form: Form, emitter: Emitter) -> None:
    """Along one axis, both given as numbers of the data's own type."""
    rank = emitter.rank(form.inputs[0])
    if rank is None:
        raise UnsupportedError(f"{form.title}: the rank of its input is not known at import")
    given = [_constant_integers(form, i, n) for i, n in ((1, "tiles"), (2, "axis"))]
    if [len(numbers) for numbers in given] != [1, 1]:
        raise ModelError(f"{form.title}: tiles and axis are {given}, expected one number each")
    (tiles,), (axis,) = given
    if not -rank <= axis < rank:
        raise ModelError(f"{form.title}: axis={axis} is outside [{-rank}, {rank - 1}]")
    repeats = np.ones(rank, np.int64)
    repeats[axis] = tiles
    name = f"{form.outputs[0]}_repeats"
    form.inputs = [form.inputs[0], emitter.constant(name, repeats)]


def _constant_integers(form: Form, index: int, name: str) -> tuple[int, ...]:
    value = form.input(index)
    if value is None or value.constant is None:
        raise UnsupportedError(f"{form.title}: {name} is computed at run time, expected a constant")
    whole = saturated(value.constant, np.dtype(np.int64))
    if not np.array_equal(whole.astype(value.constant.dtype), value.constant):
        raise ModelError(f"{form.title}: {name}={value.constant.tolist()}, expected whole numbers")
    return tuple(int(v) for v in whole.ravel())


def split_equally(form: Form, emitter: Emitter) -> None:
    """The number of parts is that of the outputs."""
    if form.input(1) is None:
        form.attributes["num_outputs"] = len(form.outputs)


def split_counted(form: Form, emitter: Emitter) -> None:
    """The number of parts that is given is that of the outputs."""
    count = form.attributes.get("num_outputs")
    if count is not None and count != len(form.outputs):
        raise ModelError(
            f"{form.title}: num_outputs={count}, but the node has {len(form.outputs)} outputs"
        )


def cast_by_name(form: Form, emitter: Emitter) -> None:
    """`to` was the name of an element type."""
    name = form.attributes["to"]
    types = dict(TensorProto.DataType.items())
    if name not in types:
        raise ModelError(f"{form.title}: to='{name}' is no element type of ONNX")
    form.attributes["to"] = types[name]


def cast(form: Form, emitter: Emitter) -> None:
    """`to` stays ONNX's number; saturate and round_mode concern 8-bit floats only."""
    dtype = dtype_of(form.attributes["to"], f"{form.title}: attribute 'to'")
    kept = {"to", "saturate"} if dtype in FLOATS8 | {FLOAT8E8M0} else {"to"}
    kept |= {"round_mode"} if dtype == FLOAT8E8M0 else set()
    form.attributes = {k: v for k, v in form.attributes.items() if k in kept}
