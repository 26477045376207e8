"""OpenCL kernels and their host code, one file per operator family; FAMILIES lists them."""

from engine.backends.opencl import (
    argmax,
    binary,
    cast,
    conv,
    cumsum,
    gather,
    grid_sample,
    layout,
    lrn,
    matmul,
    normalization,
    pad,
    pool,
    reduce,
    region,
    resize,
    scatter,
    softmax,
    top_k,
    unary,
    view,
)

FAMILIES = (
    argmax,
    binary,
    cast,
    conv,
    cumsum,
    gather,
    grid_sample,
    layout,
    lrn,
    matmul,
    normalization,
    pad,
    pool,
    reduce,
    region,
    resize,
    scatter,
    softmax,
    top_k,
    unary,
    view,
)

NOT_YET: dict[str, str] = {
    "Shape": "shapes are known on the host; the CPU answers",
    "Size": "shapes are known on the host; the CPU answers",
    "ConstantOfShape": "constants are made on the host, before a run",
    "Range": "constants are made on the host, before a run",
    "Copy": "the engine itself carries values across backends",
}
"""Operators without an OpenCL kernel, each with a sentence for the user."""
