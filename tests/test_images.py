"""Encoded images: what Pillow makes of them beside what ONNX stored, and what is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from onnx import TensorProto
from onnx.backend.test.case.node import _image_decoder_data as stored

import parallax as px
from engine.errors import InputError, UnsupportedError
from engine.onnx_import import load_model
from engine.ops.image_decoder import PIXELS_MAX
from engine.ops.spec import Call
from engine.runtime import Runtime
from properties.single import Case, run_case
from tests.model_writing import model, node

pytestmark = pytest.mark.device_free
CPU = px.ScheduleConfig(type=px.ForwardType.CPU)
BACKEND = Runtime().backend(px.ForwardType.CPU, CPU)
NAMES = sorted(name for name in vars(stored) if name.startswith("image_decoder_decode"))
PIXEL_FORMATS = {"rgb": "RGB", "bgr": "BGR", "grayscale": "Grayscale"}


def decoder(**attributes: str) -> bytes:
    decode = node("ImageDecoder", "x", "y", **attributes)
    made = model([decode], {"x": ("n",)}, ["y"], opset=20, dtype=TensorProto.UINT8)
    return made.SerializeToString()


def pixels(stream: np.ndarray, **attributes: str) -> np.ndarray:
    with px.Interpreter.from_buffer(decoder(**attributes)).create_session(CPU) as session:
        return session({"x": stream})["y"]


def test_onnx_stored_one_of_each_format() -> None:
    assert len(NAMES) == 9


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_what_onnx_stored(name: str) -> None:
    """Bit by bit, also where what is encoded lost some."""
    case = getattr(stored, name)
    asked = {"pixel_format": PIXEL_FORMATS[name.rpartition("_")[2]]}
    np.testing.assert_array_equal(pixels(case.data, **asked), case.output, strict=True)
    by_kernel = run_case(BACKEND, Case("ImageDecoder", Call((case.data,), asked), frozenset({0})))
    assert by_kernel is not None
    np.testing.assert_array_equal(by_kernel.outputs[0], case.output, strict=True)


def test_what_cannot_be_decoded_has_no_pixels_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    case = stored.image_decoder_decode_png_rgb
    assert pixels(case.data).size
    assert caplog.messages == []
    assert pixels(case.data[:-60]).shape == (0, 0, 3)
    assert pixels(case.data[:5], pixel_format="Grayscale").shape == (0, 0, 1)
    said = "ImageDecoder: {} bytes cannot be decoded: no pixels come of them"
    assert caplog.messages == [said.format(n) for n in (len(case.data) - 60, 5)]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (f"P6 {PIXELS_MAX} 2 255\n", "pixels"),
        ("P6 100000 100000 255\n", "ImageDecoder"),
        ("P5 1 1 65535\n00", "expected ones of 8 bits"),
    ],
)
@pytest.mark.filterwarnings("ignore:Image size")
def test_more_pixels_than_there_may_be_are_refused(header: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        pixels(np.frombuffer(header.encode(), np.uint8))


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(
        UnsupportedError,
        match=r"ImageDecoder 'the_y': Pillow.*pip install 'parallax-engine\[images\]'",
    ):
        load_model(decoder())
