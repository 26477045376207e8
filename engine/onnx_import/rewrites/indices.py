"""Operators that read or write by computed positions, taken apart into Gather- and ScatterElements.

Source: https://onnx.ai/onnx/operators/, the texts of ReverseSequence, TensorScatter, MaxUnpool and
Col2Im. Shapes are computed by nodes, which fold away once those of the inputs are known.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import ModelError, UnsupportedError
from engine.ir.graph import Value
from engine.onnx_import.form import Emitter, Form
from engine.onnx_import.rewrites.steps import Steps


def reverse_sequence(form: Form, emitter: Emitter) -> None:
    """Element t of a sequence of length n comes from n - 1 - t, behind it from t."""
    steps, (x, lengths) = Steps(form, emitter), form.inputs
    assert x is not None
    rank, time, batch = steps.rank(x, "its input"), form.take("time_axis"), form.take("batch_axis")
    if {time, batch} != {0, 1} or rank < 2:
        raise ModelError(
            f"{form.title}: time_axis={time} and batch_axis={batch} of a tensor of rank {rank}, "
            "expected 0 and 1"
        )
    if lengths is not None and lengths.constant is not None and (lengths.constant < 0).any():
        least = lengths.constant.min()
        raise ModelError(f"{form.title}: sequence_lens holds {least}, expected 0 or more")
    apart = steps.integers("apart", batch)
    t = steps.of("Unsqueeze", steps.range(steps.of("Shape", x, start=time, end=time + 1)), apart)
    given = steps.of("Reshape", lengths, steps.of("Shape", x, start=batch, end=batch + 1))
    n = steps.of("Unsqueeze", given, steps.integers("along", time))
    turned = steps.of("Sub", steps.of("Sub", n, steps.integers("one", 1)), t)
    places = steps.of("Where", steps.of("Less", t, n), turned, t)
    whole = steps.of("Unsqueeze", places, steps.integers("others", *range(2, rank)))
    form.op_type, form.attributes = "GatherElements", {"axis": time}
    form.inputs = [x, steps.of("Expand", whole, steps.of("Shape", x))]


def tensor_scatter(form: Form, emitter: Emitter) -> None:
    """Element s of the update goes to the write index of its batch, plus s."""
    steps, (past, update, *_) = Steps(form, emitter), form.inputs
    assert past is not None
    assert update is not None
    rank, axis, mode = steps.rank(past, "its cache"), form.take("axis"), form.take("mode")
    if not -rank <= axis < rank or axis % rank == 0:
        raise ModelError(
            f"{form.title}: axis={axis} is no sequence axis of a tensor of rank {rank}"
        )
    if mode not in ("linear", "circular"):
        raise ModelError(f"{form.title}: mode={mode!r}, expected linear or circular")
    axis %= rank
    there, new = steps.extent(past, axis), steps.extent(update, axis)
    if there is not None and new is not None and new > there:
        raise ModelError(f"{form.title}: an update of {new} elements for a cache of {there}")
    count = steps.of("Shape", update, start=axis, end=axis + 1)
    places = steps.beside(steps.range(count), axis, rank)
    if (first := form.input(2)) is not None:
        places = steps.of("Add", steps.beside(first, 0, rank), places)
    if mode == "circular":
        places = steps.of("Mod", places, steps.of("Shape", past, start=axis, end=axis + 1))
    form.op_type, form.attributes = "ScatterElements", {"axis": axis}
    form.inputs = [past, steps.of("Expand", places, steps.of("Shape", update)), update]


def max_unpool(form: Form, emitter: Emitter) -> None:
    """Zeros of the size that the windows cover, then elements at their indices, then padding."""
    steps, (x, indices, *_) = Steps(form, emitter), form.inputs
    assert x is not None
    kernel = form.take("kernel_shape")
    n, rank = len(kernel), steps.rank(x, "its input")
    strides, pads = form.take("strides") or (1,) * n, form.take("pads") or (0,) * 2 * n
    if not rank - 2 == n == len(strides) == len(pads) / 2:
        raise ModelError(
            f"{form.title}: kernel_shape={kernel}, strides={strides} and pads={pads} for a "
            f"tensor of rank {rank}"
        )
    if emitter.rank(indices) not in (None, rank):
        raise ModelError(f"{form.title}: indices of another rank than its input's, {rank}")
    before = steps.of("Sub", steps.of("Shape", x, start=2), steps.integers("one", 1))
    ends = [k - b - e for k, b, e in zip(kernel, pads[:n], pads[n:], strict=True)]
    spread = steps.of("Mul", before, steps.integers("strides", *strides))
    inner = steps.of("Add", spread, steps.integers("ends", *ends))
    shape = steps.of("Concat", steps.of("Shape", x, start=0, end=2), inner, axis=0)
    total = steps.of("ReduceProd", shape, steps.integers("axes", 0), keepdims=1)
    zeros = steps.of("Expand", steps.like("zero", 0, x), total)
    flat = steps.integers("flat", -1)
    parts = (steps.of("Reshape", v, flat) for v in (indices, x))
    y = steps.of("ScatterElements", zeros, *parts, axis=0)
    wanted = form.input(2)
    form.op_type, form.inputs, form.attributes = "Reshape", [y, shape], {"allowzero": 1}
    if wanted is not None:
        whole = steps.of("Reshape", y, shape, allowzero=1)
        zero = steps.integers("before", *[0] * rank)
        widths = steps.of("Concat", zero, steps.of("Sub", wanted, shape), axis=0)
        form.op_type, form.inputs, form.attributes = "Pad", [whole, widths], {}


def col2im(form: Form, emitter: Emitter) -> None:
    """Sums at the positions that ScatterElements is told; then what is padding is cut off."""
    steps, (x, image, block) = Steps(form, emitter), form.inputs
    assert x is not None
    assert image is not None
    given = {k: tuple(form.take(k) or ()) for k in ("strides", "dilations", "pads")}
    n = _axes_of(steps, image, given)
    strides, dilations = (given[k] or (1,) * n for k in ("strides", "dilations"))
    pads = given["pads"] or (0,) * 2 * n
    if (
        not 1 <= n == len(strides) == len(dilations) == len(pads) / 2
        or min(strides + dilations) < 1
    ):
        raise ModelError(f"{form.title}: {given} for {n} spatial axes")
    begins = steps.integers("begins", *pads[:n])
    widths = (b + e for b, e in zip(pads[:n], pads[n:], strict=True))
    padded = steps.of("Add", image, steps.integers("widths", *widths))
    places = _positions(steps, padded, block, strides, dilations)
    taps = steps.of("ReduceProd", block, steps.integers("axes", 0), keepdims=1)
    channels = steps.of("Div", steps.of("Shape", x, start=1, end=2), taps)
    outer = steps.of("Concat", steps.of("Shape", x, start=0, end=1), channels, axis=0)
    lines = steps.of("Concat", outer, steps.of("Shape", places, start=2), axis=0)
    size = steps.of("ReduceProd", padded, steps.integers("axes", 0), keepdims=1)
    size = steps.of("Concat", outer, size, axis=0)
    y = steps.of(
        "ScatterElements",
        steps.of("Expand", steps.like("zero", 0, x), size),
        steps.of("Expand", places, lines),
        steps.of("Reshape", x, lines, allowzero=1),
        axis=2,
        reduction="add",
    )
    whole = steps.of("Reshape", y, steps.of("Concat", outer, padded, axis=0), allowzero=1)
    axes = steps.integers("spatial", *range(2, n + 2))
    form.op_type = "Slice"
    form.inputs = [whole, begins, steps.of("Add", begins, image), axes]


def _axes_of(steps: Steps, image: Value, given: dict[str, tuple[int, ...]]) -> int:
    """How many numbers the shape of an image has."""
    if image.type is not None and image.type.is_static:
        return image.type.size
    n = len(given["strides"] or given["dilations"]) or len(given["pads"]) // 2
    if not n:
        raise UnsupportedError(
            f"{steps.form.title}: the number of spatial axes is not known at import"
        )
    return n


def _positions(
    steps: Steps,
    padded: Value,
    block: Value | None,
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Value:
    """(1, 1, taps x places) flat positions in the padded image: of all places for each tap."""
    n, one = len(strides), steps.integers("one", 1)
    along, apart = steps.integers("dilations", *dilations), steps.integers("strides", *strides)
    reach = steps.of("Mul", along, steps.of("Sub", block, one))
    free = steps.of("Sub", steps.of("Sub", padded, reach), one)
    counts = steps.of("Add", steps.of("Div", free, apart), one)
    flat: Value | None = None
    for k in range(n):
        extent, taps, places = (steps.part(v, k, k + 1) for v in (padded, block, counts))
        tap = steps.of("Mul", steps.range(taps), steps.part(along, k, k + 1))
        place = steps.of("Mul", steps.range(places), steps.part(apart, k, k + 1))
        at = steps.of("Add", steps.beside(tap, k, 2 * n), steps.beside(place, n + k, 2 * n))
        flat = at if flat is None else steps.of("Add", steps.of("Mul", flat, extent), at)
    assert flat is not None
    return steps.of("Reshape", flat, steps.integers("line", 1, 1, -1))
