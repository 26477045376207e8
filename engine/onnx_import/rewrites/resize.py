"""Upsample and the older forms of Resize."""

from __future__ import annotations

import numpy as np

from engine.errors import UnsupportedError
from engine.onnx_import.form import Emitter, Form


def upsample_images(form: Form, emitter: Emitter) -> None:
    """Two attributes for the two sides of images; "bilinear" is now called linear."""
    sides = (form.attributes.pop(f"{side}_scale") for side in ("height", "width"))
    form.attributes["scales"] = (1.0, 1.0, *sides)
    if form.value("mode") == "bilinear":
        form.attributes["mode"] = "linear"


def upsample(form: Form, emitter: Emitter) -> None:
    """Resize with asymmetric coordinates, as Upsample computes."""
    if "scales" in form.attributes:
        scales = np.array(form.attributes.pop("scales"), np.float32)
        form.set_input(1, emitter.constant(f"{form.outputs[0]}_scales", scales))
    resize_10(form, emitter)
    form.op_type = "Resize"


def resize_10(form: Form, emitter: Emitter) -> None:
    """Opset 10 rounds positions up when it shrinks and down when it grows.

    (onnx's resize_downsample_nearest: 0, 1.67 -> 0, 2.) Scales unknown here are taken to grow.
    """
    scales = form.input(1)
    form.inputs = [form.inputs[0], None, scales]
    form.attributes["coordinate_transformation_mode"] = "asymmetric"
    if form.value("mode") == "nearest":
        factors = np.ones(1) if scales is None or scales.constant is None else scales.constant
        shrinks = bool(np.any(factors < 1))
        if shrinks and np.any(factors > 1):
            raise UnsupportedError(
                f"{form.title}: grows and shrinks at once, in opset {form.opset}"
            )
        form.attributes["nearest_mode"] = "ceil" if shrinks else "floor"


def resize(form: Form, emitter: Emitter) -> None:
    """Empty tensors, and a roi that the mode does not use, count as omitted."""
    if form.value("coordinate_transformation_mode") != "tf_crop_and_resize":
        form.inputs[1:2] = [None] * len(form.inputs[1:2])
    for i, value in enumerate(form.inputs[1:], start=1):
        if value is not None and value.constant is not None and value.constant.size == 0:
            form.inputs[i] = None
