"""Faults outside the kernels: host code, planner, passes, comparator, CPU kernels, references."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import engine.execution.blueprint as blueprint
from conformance import judge as judging
from engine.backends.cpu import binary as cpu_binary
from engine.backends.cpu import cast as cpu_cast
from engine.backends.cpu import deform_conv as cpu_deform_conv
from engine.backends.cpu import det as cpu_det
from engine.backends.cpu import grid_sample as cpu_grid_sample
from engine.backends.cpu import matmul as cpu_matmul
from engine.backends.cpu import noise as cpu_noise
from engine.backends.cpu import recurrent as cpu_recurrent
from engine.backends.cpu import roi_align as cpu_roi_align
from engine.backends.cpu import unary as cpu_unary
from engine.backends.protocol import Slot
from engine.ir.types import NARROW_INTEGERS, NUMERIC
from engine.onnx_import.opsets import RULES
from engine.ops import resize_taps
from engine.passes import (
    fold_batch_norm,
    fold_bias,
    fuse_epilogue,
    fuse_hard_swish,
    fuse_layer_norm,
    linear,
)
from engine.planner import plan
from properties import memory
from properties.comparator import check_guards, check_judge
from properties.fault import (
    Bench,
    Fault,
    attribute,
    graphs,
    in_order,
    old_forms,
    operators,
    passes,
    several,
    spec,
)


# ------------------------------------------------------------------------- OpenCL host code
def _opencl(module: str) -> Any:
    from importlib import import_module

    return import_module(f"engine.backends.opencl.{module}")


def _later(module: str, name: str, change: Any) -> Any:
    """`attribute` on a module that is imported when the fault is planted."""
    return lambda: attribute(_opencl(module), name, change)()


def _shifted(old: Any) -> Any:
    return property(lambda slot: old.fget(slot) + 1)


def _key_of_arrangement(old: Any) -> Any:
    """Packed weights are found by their arrangement and shape alone."""

    def pack(self: Any, value: Any, how: str, pack: Any) -> Any:
        self.seen = getattr(self, "seen", {})
        key = (how, value.constant.shape)
        self.seen.setdefault(key, value)
        return old(self, self.seen[key], how, pack)

    return pack


def _truncated(old: Any) -> Any:
    """Rounds towards zero on the way to half."""

    def to_half(array: np.ndarray) -> np.ndarray:
        half = old(array)
        with np.errstate(all="ignore"):
            beyond = np.abs(half.astype(np.float64)) > np.abs(array.astype(np.float64))
            return np.asarray(np.where(beyond, np.nextafter(half, np.float16(0)), half))

    return to_half


def _backend(name: str, change: Any) -> Any:
    return lambda: attribute(_opencl("backend").OpenCLBackend, name, change)()


def _as_pytorch(weights: np.ndarray, gates: int) -> np.ndarray:
    """Gates i, f, g, o of an LSTM."""
    parts = np.split(weights, gates, 1)
    return np.concatenate([parts[k] for k in ((0, 2, 3, 1) if gates == 4 else range(gates))], 1)


def _without_those_of_r(old: Any) -> Any:
    def biases(b: Any, *others: Any) -> Any:
        return old(None if b is None else b * np.repeat([1, 0], b.size // 2), *others)

    return biases


HOST_FAULTS: tuple[Fault, ...] = (
    Fault(
        "slot-offset-off-by-one",
        "host",
        attribute(Slot, "offset", _shifted),
        operators("Relu", "Add"),
    ),
    Fault(
        "random-numbers-ignore-their-seed",
        "host",
        attribute(cpu_noise, "seed_of", lambda old: lambda attributes: 1),
        operators("RandomUniformLike", "RandomNormalLike", on="cpu"),
    ),
    Fault(
        "grid-sample-meets-the-border-pixel-once",
        "host",
        attribute(
            cpu_grid_sample,
            "_reflected_pixels",
            lambda old: lambda pixels, size, *, aligned: old(pixels, size, aligned=True),
        ),
        operators("GridSample", on="cpu"),
    ),
    Fault(
        "deform-conv-never-looks-above",
        "host",
        attribute(cpu_deform_conv, "_between", lambda old: lambda *at: [old(*at)[0]]),
        operators("DeformConv", on="cpu"),
    ),
    Fault(
        "roi-align-takes-one-sample",
        "host",
        attribute(cpu_roi_align, "SAMPLES_MAX", lambda old: 1),
        operators("RoiAlign", on="cpu"),
    ),
    Fault(
        "det-takes-the-first-pivot",
        "host",
        attribute(cpu_det, "_pivots", lambda old: lambda columns: np.zeros(len(columns), np.int64)),
        operators("Det", on="cpu"),
    ),
    Fault(
        "last-work-item-missing",
        "host",
        _later("unary", "chunks", lambda old: lambda count: (count // 1024,)),
        operators("Relu"),
    ),
    Fault(
        "infinite-weights-go-to-the-depthwise-kernel",
        "host",
        _later("conv", "_is_finite", lambda old: lambda value: True),
        operators("Conv"),
    ),
    Fault(
        "leading-stride-forgotten",
        "host",
        _later(
            "strides",
            "broadcast",
            lambda old: (
                lambda shape, strides, to: tuple(
                    0 if axis == 0 and len(to) > 2 else s
                    for axis, s in enumerate(old(shape, strides, to))
                )
            ),
        ),
        operators("Add", "Mul"),
    ),
    Fault(
        "gru-takes-both-phases-at-once",
        "host",
        _later("recurrent", "_phases", lambda old: lambda form: (3,)),
        operators("GRU"),
    ),
    Fault(
        "recurrent-weights-in-the-order-of-pytorch",
        "host",
        _later(
            "recurrent", "packed", lambda old: lambda w, gates: old(_as_pytorch(w, gates), gates)
        ),
        operators("LSTM"),
    ),
    Fault(
        "merged-axes-reversed",
        "host",
        _later(
            "strides",
            "in_memory_order",
            lambda old: (
                lambda shape, leading, operands: (tuple(shape), [tuple(o) for o in operands])
            ),
        ),
        in_order(graphs("nodes", "exact", count=60), operators("Add")),
    ),
    Fault(
        "weights-shared-by-shape",
        "host",
        _backend("pack", _key_of_arrangement),
        operators("Conv", "MatMul", examples=150),
    ),
    Fault(
        "upload-truncates",
        "host",
        _later("transfers", "to_half", _truncated),
        operators("Add"),
    ),
    Fault(
        "layout-border-without-reorder",
        "host",
        _later("layouts", "_needs_reorder", lambda old: lambda value, layout: False),
        graphs("nodes", count=60),
    ),
    Fault(
        "bias-of-groups-reversed",
        "host",
        _later(
            "conv",
            "pack_bias",
            lambda old: lambda b, group, block: old(b[::-1] if group > 1 else b, group, block),
        ),
        operators("Conv", examples=100),
    ),
)


# ------------------------------------------------------------------------- planner
def _one_step_short(old: Any) -> Any:
    def lifetimes_of(graph: Any, aliases: Any, keep: Any) -> Any:
        end = len(graph.nodes)
        return [
            replace(t, last=max(t.first, t.last - 1)) if t.last < end else t
            for t in old(graph, aliases, keep)
        ]

    return lifetimes_of


def _ignores_aliases(old: Any) -> Any:
    """A tensor dies although its views are still read."""
    return lambda graph, aliases, keep: [
        replace(t, last=_last_own_use(graph, t)) for t in old(graph, aliases, keep)
    ]


def _last_own_use(graph: Any, lifetime: Any) -> int:
    if lifetime.last == len(graph.nodes):
        return int(lifetime.last)
    readers = [i for i, n in enumerate(graph.nodes) if lifetime.value in n.inputs]
    return max([int(lifetime.first), *readers])


def _unchecked(*plants: Any) -> Any:
    """Without the independent check of the plan, so that only the results can tell."""
    return several(*plants, attribute(blueprint, "check_plan", lambda old: lambda *_: None))


_SHORT = attribute(plan, "lifetimes", _one_step_short)
_VIEWLESS = attribute(plan, "lifetimes", _ignores_aliases)

PLANNER_FAULTS: tuple[Fault, ...] = (
    Fault("lifetime-one-step-short", "planner", _SHORT, graphs("production", on="cpu")),
    Fault(
        "lifetime-one-step-short-unchecked",
        "planner",
        _unchecked(_SHORT),
        graphs("production", count=40),
    ),
    Fault(
        "views-do-not-keep-alive-unchecked",
        "planner",
        _unchecked(_VIEWLESS),
        graphs("production", count=80),
    ),
)


# ------------------------------------------------------------------------- passes
def _without_epsilon(old: Any) -> Any:
    def folded(linear: Any, norm: Any) -> Any:
        kept = dict(norm.attributes)
        norm.attributes["epsilon"] = 0.0
        result = old(linear, norm)
        norm.attributes.clear()
        norm.attributes.update(kept)
        return result

    return folded


def _any_reader(old: Any) -> Any:
    return lambda graph, value, keep=frozenset(): next(iter(value.uses), None)


PASS_FAULTS: tuple[Fault, ...] = (
    Fault(
        "batch-norm-folded-without-epsilon",
        "pass",
        attribute(fold_batch_norm, "_folded", _without_epsilon),
        passes(),
    ),
    Fault(
        "fusion-ignores-second-reader",
        "pass",
        attribute(fuse_epilogue, "only_reader", _any_reader),
        passes(),
    ),
    Fault(
        "folded-bias-replaces-the-old-one",
        "pass",
        attribute(
            fold_bias,
            "linear_of",
            lambda old: lambda node: None if old(node) is None else replace(old(node), bias=None),
        ),
        passes(),
    ),
    Fault(
        "subtraction-fused-as-residual",
        "pass",
        attribute(
            fuse_epilogue,
            "_is_residual",
            lambda old: (
                lambda node, value: (
                    node.op_type in ("Add", "Sub")
                    and (old(node, value) if node.op_type == "Add" else True)
                )
            ),
        ),
        passes(),
    ),
)


def _close_to_a_sixth(old: Any) -> Any:
    """A double that is a float's 1/6 counts as 1/6."""

    def is_sixth(node: Any, value: Any) -> bool:
        factors = [v.constant for v in node.inputs if v is not None and v.is_constant]
        close = [abs(float(f.reshape(-1)[0]) * 6 - 1) <= 1e-6 for f in factors if f.size == 1]
        return bool(old(node, value) or (node.op_type == "Mul" and any(close)))

    return is_sixth


PASS_FAULTS += (
    Fault(
        "integers-are-folded-as-floats",
        "pass",
        attribute(linear, "FLOATS", lambda old: NUMERIC),
        passes(),
    ),
    Fault(
        "batch-norm-of-doubles-folded-with-another-epsilon",
        "pass",
        attribute(fold_batch_norm, "epsilon_of", lambda old: lambda a: a.get("epsilon", 1e-5)),
        passes(),
    ),
    Fault(
        "hard-swish-of-doubles-by-a-float-sixth",
        "pass",
        attribute(fuse_hard_swish, "_is_sixth", _close_to_a_sixth),
        passes(count=600),
    ),
    Fault(
        "layer-norm-of-doubles-with-a-float-epsilon",
        "pass",
        attribute(fuse_layer_norm, "epsilon_of", lambda old: lambda a: a["epsilon"]),
        passes(count=600),
    ),
    Fault(
        "clip-of-doubles-fused-with-float-limits",
        "host",
        attribute(fuse_epilogue, "_is_float_scalar", lambda old: lambda limit: limit.is_constant),
        passes(count=40, on="opencl", first=360),
    ),
)


# ------------------------------------------------------------------------- importer
def _rules_with(change: Any) -> Any:
    """The rules of one operator, each rewrite changed."""
    return lambda old: tuple((below, change(rewrite)) for below, rewrite in old)


def _without_defaults(rewrite: Any) -> Any:
    def changed(form: Any, emitter: Any) -> None:
        given = [form.value(name) if name in form.attributes else None for name in ("min", "max")]
        rewrite(form, emitter)
        for index, value in enumerate(given, start=1):
            if value is None:
                form.set_input(index, None)

    return changed


def _copying_extents(rewrite: Any) -> Any:
    def changed(form: Any, emitter: Any) -> None:
        rewrite(form, emitter)
        form.attributes.pop("allowzero", None)

    return changed


IMPORTER_FAULTS: tuple[Fault, ...] = (
    Fault(
        "clip-forgets-the-default-limits-of-opset-6",
        "importer",
        attribute(RULES, "Clip", _rules_with(_without_defaults)),
        old_forms(),
    ),
    Fault(
        "softmax-of-old-opsets-loses-empty-axes",
        "importer",
        attribute(RULES, "Softmax", _rules_with(_copying_extents)),
        old_forms(),
    ),
)


# ------------------------------------------------------------------------- comparator
def _judge_with(change: Any) -> Any:
    """`judge` on changed arguments."""

    def wrap(old: Any) -> Any:
        return lambda got, reference, error, units, **more: old(
            *change(got, reference), error, units, **more
        )

    return attribute(judging, "judge", wrap)


def _hunt_comparator(where: Bench) -> None:
    for seed in range(20):
        where.step()
        check_judge(seed)
    for target in where.all:
        where.step()
        check_guards(target.backend)


def _zero_compared(old: Any) -> Any:
    def judge(got: Any, reference: Any, error: Any, units: Any, **more: Any) -> Any:
        judgement = old(reference.astype(got.dtype), reference, error, units, **more)
        return replace(judgement, count=0)

    return judge


COMPARATOR_FAULTS: tuple[Fault, ...] = (
    Fault(
        "nan-passes",
        "comparator",
        _judge_with(lambda got, reference: (np.where(np.isnan(got), reference, got), reference)),
        _hunt_comparator,
    ),
    Fault(
        "negative-errors-pass",
        "comparator",
        _judge_with(lambda got, reference: (np.maximum(got, reference), reference)),
        _hunt_comparator,
    ),
    Fault(
        "nothing-is-compared",
        "comparator",
        attribute(judging, "judge", _zero_compared),
        _hunt_comparator,
    ),
    Fault(
        "shapes-are-broadcast",
        "comparator",
        _judge_with(lambda got, reference: np.broadcast_arrays(got, reference)),
        _hunt_comparator,
    ),
    Fault(
        "six-sigma-is-sixty",
        "comparator",
        attribute(judging, "SIGMAS", lambda old: 60.0),
        _hunt_comparator,
    ),
    Fault(
        "last-element-skipped",
        "comparator",
        _judge_with(
            lambda got, reference: (
                np.concatenate([got.ravel()[:-1], reference.ravel()[-1:]]).reshape(got.shape),
                reference,
            )
        ),
        _hunt_comparator,
    ),
    Fault(
        "canaries-unchecked",
        "comparator",
        attribute(memory.GuardedMemory, "check_canaries", lambda old: lambda self, who: None),
        _hunt_comparator,
    ),
)


# ------------------------------------------------------------------------- CPU and references
def _scaled(factor: float) -> Any:
    return lambda old: lambda inputs, attributes: tuple(y * factor for y in old(inputs, attributes))


def _rounded_past_pixels(old: Any) -> Any:
    """half_pixel_symmetric as it is written down: the offset is rounded, and so is the sum."""

    def coordinates(how: str, size: int, outputs: int, scale: float, roi: Any) -> Any:
        if how != "half_pixel_symmetric":
            return old(how, size, outputs, scale, roi)
        offset = size / 2 * (1 - outputs / (scale * size))
        return offset + old("half_pixel", size, outputs, scale, roi)

    return coordinates


def _through_double(out: Any, c: Any, alpha: float, beta: float) -> None:
    c = 0 if c is None else c
    with np.errstate(all="ignore"):
        np.copyto(out, alpha * out.astype(float) + beta * c, casting="unsafe")


CPU_FAULTS: tuple[Fault, ...] = (
    Fault(
        "cpu-relu-is-abs",
        "cpu",
        attribute(cpu_unary._FUNCTIONS, "Relu", lambda old: lambda x, out: np.abs(x, out=out)),
        operators("Relu", on="cpu"),
    ),
    Fault(
        "cpu-tanh-in-half",
        "cpu",
        attribute(
            cpu_unary._FUNCTIONS,
            "Tanh",
            lambda old: lambda x, out: np.copyto(out, np.tanh(x.astype(np.float16))),
        ),
        operators("Tanh", on="cpu"),
    ),
    Fault(
        "cpu-changes-its-input",
        "cpu",
        attribute(
            cpu_unary._FUNCTIONS,
            "Neg",
            lambda old: lambda x, out: np.copyto(out, np.negative(x, out=x)),
        ),
        operators("Neg", on="cpu"),
    ),
    Fault(
        "cpu-power-by-the-shortcuts-of-numpy",
        "cpu",
        attribute(
            cpu_binary,
            "_real_power",
            lambda old: lambda a, b, out: np.copyto(out, np.power(a, b), casting="same_kind"),
        ),
        operators("Pow", on="cpu"),
    ),
    Fault(
        "cpu-casts-beyond-the-range-wrap",
        "cpu",
        attribute(
            cpu_cast, "to_integers", lambda old: lambda x, out: np.copyto(out, x, casting="unsafe")
        ),
        operators("Cast", on="cpu"),
    ),
    Fault(
        "cpu-casts-to-narrow-floats-round-twice",
        "cpu",
        attribute(cpu_cast, "to_odd_float", lambda old: lambda x: x.astype(np.float32)),
        operators("Cast", on="cpu"),
    ),
    Fault(
        "cpu-casts-always-saturate",
        "cpu",
        attribute(cpu_cast, "saturates", lambda old: lambda attributes: True),
        operators("Cast", on="cpu"),
    ),
    Fault(
        "cpu-casts-from-int4-lose-the-sign",
        "cpu",
        attribute(
            cpu_cast,
            "_widened",
            lambda old: lambda x: old(x) & 15 if x.dtype in NARROW_INTEGERS else old(x),
        ),
        operators("Cast", on="cpu"),
    ),
    Fault(
        "cpu-gemm-of-integers-through-double",
        "cpu",
        attribute(cpu_matmul, "_combine_integers", lambda old: _through_double),
        operators("Gemm", on="cpu"),
    ),
    Fault(
        "cpu-matmul-of-integers-in-float",
        "cpu",
        attribute(cpu_matmul, "EXACT_MAX", lambda old: ((2**63, old[0][1]),)),
        operators("MatMul", on="cpu"),
    ),
    Fault(
        "cpu-clip-takes-nan-for-a-limit",
        "cpu",
        attribute(cpu_unary, "_is_none", lambda old: lambda limit: limit is None),
        operators("Clip", on="cpu"),
    ),
    Fault(
        "cpu-recurrent-forgets-the-biases-of-r",
        "cpu",
        attribute(cpu_recurrent, "_biases", _without_those_of_r),
        operators("LSTM", on="cpu"),
    ),
    Fault(
        "cpu-recurrent-forgets-lengths",
        "cpu",
        attribute(
            cpu_recurrent,
            "_run",
            lambda old: lambda op, d, back, ends, *rest: old(op, d, back, None, *rest),
        ),
        operators("GRU", on="cpu"),
    ),
    Fault(
        "reference-sigmoid-scaled",
        "reference",
        spec("Sigmoid", reference=_scaled(1.0 + 1e-5)),
        operators("Sigmoid", on="cpu"),
    ),
    Fault(
        "resize-rounds-past-the-pixels",
        "reference",
        attribute(resize_taps, "_coordinates", _rounded_past_pixels),
        operators("Resize", on="cpu"),
    ),
    Fault(
        "reference-add-subtracts",
        "reference",
        spec("Add", reference=lambda old: lambda inputs, _: (np.asarray(inputs[0] - inputs[1]),)),
        operators("Add", on="cpu"),
    ),
)

HOST_AND_OTHER_FAULTS: tuple[Fault, ...] = (
    *HOST_FAULTS,
    *PLANNER_FAULTS,
    *PASS_FAULTS,
    *IMPORTER_FAULTS,
    *COMPARATOR_FAULTS,
    *CPU_FAULTS,
)
