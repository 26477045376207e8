"""Named arrays in one file; names are free (an .npz key could not be called `file`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np


def save_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write in order."""
    names = np.array(list(arrays), dtype=np.str_)
    with Path(path).open("wb") as file:
        np.savez(file, names, *arrays.values())


def load_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The inverse of `save_arrays`."""
    with np.load(path, allow_pickle=False) as stored:
        names, *keys = stored.files
        return {str(n): stored[k] for n, k in zip(stored[names], keys, strict=True)}
