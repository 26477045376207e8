"""Slips of the pen in passes, planner, sessions and stages, as a maintainer might make them."""

from __future__ import annotations

from properties.fault import Fault, Slip, code, graphs, in_order, packings, passes, several, slips
from properties.fault_control import control_flow
from properties.fault_sessions import lives

PASSES, LINEAR = "engine.passes", "engine.passes.linear"
OPENCL = "engine.backends.opencl"
PASS_SLIPS: tuple[Slip, ...] = (
    (
        "layer-norm-fused-along-any-axis",
        f"{PASSES}.fuse_layer_norm:_is_last_mean",
        "in (-1, rank - 1)",
        ">= -rank",
        passes(600),
    ),
    (
        "layer-norm-fused-without-keepdims",
        f"{PASSES}.fuse_layer_norm:_is_last_mean",
        'and node.attributes.get("keepdims", 1) == 1',
        "",
        passes(600),
    ),
    (
        "layer-norm-takes-any-power-for-a-square",
        f"{PASSES}.fuse_layer_norm:_is_square",
        "== 2.0",
        ">= 2.0",
        passes(600),
    ),
    (
        "layer-norm-ignores-a-third-reader",
        f"{PASSES}.fuse_layer_norm:_match",
        "or len(readers) != 2",
        "",
        passes(600),
    ),
    (
        "hard-swish-of-any-upper-limit",
        f"{PASSES}.fuse_hard_swish:_is_relu6",
        "and _scalar(clip.inputs[2]) == 6.0",
        "",
        passes(600),
    ),
    (
        "hard-swish-adds-any-number",
        f"{PASSES}.fuse_hard_swish:_operand",
        "_scalar(one) == scalar",
        "_scalar(one) is not None",
        passes(600),
    ),
    (
        "hard-swish-of-another-tensor",
        f"{PASSES}.fuse_hard_swish:fuse_hard_swish",
        "if {id(v) for v in product.inputs} != {id(source), id(clip.outputs[0])}:",
        "if clip.outputs[0] not in product.inputs:",
        passes(600),
    ),
    (
        "hard-swish-of-six-divided",
        f"{PASSES}.fuse_hard_swish:_is_sixth",
        "return node.inputs[0] is value and _scalar(node.inputs[1]) == 6.0",
        "return 6.0 in map(_scalar, node.inputs)",
        passes(600),
    ),
    (
        "residual-that-broadcasts-is-fused",
        f"{PASSES}.fuse_epilogue:_is_residual",
        "and other.type == value.type == node.outputs[0].type",
        "and value.type == node.outputs[0].type",
        passes(600, on="opencl"),
    ),
    (
        "channels-told-by-size-alone",
        f"{LINEAR}:as_channel",
        "any(d != 1 for axis, d in enumerate(shape) if axis != 1) or shape[1] not in (1, channels)",
        "array.size not in (1, channels)",
        passes(600),
    ),
    (
        "column-taken-for-a-row",
        f"{LINEAR}:as_row",
        "or (array.ndim == 2 and array.shape[0] != 1)",
        "",
        passes(600),
    ),
    (
        "groups-scaled-by-the-first-group",
        f"{LINEAR}:Linear._product",
        "factor.reshape(group, 1, w.shape[1],",
        "np.tile(factor[: w.shape[1]], group).reshape(group, 1, w.shape[1],",
        passes(600),
    ),
    (
        "turned-gemm-scaled-by-columns",
        f"{LINEAR}:Linear._product",
        'factor[:, None] if self.node.attributes.get("transB", 0) else factor',
        "factor",
        passes(600),
    ),
    (
        "scaled-weights-shared-by-any-factor",
        f"{LINEAR}:Linear.scaled",
        "*layout, factor.tobytes())",
        "*layout)",
        passes(600),
    ),
    (
        "folded-gemm-forgets-beta",
        f"{LINEAR}:linear_of",
        "row * gemm_factors(node.attributes)[1]",
        "row",
        passes(600),
    ),
    (
        "scaled-bias-stays-as-it-was",
        f"{PASSES}.fold_scale:_scaled",
        "(linear.bias * factor)",
        "linear.bias",
        passes(600),
    ),
    (
        "subtracted-constant-becomes-a-bias",
        f"{PASSES}.fold_bias:fold_bias",
        'after.op_type != "Add"',
        'after.op_type not in ("Add", "Sub")',
        passes(600),
    ),
    (
        "square-transpose-is-an-identity",
        f"{PASSES}.remove_identities:_is_identity",
        "tuple(perm) == tuple(range(len(perm)))",
        "tuple(sorted(perm)) == tuple(range(len(perm)))",
        graphs("nodes", "exact", count=200, on="cpu"),
    ),
    (
        "second-use-by-one-reader-unseen",
        f"{PASSES}.base:only_reader",
        "return reader if len(positions) == 1 else None",
        "return reader",
        passes(600),
    ),
    (
        "saved-identity-is-removed",
        f"{PASSES}.remove_identities:_is_removable",
        "if out.name in keep:\n        return False",
        "",
        lives(100),
    ),
    (
        "inference-recalled-for-other-types",
        f"{PASSES}.inferences:Inference.is_of",
        "value.type != type_ or value.contents",
        "value.contents",
        lives(100),
    ),
    (
        "loop-in-a-run-tests-its-condition-late",
        "engine.execution.stages:Stages._loop",
        "while goes_on and (most is None or len(elements) < most):",
        "while not elements or (goes_on and (most is None or len(elements) < most)):",
        control_flow(60),
    ),
)

PLANNER_SLIPS: tuple[Slip, ...] = (
    (
        "windows-not-aligned",
        "engine.planner.offsets:pack",
        "-(-b.nbytes // alignment_nbytes) * alignment_nbytes",
        "b.nbytes",
        packings(),
    ),
    (
        "sweep-frees-a-step-early",
        "engine.planner.offsets:sweep",
        "ends[0][0] < blocks[i].first",
        "ends[0][0] <= blocks[i].first",
        packings(),
    ),
    (
        "gap-taken-that-is-too-small",
        "engine.planner.offsets:_pack_in_order",
        "start - offset >= nbytes",
        "2 * (start - offset) >= nbytes",
        packings(),
    ),
)

SESSION_SLIPS: tuple[Slip, ...] = (
    (
        "plans-found-by-rank",
        "engine.execution.plans:Plans.get",
        "*bound.items(),",
        "*((n, len(d)) for n, d in bound.items()),",
        lives(100),
    ),
    (
        "plans-found-whatever-decides-them",
        "engine.execution.plans:Plans.get",
        "(n, x.dtype.str, x.tobytes())",
        "(n, x.dtype.str)",
        control_flow(),
    ),
    (
        "stage-kept-by-types-alone",
        "engine.execution.stages:Stages._planned",
        "key = (types, *((a.dtype.str, a.tobytes()) for a in values.values()))",
        "key = types",
        control_flow(110),
    ),
    (
        "moved-arena-is-not-followed",
        "engine.execution.execution:Execution._follow_moves",
        "if not self._bound:",
        "if not self._bound and not self.launched:",
        lives(100),
    ),
    (
        "input-read-by-the-next-run-too",
        "engine.planner.lifetimes:lifetimes",
        "touch(value, end)\n    for step",
        "pass\n    for step",
        in_order(graphs("production", count=60), lives(100)),
    ),
    (
        "written-array-is-lent",
        f"{OPENCL}.transfers:to_stored",
        'np.array(bits_of(array), order="C")',
        'np.asarray(bits_of(array), order="C")',
        lives(100),
    ),
    (
        "read-does-not-wait",
        f"{OPENCL}.transfers:OpenCLRead.result",
        "self._event.wait()",
        "pass",
        lives(100),
    ),
    (
        "constant-of-the-model-is-given-away",
        "engine.execution.execution:Execution.read",
        "return value.constant.copy()",
        "return value.constant",
        lives(100),
    ),
    (
        "refused-write-counts-as-written",
        "engine.execution.execution:Execution.write",
        "self.backend_of(value).write(self.slot(value), array)",
        "self.written.add(value); self.backend_of(value).write(self.slot(value), array)",
        lives(100),
    ),
    (
        "packed-weights-found-by-arrangement",
        f"{OPENCL}.backend:OpenCLBackend._held",
        "key = (id(constant), how)",
        "key = (constant.type, how)",
        graphs("nodes", count=60),
    ),
)

UNCHECKED = code("engine.planner.plan:check_plan", ("pinned = {", "return\n    pinned = {"))
"""Without the independent check of a plan, so that only the results can tell."""

FAULTS: tuple[Fault, ...] = (
    *slips("pass", PASS_SLIPS),
    *slips("planner", PLANNER_SLIPS),
    *slips("session", SESSION_SLIPS),
    *(
        Fault(f"{name}-unchecked", "planner", several(UNCHECKED, code(place, (old, new))), hunt)
        for name, place, old, new, hunt in (*PLANNER_SLIPS[1:], SESSION_SLIPS[4])
    ),
)
