"""Faults outside the kernels: host code, planner, passes, comparator, CPU kernels, references."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import engine.blueprint as blueprint
from conformance import judge as judging
from engine.backends.cpu import unary as cpu_unary
from engine.backends.protocol import Slot
from engine.passes import fold_batch_norm, fold_bias, fuse_epilogue
from engine.planner import plan
from properties import memory
from properties.comparator import check_guards, check_judge
from properties.fault import (
    Bench,
    Fault,
    attribute,
    graphs,
    in_order,
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


HOST_FAULTS: tuple[Fault, ...] = (
    Fault(
        "slot-offset-off-by-one",
        "host",
        attribute(Slot, "offset", _shifted),
        operators("Relu", "Add"),
    ),
    Fault(
        "last-work-item-missing",
        "host",
        _later("unary", "chunks", lambda old: lambda count: (count // 1024,)),
        operators("Relu"),
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


# ------------------------------------------------------------------------- comparator
def _judge_with(change: Any) -> Any:
    """`judge` on changed arguments."""

    def wrap(old: Any) -> Any:
        return lambda got, reference, error, units: old(*change(got, reference), error, units)

    return attribute(judging, "judge", wrap)


def _hunt_comparator(where: Bench) -> None:
    for seed in range(20):
        where.step()
        check_judge(seed)
    for target in where.all:
        where.step()
        check_guards(target.backend)


def _zero_compared(old: Any) -> Any:
    def judge(got: Any, reference: Any, error: Any, units: Any) -> Any:
        judgement = old(reference.astype(got.dtype), reference, error, units)
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
        "reference-sigmoid-scaled",
        "reference",
        spec("Sigmoid", reference=_scaled(1.0 + 1e-5)),
        operators("Sigmoid", on="cpu"),
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
    *COMPARATOR_FAULTS,
    *CPU_FAULTS,
)
