"""Features that no engine beside ours agrees on, and why: data, strict both ways."""

from __future__ import annotations

from fnmatch import fnmatchcase

RESTATED = "it may only repeat the shape of the weights"
NO_WITNESS = "no witness has a kernel for this dtype"
NO_FORM = "no witness has this old form; the importer rewrites it to a newer one that is witnessed"
NO_EFFECT = "inference reads it not, and in training no two engines drop the same"
BY_NUMPY = "onnxruntime begins at opset 7; the evaluator knows NumPy's broadcasting only"
WITHOUT_BETA = "onnxruntime begins at opset 7; the evaluator forgets beta"
BEYOND_THE_EVALUATOR = "onnxruntime begins at opset 7; the evaluator knows no such attribute"
NO_MORE_SAID = "a node that names its first output wants it, whatever the attribute says"
IN_FLOAT = "its softmax is in float whether that is said or not; other dtypes are a definition's"
NO_SCORES = "of an output that kernels do not write; examples have it not"
OLD_RECURRENT = ("GRU-1", "GRU-3", "LSTM-1")
UNWITNESSED = {
    "Attention-*: qk_matmul_output_mode=*": NO_SCORES,
    "Attention-*: softmax_precision=*": IN_FLOAT,
    "Clip-1: *": NO_FORM,
    "Conv-*: kernel_shape=*": RESTATED,
    "ConvTranspose-*: kernel_shape=*": RESTATED,
    "DeformConv-*: kernel_shape=*": RESTATED,
    "Dropout-1: is_test=1": NO_FORM,
    "Dropout-6: is_test=1": NO_FORM,
    **{f"Dropout-{since}: ratio=*": NO_EFFECT for since in (7, 10)},
    **{f"Dropout-{since}: with *": NO_EFFECT for since in (12, 13, 22)},
    **{f"Dropout-{since}: T1 of *": NO_EFFECT for since in (12, 13, 22)},
    **{f"Dropout-{since}: T2 of *": NO_EFFECT for since in (12, 13, 22)},
    "Gemm-1: *": NO_FORM,
    "Gemm-6: examples": WITHOUT_BETA,
    "Gemm-6: alpha=*": WITHOUT_BETA,
    "Gemm-6: beta=*": WITHOUT_BETA,
    "Gemm-6: broadcast=1": WITHOUT_BETA,
    "Gemm-6: T of float16": WITHOUT_BETA,
    **{f"{op}-*: hidden_size=*": RESTATED for op in ("GRU", "LSTM", "RNN")},
    **{
        f"{old}: {name}=*": BEYOND_THE_EVALUATOR
        for old in OLD_RECURRENT
        for name in ("activation_alpha", "activation_beta", "activations", "clip")
    },
    "LSTM-1: input_forget=1": BEYOND_THE_EVALUATOR,
    "RNN-1: *": NO_FORM,
    **{f"{old}: output_sequence=1": NO_MORE_SAID for old in OLD_RECURRENT},
    "OneHot-*: T3 of bool": NO_WITNESS,
    "Pow-1: broadcast=1": BY_NUMPY,
    "ReduceSumSquare-*: T of uint32": "onnxruntime has no kernel; the evaluator squares in 64 bits",
    "Resize-*: T1 of bool": NO_WITNESS,
    "Split-1: *": NO_FORM,
    **{f"Upsample-7: T of {t}": NO_WITNESS for t in ("bool", "float64", "int16", "int64")},
    **{f"Upsample-7: T of {t}": NO_WITNESS for t in ("uint16", "uint32", "uint64")},
    **{
        f"{name}-1: axis=*": BY_NUMPY
        for name in ("Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow")
    },
    **{f"{name}-1: axis=*": BY_NUMPY for name in ("Sub", "Xor")},
    **{f"{name}-6: axis=*": BY_NUMPY for name in ("Add", "Div", "Mul", "Sub")},
}
"""Patterns of features, as they are printed -> reason."""
BY_CHANCE = (BY_NUMPY, WITHOUT_BETA, BEYOND_THE_EVALUATOR)
"""Reasons that a call now and then escapes: extents that are equal, a beta of 1."""


def why_not(feature: str) -> str | None:
    """The reason, None where a feature must be witnessed."""
    return next((why for p, why in UNWITNESSED.items() if fnmatchcase(feature, p)), None)
