"""Every older form of an operator, rewritten into the newest: which rule applies below which opset.

Source: https://github.com/onnx/onnx/blob/main/docs/Changelog.md. A rule `(below, rewrite)` applies
to nodes of an opset lower than `below`; `rewrite` changes the Form in place and may emit nodes
before it. Attributes at their default may be left out, since operator specs fill them in; where an
older opset had another default, its schema is asked.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from onnx import defs

from engine.onnx_import.attributes import default_of, schema_of
from engine.onnx_import.form import Emitter, Form, Rewrite
from engine.onnx_import.rewrites import (
    attributes,
    broadcasting,
    composed,
    einsum,
    images,
    indices,
    inference,
    meaning,
    noise,
    positions,
    quantization,
    recurrent,
    resize,
    signal,
    tables,
    training,
    trees,
)
from engine.onnx_import.rewrites.attributes import ints_to_input

ANY = 1 << 63
"""For rules that hold in every opset; no file holds this one."""

Rules = tuple[tuple[int, Rewrite], ...]
_AXES_13: Rules = ((13, ints_to_input("axes", 1)),)
_AXES_18: Rules = ((18, ints_to_input("axes", 1)),)
_BINARY: Rules = ((7, broadcasting.binary),)
_RECURRENT: Rules = ((7, recurrent.first_forms), (ANY, recurrent.every_output))

RULES: dict[str, Rules] = {
    "Bernoulli": ((ANY, noise.bernoulli),),
    "BatchNormalization": ((7, inference.is_test), (ANY, inference.batch_normalization)),
    "BitCast": ((ANY, attributes.cast),),
    "Cast": ((6, attributes.cast_by_name), (ANY, attributes.cast)),
    "Clip": ((11, attributes.clip),),
    "Compress": ((ANY, composed.compress),),
    "Col2Im": ((ANY, indices.col2im),),
    "Concat": ((4, attributes.concat),),
    "ConvInteger": ((ANY, quantization.conv_integer),),
    "DequantizeLinear": ((ANY, quantization.dequantize_linear),),
    "DFT": ((20, signal.dft),),
    "Dropout": ((7, inference.is_test), (ANY, inference.dropout)),
    "Einsum": ((ANY, einsum.einsum),),
    "EyeLike": ((ANY, composed.eye_like),),
    "Gemm": ((7, broadcasting.gemm), (ANY, meaning.gemm)),
    "GlobalLpPool": ((ANY, composed.global_lp_pool),),
    "GridSample": ((20, meaning.grid_sample),),
    "GroupNormalization": ((21, meaning.group_normalization),),
    "Hardmax": ((ANY, composed.hardmax),),
    "ImageDecoder": ((ANY, images.image_decoder),),
    "IsInf": ((ANY, meaning.is_inf),),
    "LogSoftmax": ((13, meaning.softmax),),
    "LpNormalization": ((ANY, composed.lp_normalization),),
    "LpPool": ((ANY, composed.lp_pool),),
    "MatMulInteger": ((ANY, quantization.mat_mul_integer),),
    "MaxUnpool": ((ANY, indices.max_unpool),),
    "Mod": ((ANY, composed.mod),),
    "OneHot": ((ANY, composed.one_hot),),
    "PRelu": ((7, broadcasting.prelu),),
    "Pad": ((2, attributes.paddings), (11, attributes.pad)),
    "QLinearConv": ((ANY, quantization.q_linear_conv),),
    "QLinearMatMul": ((ANY, quantization.q_linear_mat_mul),),
    "QuantizeLinear": ((ANY, quantization.quantize_linear),),
    "RMSNormalization": ((ANY, meaning.rms_normalization),),
    "RandomNormal": ((ANY, noise.of_shape),),
    "RandomNormalLike": ((ANY, noise.like),),
    "RandomUniform": ((ANY, noise.of_shape),),
    "RandomUniformLike": ((ANY, noise.like),),
    "ReduceSum": _AXES_13,
    "Reshape": ((5, attributes.reshape),),
    "Resize": ((11, resize.resize_10), (ANY, resize.resize)),
    "ReverseSequence": ((ANY, indices.reverse_sequence),),
    "RotaryEmbedding": ((ANY, positions.rotary_embedding),),
    "RoiAlign": ((16, meaning.roi_align),),
    "Scatter": ((ANY, meaning.scatter),),
    "STFT": ((ANY, signal.stft),),
    "Slice": ((10, attributes.slice_),),
    "Softmax": ((13, meaning.softmax),),
    "Split": (
        (2, attributes.split_of_floats),
        (13, ints_to_input("split", 1)),
        (18, attributes.split_equally),
        (ANY, attributes.split_counted),
    ),
    "Squeeze": ((13, attributes.squeeze),),
    "Sum": ((ANY, meaning.sum_),),
    "TensorScatter": ((ANY, indices.tensor_scatter),),
    "Tile": ((6, attributes.tile),),
    "TopK": ((10, attributes.top_k),),
    "Unsqueeze": _AXES_13,
    "Upsample": ((7, resize.upsample_images), (ANY, resize.upsample)),
    **{
        f"Reduce{kind}": _AXES_18
        for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
    },
    **dict.fromkeys(("Add", "Div", "Mul", "Pow", "Sub"), _BINARY),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _RECURRENT),
    **dict.fromkeys(("And", "Equal", "Greater", "Less", "Or", "Xor"), _BINARY),
}
"""By ONNX name; several rules of one operator apply in order."""

FOREIGN: dict[tuple[str, str], Rewrite] = {
    ("ai.onnx.ml", "ArrayFeatureExtractor"): composed.array_feature_extractor,
    ("ai.onnx.ml", "Binarizer"): composed.binarizer,
    ("ai.onnx.ml", "LabelEncoder"): tables.label_encoder,
    ("ai.onnx.ml", "TreeEnsemble"): trees.tree_ensemble,
    ("ai.onnx.ml", "TreeEnsembleClassifier"): trees.classifier,
    ("ai.onnx.ml", "TreeEnsembleRegressor"): trees.regressor,
    ("ai.onnx.preview.training", "Adagrad"): training.adagrad,
    ("ai.onnx.preview.training", "Adam"): training.adam,
    ("ai.onnx.preview.training", "Momentum"): training.momentum,
}
"""By domain and name; what is not here of other domains is refused, or expanded."""

REWRITTEN_AWAY = frozenset(
    (
        *("Constant", "Dropout", "Scatter", "Upsample"),
        *("QuantizeLinear", "DequantizeLinear", "MatMulInteger", "ConvInteger"),
        *("QLinearMatMul", "QLinearConv", "Hardmax", "LpNormalization", "LpPool", "GlobalLpPool"),
        *("Compress", "EyeLike", "Einsum", "STFT", "Col2Im", "MaxUnpool", "ReverseSequence"),
        *("TensorScatter", "Bernoulli", "RandomNormal", "RandomUniform"),
    )
)
"""Operators that the importer accepts without a spec of their own."""

HINTS = ("consumed_inputs",)
"""Attributes of opsets 1 to 5 that concerned the memory of an interpreter, not the result."""


def to_newest(form: Form, emitter: Emitter) -> None:
    """Apply the rules of the form's operator."""
    if form.domain:
        FOREIGN[form.domain, form.op_type](form, emitter)
        return
    for hint in HINTS:
        form.attributes.pop(hint, None)
    for name, value in changed_defaults(form.op_type, form.opset).items():
        form.attributes.setdefault(name, value)
    for below, rewrite in RULES.get(form.op_type, ()):
        if form.opset < below:
            rewrite(form, emitter)


@lru_cache(maxsize=4096)
def changed_defaults(op_type: str, opset: int) -> dict[str, Any]:
    """Attributes with another default at an opset than in the newest, and that default."""
    old, newest = schema_of(op_type, opset), schema_of(op_type, defs.onnx_opset_version())
    if old is None or newest is None or old.since_version == newest.since_version:
        return {}
    now = newest.attributes
    return {
        name: default_of(op_type, opset, name)
        for name, attribute in old.attributes.items()
        if attribute.default_value.name
        and name in now
        and attribute.default_value != now[name].default_value
    }
