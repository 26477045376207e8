"""NumPy kernels, one file per operator family; FAMILIES lists them."""

from engine.backends.cpu import (
    binary,
    conv,
    gather,
    layout,
    matmul,
    normalization,
    pool,
    reduce,
    region,
    resize,
    scatter,
    shape,
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
    pool,
    reduce,
    region,
    resize,
    scatter,
    shape,
    softmax,
    unary,
    view,
)
