"""ImageDecoder by Pillow, all bands of its pixels at once."""

from __future__ import annotations

import numpy as np

from engine.backends.cpu.computed import Arrays, kernel_of
from engine.ir.node import Attributes
from engine.ops.image_decoder import bands_of, check_stream, opened


def _decode(arrays: Arrays, attributes: Attributes) -> list[np.ndarray]:
    stream, bands = np.asarray(arrays[0]), bands_of(attributes)
    check_stream(stream.dtype, stream.shape)
    image = opened(stream, {"BGR": "RGB"}.get(bands, bands))
    if image is None:
        return [np.empty((0, 0, len(bands)), np.uint8)]
    pixels = np.asarray(image)
    if bands == "L":
        return [pixels[..., None]]
    return [pixels[..., ::-1] if bands == "BGR" else pixels]


COMPUTED = {"ImageDecoder": _decode}
KERNELS = {op_type: kernel_of(compute) for op_type, compute in COMPUTED.items()}
