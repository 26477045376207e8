"""Memory that a kernel needs while it runs, kept from call to call: fresh pages cost more."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np

from engine.backends.cpu.memory import claim

_kept = threading.local()


def scratch(name: str, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array; the next call with this name in this thread takes its memory back."""
    nbytes = math.prod(shape) * dtype.itemsize
    blocks: dict[str, np.ndarray] = _kept.__dict__
    if name not in blocks or blocks[name].nbytes < nbytes:
        claim(nbytes)
        blocks[name] = np.empty(nbytes, np.uint8)
    return blocks[name][:nbytes].view(dtype).reshape(shape)
