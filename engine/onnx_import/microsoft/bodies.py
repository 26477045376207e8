"""Which function writes the body of which operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnx import FunctionProto

from engine.onnx_import.microsoft import (
    attention,
    fused,
    grouped_attention,
    normalization,
    quantization,
)
from engine.onnx_import.microsoft.body import ArrayOf, Body, TypeOf
from engine.onnx_import.microsoft.schemas import DOMAIN
from engine.onnx_import.raw_node import RawNode

BODIES: Mapping[tuple[str, str], Callable[[Body], None]] = {
    ("", "SimplifiedLayerNormalization"): normalization.simplified_layer_normalization,
    (DOMAIN, "Attention"): attention.attention,
    (DOMAIN, "BiasGelu"): fused.bias_gelu,
    (DOMAIN, "DequantizeLinear"): quantization.dequantize_linear,
    (DOMAIN, "DynamicQuantizeLSTM"): quantization.lstm,
    (DOMAIN, "DynamicQuantizeMatMul"): quantization.dynamic_quantize_mat_mul,
    (DOMAIN, "EmbedLayerNormalization"): normalization.embed_layer_normalization,
    (DOMAIN, "FastGelu"): fused.fast_gelu,
    (DOMAIN, "FusedConv"): fused.conv,
    (DOMAIN, "FusedGemm"): fused.gemm,
    (DOMAIN, "FusedMatMul"): fused.mat_mul,
    (DOMAIN, "Gelu"): fused.gelu,
    (DOMAIN, "GroupQueryAttention"): grouped_attention.attention,
    (DOMAIN, "MatMulIntegerToFloat"): quantization.mat_mul_integer_to_float,
    (DOMAIN, "MatMulNBits"): quantization.mat_mul_n_bits,
    (DOMAIN, "MultiHeadAttention"): attention.multi_head_attention,
    (DOMAIN, "QGemm"): quantization.gemm,
    (DOMAIN, "QLinearAdd"): quantization.add,
    (DOMAIN, "QLinearAveragePool"): quantization.average_pool,
    (DOMAIN, "QLinearConcat"): quantization.concat,
    (DOMAIN, "QLinearGlobalAveragePool"): quantization.global_average_pool,
    (DOMAIN, "QLinearLeakyRelu"): quantization.leaky_relu,
    (DOMAIN, "QLinearMul"): quantization.mul,
    (DOMAIN, "QLinearSigmoid"): quantization.sigmoid,
    (DOMAIN, "QLinearSoftmax"): quantization.softmax,
    (DOMAIN, "QLinearWhere"): quantization.where,
    (DOMAIN, "QuantizeLinear"): quantization.quantize_linear,
    (DOMAIN, "QuickGelu"): fused.quick_gelu,
    (DOMAIN, "RotaryEmbedding"): attention.rotary_embedding,
    (DOMAIN, "SkipLayerNormalization"): normalization.skip_layer_normalization,
    (DOMAIN, "SkipSimplifiedLayerNormalization"): normalization.skip_simplified,
}
"""By domain and name."""


def body_of(call: RawNode, type_of: TypeOf, array_of: ArrayOf) -> FunctionProto:
    """The body of a call of one of them that fits its schema.

    Raises:
        ModelError: the call contradicts itself.
        UnsupportedError: it has what the body does not heed, or what that depends on is not known.
    """
    body = Body(call, type_of, array_of)
    BODIES[call.domain, call.op_type](body)
    return body.finished()
