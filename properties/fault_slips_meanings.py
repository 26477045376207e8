"""Slips of the pen in the importer, references and the judge, as a maintainer might make them."""

from __future__ import annotations

from properties.comparator import check_guards, check_judge
from properties.fault import Bench, Fault, Slip, old_forms, operators, slips
from properties.fault_meanings import witnessed

IMPORT, OLD, OPS = "engine.onnx_import", "engine.onnx_import.rewrites", "engine.ops"
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
        old_forms(),
    ),
    (
        "old-prelu-slopes-along-the-last-axis",
        f"{OLD}.broadcasting:prelu",
        "_align(form, emitter, 1)",
        "pass",
        old_forms(),
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
        old_forms(),
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
        old_forms(),
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


def _judge(where: Bench) -> None:
    for seed in range(20):
        where.step()
        check_judge(seed)
    for target in where.all:
        where.step()
        check_guards(target.backend)


JUDGE, COMPARE = "conformance.judge:judge", "conformance.judge:compare"
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
        COMPARE,
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
        COMPARE,
        "bounds = np.where(err == 0, 0.0, err / bound)",
        "bounds = np.where(err == 0, 0.0, err / np.maximum(bound, np.abs(r).max(initial=0)))",
        _judge,
    ),
    (
        "wide-integers-compared-as-doubles",
        COMPARE,
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

FAULTS: tuple[Fault, ...] = (
    *slips("importer", IMPORTER_SLIPS),
    *slips("reference", REFERENCE_SLIPS),
    *slips("comparator", COMPARATOR_SLIPS),
)
