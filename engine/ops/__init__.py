"""OPERATORS: one explicit line per operator family; importing has no other effect."""

from __future__ import annotations

from engine.ops import (
    argmax,
    binary,
    cast,
    conv,
    cumsum,
    deform_conv,
    det,
    dft,
    gather,
    grid_sample,
    layout,
    lrn,
    matmul,
    noise,
    non_max_suppression,
    nonzero,
    normalization,
    pad,
    pool,
    recurrent,
    reduce,
    region,
    resize,
    roi_align,
    scatter,
    shape,
    softmax,
    top_k,
    unary,
    view,
)
from engine.ops.spec import OpSpec

OPERATORS: dict[str, OpSpec] = {
    spec.op_type: spec
    for family in (
        argmax,
        binary,
        cast,
        conv,
        cumsum,
        deform_conv,
        det,
        dft,
        gather,
        grid_sample,
        layout,
        lrn,
        matmul,
        noise,
        non_max_suppression,
        nonzero,
        normalization,
        pad,
        pool,
        recurrent,
        reduce,
        region,
        resize,
        roi_align,
        scatter,
        shape,
        softmax,
        top_k,
        unary,
        view,
    )
    for spec in family.SPECS
}
"""Every operator Parallax knows, by ONNX name."""
