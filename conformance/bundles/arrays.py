"""Arrays as the bytes of an .npz file, and back."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np

from conformance.files import fixed, put_arrays
from conformance.inputs import Feeds
from engine.ir.types import STRING


def arrays_of(data: bytes) -> Feeds:
    """What an .npz file holds."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    return {n: a.astype(STRING) if a.dtype.kind == "U" else a for n, a in found.items()}


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An .npz file of arrays with any names."""
    file = io.BytesIO()
    put_arrays(file, {name: fixed("a bundle", name, a) for name, a in arrays.items()})
    return file.getvalue()
