"""Slips of the pen: a line of the engine or the harness as a maintainer might have got it wrong.

A condition that is missing or too wide, an axis that is not the last, a tail past a threshold, a
key that lacks a part, a wait that is not there. Each changes the text of one function.
"""

from __future__ import annotations

from collections.abc import Iterator

from properties.comparator import check_guards, check_judge
from properties.fault import (
    Bench,
    Fault,
    Hunt,
    code,
    graphs,
    in_order,
    kernel,
    old_forms,
    operators,
    passes,
    several,
)
from properties.fault_control import control_flow
from properties.fault_meanings import witnessed
from properties.fault_sessions import lives

Slip = tuple[str, str, str, str, Hunt]
"""Name, place ("module:function"; of kernels their family), old text, new text, who hunts it."""
PASSES, LINEAR = "engine.passes", "engine.passes.linear"
OPENCL, CPU = "engine.backends.opencl", "engine.backends.cpu"
IMPORT, OLD = "engine.onnx_import", "engine.onnx_import.rewrites"

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
        lives(),
    ),
    (
        "inference-recalled-for-other-types",
        f"{PASSES}.inferences:Inference.is_of",
        "value.type != type_ or value.contents",
        "value.contents",
        lives(),
    ),
    (
        "loop-in-a-run-tests-its-condition-late",
        "engine.execution.stages:Stages._loop",
        "while goes_on and (most is None or len(elements) < most):",
        "while not elements or (goes_on and (most is None or len(elements) < most)):",
        control_flow(),
    ),
)

PLANNER_SLIPS: tuple[Slip, ...] = (
    (
        "windows-not-aligned",
        "engine.planner.offsets:pack",
        "-(-b.nbytes // alignment_nbytes) * alignment_nbytes",
        "b.nbytes",
        graphs("production", count=60),
    ),
    (
        "sweep-frees-a-step-early",
        "engine.planner.offsets:sweep",
        "ends[0][0] < blocks[i].first",
        "ends[0][0] <= blocks[i].first",
        graphs("production", count=60),
    ),
    (
        "gap-taken-that-is-too-small",
        "engine.planner.offsets:_pack_in_order",
        "start - offset >= nbytes",
        "2 * (start - offset) >= nbytes",
        graphs("production", count=60),
    ),
)

SESSION_SLIPS: tuple[Slip, ...] = (
    (
        "plans-found-by-rank",
        "engine.execution.plans:Plans.get",
        "*bound.items(),",
        "*((n, len(d)) for n, d in bound.items()),",
        lives(),
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
        control_flow(),
    ),
    (
        "moved-arena-is-not-followed",
        "engine.execution.execution:Execution._follow_moves",
        "if not self._bound:",
        "if not self._bound and not self.launched:",
        lives(),
    ),
    (
        "input-read-by-the-next-run-too",
        "engine.planner.lifetimes:lifetimes",
        "touch(value, end)\n    for step",
        "pass\n    for step",
        in_order(graphs("production", count=60), lives()),
    ),
    (
        "written-array-is-lent",
        f"{OPENCL}.transfers:to_stored",
        'np.array(bits_of(array), order="C")',
        'np.asarray(bits_of(array), order="C")',
        lives(),
    ),
    (
        "read-does-not-wait",
        f"{OPENCL}.transfers:OpenCLRead.result",
        "self._event.wait()",
        "pass",
        lives(),
    ),
    (
        "constant-of-the-model-is-given-away",
        "engine.execution.execution:Execution.read",
        "return value.constant.copy()",
        "return value.constant",
        lives(),
    ),
    (
        "refused-write-counts-as-written",
        "engine.execution.execution:Execution.write",
        "self.backend_of(value).write(self.slot(value), array)",
        "self.written.add(value); self.backend_of(value).write(self.slot(value), array)",
        lives(),
    ),
    (
        "packed-weights-found-by-arrangement",
        f"{OPENCL}.backend:OpenCLBackend._held",
        "key = (id(constant), how)",
        "key = (constant.type, how)",
        graphs("nodes", count=60),
    ),
)

HOST_SLIPS: tuple[Slip, ...] = (
    (
        "reduction-loses-its-last-piece",
        f"{OPENCL}.reduce:_pieces",
        "-(-rows // part_rows) * -(-inner // part_inner)",
        "max(1, rows // part_rows) * max(1, inner // part_inner)",
        operators("ReduceSum", "ReduceMean", "ReduceMax"),
    ),
    (
        "softmax-loses-its-last-block",
        f"{OPENCL}.softmax:_prepare",
        "(-(-outer // block),)",
        "(max(1, outer // block),)",
        operators("Softmax"),
    ),
    (
        "softmax-loses-columns-beyond-a-piece",
        f"{OPENCL}.softmax:_prepare",
        "(-(-inner // COLUMNS), outer if n else 0)",
        "(max(1, inner // COLUMNS), outer if n else 0)",
        operators("Softmax"),
    ),
    (
        "gather-loses-the-end-of-long-slices",
        f"{OPENCL}.gather:_slices",
        "-(-inner // piece) if piece",
        "max(1, inner // piece) if piece",
        operators("Gather", "GatherND"),
    ),
    (
        "gather-loses-its-last-block",
        f"{OPENCL}.gather:_slices",
        "-(-slices // block)",
        "max(1, slices // block)",
        operators("Gather", "GatherND"),
    ),
    (
        "batch-norm-loses-the-end-of-images",
        f"{OPENCL}.normalization:_prepare_batch",
        "(-(-pixels // piece), rows * channels)",
        "(max(1, pixels // piece), rows * channels)",
        operators("BatchNormalization"),
    ),
    (
        "batch-norm-stops-at-256-channels",
        f"{OPENCL}.normalization:_prepare_batch",
        "(-(-channels // COLUMNS), -(-rows // piece))",
        "(1, -(-rows // piece))",
        operators("BatchNormalization"),
    ),
    (
        "layer-norm-loses-its-last-block",
        f"{OPENCL}.normalization:_prepare_layer",
        "(-(-rows // block),)",
        "(max(1, rows // block),)",
        operators("LayerNormalization"),
    ),
    (
        "pool-loses-its-last-block",
        f"{OPENCL}.pool:_prepare",
        "(-(-pixels // block),)",
        "(max(1, pixels // block),)",
        operators("MaxPool", "AveragePool"),
    ),
    (
        "pool-of-one-axis-takes-its-pads-for-rows",
        f"{OPENCL}.pool:volume",
        "[fill] * (3 - len(values)) + [int(v) for v in values]",
        "[int(v) for v in values] + [fill] * (3 - len(values))",
        operators("MaxPool", "AveragePool"),
    ),
    (
        "pad-loses-its-last-block",
        f"{OPENCL}.pad:_prepare",
        "(-(-rows // block),)",
        "(max(1, rows // block),)",
        operators("Pad"),
    ),
    (
        "pad-merges-axes-that-reflect",
        f"{OPENCL}.pad:_merged",
        'and (mode == "constant" or outer.output == outer.extent)',
        "",
        operators("Pad", examples=80),
    ),
    (
        "conversion-loses-the-end-of-long-rows",
        f"{OPENCL}.copy:_convert",
        "-(-shape[-1] // run)",
        "max(1, shape[-1] // run)",
        graphs("nodes", count=120),
    ),
    (
        "axes-merged-where-one-operand-allows",
        f"{OPENCL}.strides:collapse",
        "if columns and all(",
        "if columns and any(",
        operators("Add", "Mul", "Transpose"),
    ),
    (
        "half-overflows-to-infinity",
        f"{OPENCL}.transfers:to_half",
        "if infinite.any():",
        "if False:",
        operators("Add", "Abs", examples=120),
    ),
    (
        "residual-begins-with-the-first-phase",
        f"{OPENCL}.conv:_Convolution._launch",
        "_moved(residual or y, start)",
        "residual or y",
        passes(600, on="opencl"),
    ),
    (
        "gemm-takes-no-column-of-c",
        f"{OPENCL}.matmul:_is_row",
        "return len(shape) < 2 or shape[0] == 1",
        "return len(shape) < 2 or 1 in shape",
        operators("Gemm", examples=120),
    ),
    (
        "packed-gemm-forgets-alpha",
        f"{OPENCL}.matmul:_is_packable",
        "or p.alpha != 1 or p.beta != 1",
        "or p.beta != 1",
        operators("Gemm", examples=120),
    ),
    (
        "packed-matmul-of-a-turned-left-side",
        f"{OPENCL}.matmul:_is_packable",
        "or p.left[-1] != 1",
        "",
        operators("Gemm", examples=120),
    ),
    (
        "variadic-forgets-what-is-in-the-middle",
        f"{OPENCL}.binary:_prepare_variadic",
        "for s in slots[2:]",
        "for s in slots[2:] if s is slots[-1]",
        operators("Sum", "Max", "Min", "Mean"),
    ),
    (
        "any-power-of-a-constant-two-wide-is-a-square",
        f"{OPENCL}.binary:_kernel_name",
        "exponent.constant.size == 1",
        "exponent.constant.size > 0",
        operators("Pow", examples=120),
    ),
    (
        "gather-elements-along-the-first-axis-only",
        f"{OPENCL}.gather:_prepare_elements",
        'axis = int(node.attributes.get("axis", 0)) % len(shape)',
        'axis = int(node.attributes.get("axis", 0)) if len(shape) > 1 else 0',
        operators("GatherElements"),
    ),
    (
        "one-hot-axis-counts-from-the-indices",
        f"{OPENCL}.gather:_prepare_one_hot",
        "% len(shape)",
        "% (len(shape) - 1 or 1)",
        operators("OneHot"),
    ),
)

KERNEL_SLIPS: tuple[Slip, ...] = (
    (
        "arg-max-takes-the-last-of-rows-alone",
        "argmax",
        "if (more || (last && tied))",
        "if (more)",
        operators("ArgMax", "ArgMin"),
    ),
    (
        "softmax-columns-begin-again-after-128",
        "softmax",
        "x += x_start + get_global_id(1) * n * inner + c0;",
        "x += x_start + get_global_id(1) * n * inner;",
        operators("Softmax"),
    ),
    (
        "softmax-columns-sum-no-tail",
        "softmax",
        "for (int j = wide; j < w; ++j) s[j] += exp(LOAD(x + k * inner, j) - m[j]);",
        "for (int j = wide; j < w; ++j) s[j] += exp(LOAD(x + k * inner, j) - m[wide]);",
        operators("Softmax"),
    ),
    (
        "gather-repeats-the-begin-of-long-slices",
        "gather",
        "x_start + o * x_outer + begin;",
        "x_start + o * x_outer;",
        operators("Gather"),
    ),
    (
        "gather-tuples-of-the-first-batch",
        "gather",
        "(o * i_outer + j) * depth",
        "j * depth",
        operators("GatherND", examples=80),
    ),
    (
        "one-hot-knows-no-negative-index",
        "gather",
        "if (i < 0) i += depth;",
        "",
        operators("OneHot"),
    ),
    (
        "lower-triangle-ignores-its-diagonal",
        "gather",
        "j - i >= k : j - i <= k",
        "j - i >= k : j - i <= 0",
        operators("Trilu"),
    ),
    (
        "scatter-maximum-drops-nan",
        "scatter",
        "case 3: return a > b || IS_NAN(a) ? a : b;",
        "case 3: return a > b ? a : b;",
        operators("ScatterElements", "ScatterND", examples=120),
    ),
    (
        "scatter-counts-no-index-from-the-end",
        "scatter",
        "if (i < 0) i += n;",
        "",
        operators("ScatterElements", "ScatterND"),
    ),
    (
        "cum-sum-exclusive-only-forwards",
        "cumsum",
        "exclusive ? total : next",
        "exclusive && !reverse ? total : next",
        operators("CumSum", "CumProd"),
    ),
    (
        "turned-tile-reads-beyond-its-rows",
        "layout",
        "bs == 16 && as == 16 &&",
        "bs == 16 && as >= 15 &&",
        operators("Transpose", examples=120),
    ),
    (
        "pad-of-strided-rows-reads-neighbours",
        "pad",
        "out[head + i] = in[i * step];",
        "out[head + i] = in[i];",
        in_order(operators("Pad", examples=120), graphs("nodes", count=120)),
    ),
    (
        "reduction-by-rows-skips-the-last-lanes",
        "reduce",
        "for (; i < n; ++i) {",
        "for (; i < (n & ~1L); ++i) {",
        operators("ReduceSum", "ReduceMax"),
    ),
    (
        "log-sum-exp-of-infinities-is-nan",
        "reduce",
        "(isfinite(aux[o]) ? aux[o] : ZERO)",
        "(aux[o])",
        operators("ReduceLogSumExp"),
    ),
    (
        "layer-norm-squares-before-it-centres",
        "normalization",
        "const COMPUTE16 d = LOAD16(x + i) - result.m0;\n    wide += d;",
        "const COMPUTE16 d = LOAD16(x + i) - result.m0 * (COMPUTE)0.999f;\n    wide += d;",
        operators("LayerNormalization"),
    ),
    (
        "lrn-window-ends-a-channel-early",
        "lrn",
        "for (int k = -before; k <= after; ++k) {",
        "for (int k = -before; k < max(after, 1); ++k) {",
        operators("LRN", examples=80),
    ),
    (
        "softplus-overflows",
        "unary",
        "#define SOFTPLUS(v) (((v) < ZERO ? ZERO : (v)) + log1p(exp(-fabs(v))))",
        "#define SOFTPLUS(v) log1p(exp(v))",
        operators("Softplus", "Mish"),
    ),
    (
        "celu-divides-by-nothing",
        "unary",
        "alpha * expm1(v / alpha)",
        "alpha * expm1(v)",
        operators("Celu"),
    ),
    (
        "elu-loses-digits-near-zero",
        "unary",
        "UNARY(Elu, v < ZERO ? alpha * expm1(v) : v)",
        "UNARY(Elu, v < ZERO ? alpha * (exp(v) - ONE) : v)",
        operators("Elu"),
    ),
    (
        "clip-takes-its-upper-limit-first",
        "unary",
        "if (has_low) v = v < bottom ? bottom : v;\n    if (has_high) v = v > top ? top : v;",
        "if (has_high) v = v > top ? top : v;\n    if (has_low) v = v < bottom ? bottom : v;",
        operators("Clip", examples=120),
    ),
)

OPS = "engine.ops"
REFERENCE_SLIPS: tuple[Slip, ...] = (
    (
        "reference-cum-sum-shifts-the-wrong-way",
        f"{OPS}.cumsum:_shifted",
        "np.roll(y, 1, axis)",
        "np.roll(y, -1, axis)",
        operators("CumSum", on="cpu"),
    ),
    (
        "reference-softmax-overflows",
        f"{OPS}.softmax:_softmax",
        "np.exp(x - np.max(x, axis=axis, keepdims=True, initial=-np.inf))",
        "np.exp(x)",
        operators("Softmax", on="cpu"),
    ),
    (
        "reference-gather-nd-forgets-its-batch",
        f"{OPS}.gather:_gather_nd",
        "x.shape[batch + k]",
        "x.shape[k]",
        operators("GatherND", on="cpu", examples=120),
    ),
    (
        "reference-one-hot-axis-is-the-last",
        f"{OPS}.gather:_one_hot",
        'int(attributes.get("axis", -1)) % (indices.ndim + 1)',
        "indices.ndim",
        operators("OneHot", on="cpu"),
    ),
    (
        "reference-pool-counts-no-padding",
        f"{OPS}.pool:_average_pool",
        'bool(attributes.get("count_include_pad", 0))',
        "False",
        operators("AveragePool", on="cpu"),
    ),
    (
        "reference-conv-of-groups-ignores-dilation",
        f"{OPS}.conv:_tap_slice",
        "tap * dilation, tap * dilation +",
        "tap, tap +",
        operators("Conv", on="cpu", examples=120),
    ),
    (
        "reference-mean-of-integers-rounds-down",
        f"{OPS}.reduce:_mean",
        "(down + ((total % n != 0) & (total < 0)))",
        "down",
        operators("ReduceMean", on="cpu", examples=120),
    ),
    (
        "reference-pad-fills-with-zero",
        f"{OPS}.pad:_pad",
        "zero_of(x.dtype)[()] if value is None else value.reshape(())[()]",
        "zero_of(x.dtype)[()]",
        operators("Pad", on="cpu"),
    ),
)

IMPORTER_SLIPS: tuple[Slip, ...] = (
    (
        "old-slice-forgets-its-axes",
        f"{OLD}.attributes:slice_",
        'form.attributes.setdefault("axes", tuple(range(len(starts))))',
        'form.attributes["axes"] = tuple(range(len(starts)))',
        witnessed("Slice", every=True),
    ),
    (
        "old-pad-forgets-its-value",
        f"{OLD}.attributes:pad",
        "if value != 0:",
        "if value == 1:",
        old_forms(),
    ),
    (
        "old-tile-repeats-the-first-axis",
        f"{OLD}.attributes:tile",
        "repeats[axis] = tiles",
        "repeats[0] = tiles",
        witnessed("Tile", every=True),
    ),
    (
        "old-softmax-is-along-its-axis",
        f"{OLD}.meaning:softmax",
        "if axis == -1 or (rank is not None and axis % rank == rank - 1):",
        "if axis != 0:",
        old_forms(),
    ),
    (
        "old-binary-meets-the-last-axes",
        f"{OLD}.broadcasting:binary",
        "if broadcast and axis is not None:",
        "if broadcast and axis is None:",
        witnessed("Add", every=True),
    ),
    (
        "old-prelu-slopes-along-the-last-axis",
        f"{OLD}.broadcasting:prelu",
        "_align(form, emitter, 1)",
        "pass",
        witnessed("PRelu", every=True),
    ),
    (
        "upsample-takes-width-for-height",
        f"{OLD}.resize:upsample_images",
        'for side in ("height", "width")',
        'for side in ("width", "height")',
        witnessed("Upsample", every=True),
    ),
    (
        "upsample-by-half-pixels",
        f"{OLD}.resize:resize_10",
        '"asymmetric"',
        '"half_pixel"',
        witnessed("Upsample", every=True),
    ),
    (
        "old-resize-shrinks-downwards",
        f"{OLD}.resize:resize_10",
        '"ceil" if shrinks else "floor"',
        '"floor"',
        witnessed("Resize", every=True),
    ),
    (
        "resize-ignores-the-roi-it-needs",
        f"{OLD}.resize:resize",
        'if form.value("coordinate_transformation_mode") != "tf_crop_and_resize":',
        "if True:",
        witnessed("Resize"),
    ),
    (
        "old-group-norm-repeats-the-groups",
        f"{OLD}.meaning:group_normalization",
        'constant("column", groups, 1)',
        'constant("column", 1, groups)',
        witnessed("GroupNormalization", every=True),
    ),
    (
        "old-roi-align-is-shifted",
        f"{OLD}.meaning:roi_align",
        '"output_half_pixel"',
        '"half_pixel"',
        witnessed("RoiAlign", every=True),
    ),
    (
        "is-inf-of-one-sign-is-of-the-other",
        f"{OLD}.meaning:is_inf",
        '"Less" if negative else "Greater"',
        '"Greater" if negative else "Less"',
        witnessed("IsInf"),
    ),
    (
        "gemm-of-beta-zero-reads-c",
        f"{OLD}.meaning:gemm",
        'if form.value("beta") == 0:',
        'if form.attributes.get("beta", 0) == 1e-30:',
        witnessed("Gemm"),
    ),
    (
        "old-split-counts-one-part-too-few",
        f"{OLD}.attributes:split_equally",
        "if form.input(1) is None:",
        'if form.input(1) is None and "split" not in form.attributes and len(form.outputs) != 3:',
        witnessed("Split", every=True),
    ),
    (
        "defaults-of-older-opsets-forgotten",
        f"{IMPORT}.opsets:to_newest",
        "for name, value in changed_defaults(form.op_type, form.opset).items():",
        "for name, value in ():",
        old_forms(),
    ),
    (
        "half-in-int32-data-is-converted",
        f"{IMPORT}.tensors:_decoded",
        "else stored.view(dtype)",
        "else (stored.astype(dtype) if dtype == np.float16 else stored.view(dtype))",
        witnessed("Constant"),
    ),
    (
        "int4-takes-the-high-half-first",
        f"{IMPORT}.tensors:_decoded",
        "np.arange(0, 8, bits, dtype=np.uint8)",
        "np.arange(8 - bits, -1, -bits, dtype=np.int8).astype(np.uint8)",
        witnessed("DequantizeLinear"),
    ),
)


def _judge(where: Bench) -> None:
    for seed in range(20):
        where.step()
        check_judge(seed)
    for target in where.all:
        where.step()
        check_guards(target.backend)


JUDGE = "conformance.judge:judge"
COMPARATOR_SLIPS: tuple[Slip, ...] = (
    (
        "infinities-of-any-sign-pass",
        "conformance.judge:equal",
        "(a == b) |",
        "(a == b) | (np.isinf(a) & np.isinf(b)) |",
        _judge,
    ),
    (
        "infinity-for-a-number-is-an-overflow",
        JUDGE,
        "np.isinf(g) & np.isfinite(r) & may_overflow & (np.sign(g) == np.sign(r))",
        "np.isinf(g) & np.isfinite(r)",
        _judge,
    ),
    (
        "first-failure-alone-decides",
        JUDGE,
        "failures = int((bounds > 1).sum())",
        "failures = int((bounds.ravel()[:1] > 1).sum())",
        _judge,
    ),
    (
        "bounds-are-relative-to-the-largest",
        JUDGE,
        "bounds = np.where(err == 0, 0.0, err / bound)",
        "bounds = np.where(err == 0, 0.0, err / np.maximum(bound, np.abs(r).max(initial=0)))",
        _judge,
    ),
    (
        "wide-integers-compared-as-doubles",
        JUDGE,
        "and got.dtype.itemsize == 8",
        "and got.dtype.itemsize == 9",
        _judge,
    ),
    (
        "suspects-are-beyond-the-bound",
        JUDGE,
        "((sigmas > SIGMAS) & (bounds <= 1))",
        "((sigmas > SIGMAS) & (bounds > 1))",
        _judge,
    ),
)


def _faults(level: str, slips: tuple[Slip, ...]) -> Iterator[Fault]:
    for name, place, old, new, hunt in slips:
        yield Fault(name, level, code(place, (old, new)), hunt)


UNCHECKED = code("engine.planner.plan:check_plan", ("pinned = {", "return\n    pinned = {"))
"""Without the independent check of a plan, so that only the results can tell."""

SLIP_FAULTS: tuple[Fault, ...] = (
    *_faults("pass", PASS_SLIPS),
    *_faults("planner", PLANNER_SLIPS),
    *_faults("session", SESSION_SLIPS),
    *_faults("host", HOST_SLIPS),
    *(
        Fault(n, "kernel", kernel(place, (old, new)), hunt)
        for n, place, old, new, hunt in KERNEL_SLIPS
    ),
    *_faults("reference", REFERENCE_SLIPS),
    *_faults("importer", IMPORTER_SLIPS),
    *_faults("comparator", COMPARATOR_SLIPS),
    *(
        Fault(f"{name}-unchecked", "planner", several(UNCHECKED, code(place, (old, new))), hunt)
        for name, place, old, new, hunt in (*PLANNER_SLIPS[1:], SESSION_SLIPS[4])
    ),
)
