"""Random tensors of quantised models."""

from __future__ import annotations

from typing import Any

import numpy as np


class QuantizedValues:
    """Draws from one generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def whole(self, dtype: Any, *shape: int) -> np.ndarray:
        """All numbers of a dtype alike."""
        limits = np.iinfo(dtype)
        return self._rng.integers(limits.min, limits.max + 1, shape).astype(dtype)

    def weights(self, dtype: Any, *shape: int) -> np.ndarray:
        """Signed ones of 7 bits: without VNNI onnxruntime saturates sums of two products."""
        x = self.whole(dtype, *shape)
        return x if np.dtype(dtype).kind == "u" else (x // 2).astype(dtype)

    def scales(self, *shape: int) -> np.ndarray:
        """0.01 to 0.2, float32."""
        return np.asarray(self._rng.uniform(0.01, 0.2, shape)).astype(np.float32)
