"""Named arrays in one file; names are free (an .npz key could not be called `file`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engine.ir.types import STRING


def save_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write in order; strings as NumPy keeps them."""
    names = np.array(list(arrays), dtype=np.str_)
    with Path(path).open("wb") as file:
        plain = (a.astype(np.str_) if a.dtype == STRING else a for a in arrays.values())
        np.savez(file, names, *plain)


def load_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The inverse of `save_arrays`."""
    with np.load(path, allow_pickle=False) as stored:
        names, *keys = stored.files
        arrays = (stored[key] for key in keys)
        loaded = [a.astype(STRING) if a.dtype.kind == "U" else a for a in arrays]
        return dict(zip(map(str, stored[names]), loaded, strict=True))
