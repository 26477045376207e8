"""WeightsFile: a file whose weights are read when they are needed, and again when needed again."""

from __future__ import annotations

import os
from pathlib import Path
from weakref import finalize

import numpy as np

from engine.errors import ModelError


class WeightsFile:
    """A file that stays open: it can be renamed, replaced or removed, but not changed.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        finalize(self, self._file.close)
        self._state = self._state_now()

    @property
    def nbytes(self) -> int:
        """Size of the file when it was opened."""
        return self._state[0]

    def fileno(self) -> int:
        """The descriptor."""
        return self._file.fileno()

    def read(self, dtype: np.dtype, shape: tuple[int, ...], offset_nbytes: int) -> np.ndarray:
        """An array of that many bytes of the file; raises ModelError if it was changed."""
        array = np.empty(shape, dtype)
        left = memoryview(array.reshape(-1).view(np.uint8).data)
        try:
            while left and (count := os.preadv(self.fileno(), [left], offset_nbytes)):
                left, offset_nbytes = left[count:], offset_nbytes + count
        except OSError as error:
            raise ModelError(f"model file '{self.path}' cannot be read: {error.strerror}") from None
        if left or self._state_now() != self._state:
            raise ModelError(
                f"model file '{self.path}' was changed after it was read, and its weights are "
                "needed again: make a new Interpreter; to replace a file that is in use, rename "
                "another one to its name"
            )
        return array

    def _state_now(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns
