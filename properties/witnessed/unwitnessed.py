"""Features that no engine beside ours agrees on, and why: data, strict both ways."""

from __future__ import annotations

RESTATED = "it may only repeat the shape of the weights"
NO_WITNESS = "no witness has a kernel for this dtype"
NO_EFFECT = "inference reads it not: training is refused"
UNWITNESSED = {
    "Conv: kernel_shape=another value": RESTATED,
    "ConvTranspose: kernel_shape=another value": RESTATED,
    "Dropout: T1 of float16": NO_EFFECT,
    "Dropout: T1 of float32": NO_EFFECT,
    "Dropout: T1 of float64": NO_EFFECT,
    "Dropout: T2 of bool": NO_EFFECT,
    "Dropout: with ratio": NO_EFFECT,
    "Dropout: with training_mode": NO_EFFECT,
    "OneHot: T3 of bool": NO_WITNESS,
    "ReduceSumSquare: T of uint32": "onnxruntime has no kernel; the evaluator squares in 64 bits",
    "Resize: T1 of bool": NO_WITNESS,
}
"""Feature, as it is printed, -> reason."""
