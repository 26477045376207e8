"""Products with an activation, and activations with a bias."""

from __future__ import annotations

from engine.errors import ModelError, UnsupportedError
from engine.onnx_import.microsoft.body import Body
from engine.ops.conv_window import conv_window

_WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")

_CONV_PARAMETERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("Relu", "Tanh", "Sigmoid", "HardSwish"), ()),
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Clip": ("min", "max"),
}
"""What `activation_params` of a FusedConv are, in order."""

_GEMM_PARAMETERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("Relu", "Tanh", "Sigmoid", "Softplus", "Softsign"), ()),
    **dict.fromkeys(("LeakyRelu", "Elu", "ThresholdedRelu"), ("alpha",)),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
}
"""Which of `activation_alpha`, `_beta` and `_gamma` a FusedGemm needs."""


def conv(body: Body) -> None:
    """activation(Conv(X, W, B) + Z)."""
    activation, given = body.attribute("activation"), body.attribute("activation_params") or ()
    names = _parameters(body, activation, _CONV_PARAMETERS) if activation else ()
    if len(names) != len(given) and activation != "HardSwish":  # which onnxruntime gives its own
        raise ModelError(
            f"{body.title}: {len(given)} activation_params for {activation}, expected {len(names)}"
        )
    body.check_shapes(X="b c ...", W="m ...", B="m")
    if body.known_rank("X") is not None:
        body.check_shapes(Z=" ".join(["b", "m", *_extents(body)]))
    y = body.of("Conv", "X", "W", "B", **body.attributes(*_WINDOW))
    if body.given("Z"):
        y = body.of("Add", y, "Z")
    if activation == "Clip":
        body.of("Clip", y, *(body.number(limit, "X") for limit in given), into="Y")
    else:
        parameters = dict(zip(names, given, strict=False))
        body.of(activation or "Identity", y, into="Y", **parameters)


def _extents(body: Body) -> list[str]:
    """Of the spatial axes of a FusedConv's result; `*` where they are not known at import."""
    dims = [body.dims(name) for name in ("X", "W") if body.known_rank(name) is not None]
    x, *w = (tuple(n for n in shape if n is not None) for shape in dims)
    if not w or len(x) != len(dims[0]) or len(w[0]) != len(dims[1]):
        return ["*"] * (len(dims[0]) - 2)
    window = conv_window(x, w[0], body.attributes(*_WINDOW), body.title)
    return [str(n) for n in window.outputs]


def gemm(body: Body) -> None:
    """activation(Gemm(A, B, C))."""
    activation = body.attribute("activation")
    if activation is None:
        raise ModelError(f"{body.title}: there is no activation")
    names = _parameters(body, activation, _GEMM_PARAMETERS)
    parameters = body.attributes(*(f"activation_{name}" for name in names))
    if len(parameters) < len(names):
        raise ModelError(
            f"{body.title}: {activation} needs activation_{', activation_'.join(names)}"
        )
    body.check_shapes(
        A="k m" if body.attribute("transA") else "m k",
        B="n k" if body.attribute("transB") else "k n",
        C=" | n? | m? n?",
    )
    scales = body.attributes("alpha", "beta", "transA", "transB")
    y = body.of("Gemm", "A", "B", "C", **scales)
    body.of(activation, y, into="Y", **dict(zip(names, parameters.values(), strict=True)))


def _parameters(body: Body, activation: str, known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    if activation not in known:
        raise UnsupportedError(
            f"{body.title}: activation {activation!r} is not supported, only {', '.join(known)}"
        )
    return known[activation]


def mat_mul(body: Body) -> None:
    """alpha * A' B': with transA the last two axes of A are swapped.

    Before that, with transBatchA its first axis is moved to where the rows are.
    """
    if body.attribute("transBatchA") or body.attribute("transBatchB"):
        body.check_shapes(A="... * * *")
        if (rank := body.known_rank("A")) is not None:
            body.check_shapes(B=" ".join("*" * rank))
    a = _transposed(body, "A", body.attribute("transBatchA"), body.attribute("transA"))
    b = _transposed(body, "B", body.attribute("transBatchB"), body.attribute("transB"))
    alpha = body.attribute("alpha")
    if alpha == 1:
        body.of("MatMul", a, b, into="Y")
    else:
        body.of("Mul", body.of("MatMul", a, b), body.number(alpha, "A"), into="Y")


def _transposed(body: Body, name: str, batch: int, matrix: int) -> str:
    if not (batch or matrix):
        return name
    axes = list(range(body.rank(name)))
    if len(axes) < 2:
        return name  # vectors stay as they are
    if batch:
        axes.insert(len(axes) - 2, axes.pop(0))
    if matrix:
        axes[-2:] = axes[:-3:-1]
    return body.of("Transpose", name, perm=axes)


def gelu(body: Body) -> None:
    """The exact one."""
    body.of("Gelu", "X", into="Y")


def bias_gelu(body: Body) -> None:
    """Gelu(A + B), B along the last axis."""
    body.check_shapes(A="... h", B="h")
    body.of("Gelu", body.of("Add", "A", "B"), into="C")


def fast_gelu(body: Body) -> None:
    """The approximation by tanh, of X + bias."""
    body.check_shapes(X="... h", bias="h")
    x = "X"
    if body.given("bias"):
        x = body.of("Add", x, "bias")
    body.of("Gelu", x, into="Y", approximate="tanh")


def quick_gelu(body: Body) -> None:
    """x * sigmoid(alpha * x)."""
    body.of("Swish", "X", into="Y", alpha=body.attribute("alpha"))
