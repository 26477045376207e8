"""A constant matrix as the weights of a convolution with one tap, a part of it at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engine.backends.opencl.conv_pack import BLOCK, outside_size
from engine.backends.opencl.memory import Rows
from engine.ir.constant import Constant


def packed_size(k: int, n: int) -> int:
    """Elements of all that `packed_matrix` gives."""
    return -(-n // BLOCK) * k * BLOCK + outside_size(k, 1)


def packed_matrix(
    constant: Constant, k: int, n: int, most_nbytes: int, *, turned: bool
) -> Iterator[Rows]:
    """[block][K][BLOCK] of a (K, N) matrix, and zeros for pixels outside, as `pack_tiles` has it.

    Args:
        most_nbytes: of the constant that is in memory at a time, roughly.
        turned: the constant is (N, K).
    """
    blocks = -(-n // BLOCK)
    first = 0
    unit = BLOCK * k if turned else n
    for part in constant.parts(most_nbytes, unit) if k * n else ():
        if turned:
            rows = part.reshape(-1, k)
            tiles = _tiles(rows.T).reshape(1, -1)
            yield Rows(tiles, first * k, tiles.size)
        else:
            rows = part.reshape(-1, n)
            yield Rows(_tiles(rows).reshape(blocks, -1), first * BLOCK, k * BLOCK)
        first += len(rows)
    zeros = np.zeros((1, outside_size(k, 1)), constant.type.dtype)
    yield Rows(zeros, blocks * k * BLOCK, zeros.size)


def _tiles(b: np.ndarray) -> np.ndarray:
    """(k, n) as (blocks, k, BLOCK), the last block filled with zeros."""
    k, n = b.shape
    whole, rest = divmod(n, BLOCK)
    tiles = np.zeros((whole + bool(rest), k, BLOCK), b.dtype)
    tiles[:whole] = b[:, : whole * BLOCK].reshape(k, whole, BLOCK).transpose(1, 0, 2)
    tiles[whole:, :, :rest] = b[None, :, whole * BLOCK :]
    return tiles
