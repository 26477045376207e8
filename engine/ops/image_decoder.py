"""ImageDecoder: the pixels of an encoded image.

Source: https://onnx.ai/onnx/operators/onnx__ImageDecoder.html. Pillow decodes for the kernel and
for the reference alike, so that comparing them shows which pixels are taken, and in which order,
and not what a file means: the streams and pixels that ONNX stored do. What cannot be decoded gives
an image of no pixels ("an empty matrix"), and a line in the log. Of several images in a file the
first counts, transparency is dropped, and no orientation that a camera noted is heeded.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import InputError, ShapeError, UnsupportedError
from engine.ir.types import TensorType
from engine.ops.operands import Operands, check_dtype, known, tensor, zeros
from engine.ops.spec import Arrays, Attributes, Call, Choose, Reject
from engine.ops.strings import spec_of

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger("parallax.session")

Array = np.ndarray
OP = "ImageDecoder"
BYTE = np.dtype(np.uint8)
PIXEL_FORMATS: Mapping[str, str] = {"RGB": "RGB", "BGR": "BGR", "Grayscale": "L"}
"""The bands of each, as Pillow calls them."""
FILE_FORMATS = ("BMP", "JPEG", "JPEG2000", "TIFF", "PNG", "WEBP", "PPM")
"""Those that ONNX lists, as Pillow calls them: it knows others, some by way of programs."""
PIXELS_MAX = 2**26
"""A stream of some bytes may ask for any number of them."""


def why_missing() -> str:
    """One sentence where Pillow is not installed, "" where it is."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        return (
            f"{OP}: Pillow, which decodes images, is not installed: "
            "pip install 'parallax-engine[images]'"
        )
    return ""


def check_stream(dtype: np.dtype, shape: Sequence[int]) -> None:
    """Raise UnsupportedError or ShapeError for what is no vector of bytes."""
    check_dtype(OP, dtype, {BYTE}, "encoded_stream")
    if len(shape) != 1:
        raise ShapeError(f"{OP}: encoded_stream has shape {tuple(shape)}, expected a vector")


def bands_of(attributes: Attributes) -> str:
    """What a pixel consists of, in order; raises ShapeError."""
    asked = str(attributes.get("pixel_format", "RGB"))
    if asked not in PIXEL_FORMATS:
        raise ShapeError(
            f"{OP}: pixel_format={asked!r}, expected one of {', '.join(PIXEL_FORMATS)}"
        )
    return PIXEL_FORMATS[asked]


def opened(stream: Array, mode: str) -> Image | None:
    """The image in a mode of Pillow's; None where it cannot be decoded.

    Raises:
        InputError: it has more pixels than PIXELS_MAX, or pixels that are not of 8 bits.
        UnsupportedError: Pillow is not installed.
    """
    if why := why_missing():
        raise UnsupportedError(why)
    from PIL import Image

    too_many = Image.DecompressionBombError, Image.DecompressionBombWarning
    try:
        image = Image.open(io.BytesIO(stream.tobytes()), formats=FILE_FORMATS)
        _check_pixels(image)
        return image.convert(mode)
    except too_many as error:
        raise InputError(f"{OP}: {error}") from None
    except (OSError, SyntaxError, ValueError, IndexError, TypeError, EOFError, struct.error):
        return None  # so many are the ways in which Pillow says so


def _check_pixels(image: Image) -> None:
    width, height = image.size
    if width * height > PIXELS_MAX:
        raise InputError(f"{OP}: the image has {width} x {height} pixels, more than {PIXELS_MAX}")
    if image.mode[0] in "IF":
        raise InputError(f"{OP}: pixels of Pillow's mode {image.mode!r}, expected ones of 8 bits")


def _decode(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    bands = bands_of(attributes)
    image = opened(np.asarray(inputs[0]), "L" if bands == "L" else "RGB")
    if image is None:
        return (np.zeros((0, 0, len(bands)), BYTE),)
    return (np.stack([np.array(image.getchannel(band)) for band in bands], axis=-1),)


def _infer(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    stream = tensor(OP, inputs, 0, "encoded_stream")
    check_stream(stream.dtype, stream.dims)
    bands_of(attributes)
    encoded = known(OP, inputs, 0, "encoded_stream")
    (image,) = _decode([encoded], attributes)
    if encoded is not None and not image.size:
        logger.warning("%s: %d bytes cannot be decoded: no pixels come of them", OP, encoded.size)
    return (TensorType(BYTE, image.shape),)


# --------------------------------------------------------------------------- examples
def _bytes(data: bytes) -> Array:
    return np.frombuffer(data, BYTE)


def portable(pixels: Array) -> Array:
    """A PGM or PPM file of pixels [H, W] or [H, W, 3]."""
    height, width = pixels.shape[:2]
    kind = 5 if pixels.ndim == 2 else 6
    return _bytes(f"P{kind} {width} {height} 255\n".encode() + pixels.tobytes())


def _png(pixels: Array, kind: int, bits: int = 8, *more: tuple[bytes, bytes]) -> Array:
    """A PNG file of rows of bytes; `kind` is 0 gray, 2 RGB, 3 of a palette, 6 RGBA."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = ((b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
    return _bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def _example(choose: Choose) -> Call:
    height, width = choose.shape((2, 2), 9)
    shape = (height, width, 3)[: choose.integer(2, 3)]
    pixels = choose.tensor(shape, BYTE, 0, 255)
    encoded = (
        _png(pixels, 2 if pixels.ndim == 3 else 0) if choose.integer(0, 1) else portable(pixels)
    )
    return Call((encoded,), {"pixel_format": choose.one_of(tuple(PIXEL_FORMATS))})


def _call(stream: Array, **attributes: str) -> Call:
    return Call((stream,), attributes)


_pixels = np.arange(0, 240, 10, dtype=np.uint8).reshape(2, 4, 3)
_rgba = np.concatenate([_pixels, _pixels[..., :1]], axis=-1)
_palette = (b"PLTE", bytes(range(9)))

SPECS = (
    spec_of(
        OP,
        1,
        _infer,
        _decode,
        _example,
        constant_inputs=frozenset({0}),
        edges=(
            partial(_call, portable(_pixels)),
            partial(_call, _png(_rgba, 6), pixel_format="BGR"),
            partial(_call, _png(_pixels[..., 0] % 3, 3, 8, _palette)),
            partial(_call, _png(_pixels[..., 0], 0), pixel_format="Grayscale"),
            partial(_call, _bytes(b"P4 9 1\n\xaa\x80"), pixel_format="Grayscale"),
            partial(_call, portable(_pixels)[:-5]),
            partial(_call, _bytes(b"GIF89a\1\0\1\0\0\0\0;")),
            partial(_call, np.empty(0, BYTE), pixel_format="Grayscale"),
        ),
        rejects=(
            Reject("floats", partial(_call, zeros(3)), "float32 is not supported, only uint8"),
            Reject("two axes", partial(_call, np.zeros((2, 3), BYTE)), "expected a vector"),
            Reject(
                "a format", partial(_call, portable(_pixels), pixel_format="CMYK"), "one of RGB"
            ),
        ),
        reads=("pixel_format",),
    ),
)
