"""The end of a fused kernel: an activation number with two parameters, as in kernels/conv.cl."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.ops.compose import Epilogue

if TYPE_CHECKING:
    from engine.backends.opencl.backend import OpenCLBackend

CLAMP, LEAKY_RELU, HARD_SIGMOID, HARD_SWISH, SIGMOID = range(5)
_KINDS = {
    "LeakyRelu": LEAKY_RELU,
    "HardSigmoid": HARD_SIGMOID,
    "HardSwish": HARD_SWISH,
    "Sigmoid": SIGMOID,
}


@dataclass(frozen=True)
class Activation:
    """Kernel arguments: kind, alpha, beta. CLAMP without finite limits is no activation."""

    kind: int
    alpha: float
    beta: float


def activation_of(backend: OpenCLBackend, epilogue: Epilogue) -> Activation:
    """The arguments of an epilogue; a Clip's limits are tensors, hence rounded to storage."""
    if epilogue.activation in _KINDS:
        return Activation(_KINDS[epilogue.activation], epilogue.alpha, epilogue.beta)
    low, high = -np.inf, np.inf
    if epilogue.activation == "Relu":
        low = 0.0
    elif epilogue.activation == "Clip":
        limits = np.array([epilogue.alpha, epilogue.beta], np.float32)
        low, high = map(float, backend.stored(limits))
    return Activation(CLAMP, low, high)
