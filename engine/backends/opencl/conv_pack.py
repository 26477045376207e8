"""Convolution weights and biases in the arrangement of kernels/conv.cl."""

from __future__ import annotations

import math

import numpy as np

from engine.backends.opencl.conv_phases import Phase

BLOCK = 32
"""Outputs per work-item of conv_tile."""


def grouped(w: np.ndarray, group: int, *, transposed: bool) -> np.ndarray:
    """ONNX weights as (group, outputs, channels, kernel_d, kernel_h, kernel_w)."""
    missing = (1,) * (5 - w.ndim)
    w = w.reshape(group, w.shape[0] // group, w.shape[1], *missing, *w.shape[2:])
    return w.swapaxes(1, 2) if transposed else w


def pack_tiles(w: np.ndarray, phase: Phase) -> np.ndarray:
    """(group, outputs, channels, kd, kh, kw) to [group][block][tap][channel][BLOCK] and the zeros.

    The zeros stand for pixels outside the image: one kernel row of channels.
    """
    w = _at_taps(w, phase)
    group, outputs, channels, *kernel = w.shape
    whole, rest = divmod(outputs, BLOCK)
    shape = (group, whole + bool(rest), *kernel, channels, BLOCK)
    packed = np.zeros(math.prod(shape) + outside_size(channels, kernel[-1]), w.dtype)
    tiles = packed[: math.prod(shape)].reshape(shape)
    full = w[:, : whole * BLOCK].reshape(group, whole, BLOCK, channels, *kernel)
    tiles[:, :whole] = full.transpose(0, 1, 4, 5, 6, 3, 2)
    tiles[:, whole:, ..., :rest] = w[:, None, whole * BLOCK :].transpose(0, 1, 4, 5, 6, 3, 2)
    return packed


def _at_taps(w: np.ndarray, phase: Phase) -> np.ndarray:
    """The weights of a phase's taps along the last three axes; a view where it has all of them."""
    for axis, along in zip((-3, -2, -1), phase, strict=True):
        if list(along.taps) != list(range(w.shape[axis])):
            w = np.take(w, list(along.taps), axis)
    return w


def outside_size(channels: int, kernel_w: int) -> int:
    """Elements of the zeros behind the tiles."""
    return max(1, channels * kernel_w)


def pack_depthwise(w: np.ndarray, phase: Phase) -> np.ndarray:
    """(channels, multiplier, 1, kd, kh, kw) to [tap][outputs, zero-filled to a multiple of 16]."""
    w = _at_taps(w, phase)
    outputs, taps = w.shape[0] * w.shape[1], math.prod(w.shape[3:])
    packed = np.zeros((taps, -(-outputs // 16) * 16), w.dtype)
    packed[:, :outputs] = w.reshape(outputs, taps).T
    return packed


def pack_bias(b: np.ndarray, group: int, block: int) -> np.ndarray:
    """(outputs,) to [group][outputs of a group, zero-filled to a multiple of `block`]."""
    per_group = b.size // group
    packed = np.zeros((group, -(-per_group // block) * block), b.dtype)
    packed[:, :per_group] = b.reshape(group, per_group)
    return packed
