"""Arrays as the bytes of an .npz file, and back."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np

from conformance.files import put_arrays
from conformance.inputs import Feeds


def arrays_of(data: bytes) -> Feeds:
    """What an .npz file holds."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An .npz file of arrays with any names."""
    file = io.BytesIO()
    put_arrays(file, arrays)
    return file.getvalue()
