"""ImageDecoder, which needs a package that few models do."""

from __future__ import annotations

from engine.errors import UnsupportedError
from engine.onnx_import.form import Emitter, Form
from engine.ops.image_decoder import why_missing


def image_decoder(form: Form, emitter: Emitter) -> None:
    """Nothing is rewritten; raises UnsupportedError where Pillow is not installed."""
    if why := why_missing():
        raise UnsupportedError(why.replace(form.op_type, form.title, 1))
