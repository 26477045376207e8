"""OpenCL kernels and their host code, one file per operator family; FAMILIES lists them."""

from engine.backends.opencl import (
    binary,
    conv,
    gather,
    layout,
    matmul,
    normalization,
    reduce,
    region,
    scatter,
    softmax,
    unary,
    view,
)

FAMILIES = (
    binary,
    conv,
    gather,
    layout,
    matmul,
    normalization,
    reduce,
    region,
    scatter,
    softmax,
    unary,
    view,
)

NOT_YET: dict[str, str] = {}
"""Operators without an OpenCL kernel, each with a sentence for the user."""
