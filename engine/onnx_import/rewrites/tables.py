"""LabelEncoder of ai.onnx.ml, whose first form has one table for both directions."""

from __future__ import annotations

from engine.errors import ModelError, UnsupportedError
from engine.ir.types import INT64, STRING, dtype_name
from engine.onnx_import.form import Emitter, Form


def label_encoder(form: Form, emitter: Emitter) -> None:
    """Opset 1 finds the place of a string among its classes, or the class at a place."""
    version = form.attributes
    if "classes_strings" not in version:
        return
    classes = version.pop("classes_strings")
    dtype, places = emitter.dtype(form.inputs[0]), tuple(range(len(classes)))
    if dtype is None:
        raise UnsupportedError(f"{form.title}: the dtype of X is not known at import")
    if dtype not in (STRING, INT64):
        raise ModelError(f"{form.title}: X is {dtype_name(dtype)}, expected string or int64")
    of_strings = {"keys_strings": classes, "values_int64s": places}
    of_places = {"keys_int64s": places, "values_strings": classes}
    version.update(of_strings if dtype == STRING else of_places)
