"""How calls of onnxruntime's operators look: inputs, outputs, dtypes, attributes and defaults.

LayerNormalization is ONNX's since opset 17; onnxruntime writes it into models of every opset.

tests/test_microsoft_schemas.py compares the table with onnxruntime's own.
"""

from __future__ import annotations

from onnx import defs, helper

DOMAIN = "com.microsoft"

_OPTIONS = {
    "?": defs.OpSchema.FormalParameterOption.Optional,
    "*": defs.OpSchema.FormalParameterOption.Variadic,
}
_KINDS = {
    "float": defs.OpSchema.AttrType.FLOAT,
    "floats": defs.OpSchema.AttrType.FLOATS,
    "int": defs.OpSchema.AttrType.INT,
    "ints": defs.OpSchema.AttrType.INTS,
    "string": defs.OpSchema.AttrType.STRING,
    "strings": defs.OpSchema.AttrType.STRINGS,
}


def _parameter(text: str) -> defs.OpSchema.FormalParameter:
    """`A:T`, `B:T?` for an optional one, `C:T*` for any number of any of its dtypes."""
    name, kind = text.rstrip("?*").split(":")
    kind = kind if kind[0].isupper() else f"tensor({kind})"
    single = defs.OpSchema.FormalParameterOption.Single
    option = _OPTIONS.get(text[-1], single)
    is_homogeneous = option != _OPTIONS["*"]
    return defs.OpSchema.FormalParameter(
        name, kind, param_option=option, is_homogeneous=is_homogeneous
    )


def _attribute(text: str) -> defs.OpSchema.Attribute:
    """`n=1`, `x=1.0`, `s=TEXT`; `n:int` without a default, `n:int!` for a required one."""
    name, equals, default = text.partition("=")
    if not equals:
        name, kind = text.rstrip("!").split(":")
        return defs.OpSchema.Attribute(name, _KINDS[kind], required=text.endswith("!"))
    value: int | float | str = default
    for number in (int, float):
        try:
            value = number(default)
            break
        except ValueError:
            continue
    return defs.OpSchema.Attribute(name, helper.make_attribute(name, value))


def _schema(
    name: str, call: str, attributes: str = "", domain: str = DOMAIN, **types: str
) -> defs.OpSchema:
    """call: `inputs -> outputs`. types: the dtypes that each type variable may stand for."""
    inputs, outputs = ([_parameter(p) for p in part.split()] for part in call.split("->"))
    return defs.OpSchema(
        name,
        domain,
        1,
        inputs=inputs,
        outputs=outputs,
        type_constraints=[
            (variable, [f"tensor({dtype})" for dtype in dtypes.split()], "")
            for variable, dtypes in types.items()
        ],
        attributes=[_attribute(a) for a in attributes.split()],
    )


_FLOATS = "float float16 double"
_FLOATS_OF_MODELS = "float float16 bfloat16"
_ALL_FLOATS = f"{_FLOATS} bfloat16"
_BYTES = "uint8 int8"
_WINDOW = "auto_pad=NOTSET kernel_shape:ints dilations:ints strides:ints pads:ints group=1"

_FUSED = (
    _schema(
        "FusedConv",
        "X:T W:T B:T? Z:T? -> Y:T",
        f"{_WINDOW} activation:string activation_params:floats",
        T=_FLOATS,
    ),
    _schema(
        "FusedMatMul",
        "A:T B:T -> Y:T",
        "alpha=1.0 transA=0 transB=0 transBatchA=0 transBatchB=0",
        T=_ALL_FLOATS,
    ),
    _schema(
        "FusedGemm",
        "A:T B:T C:T? -> Y:T",
        "alpha=1.0 beta=1.0 transA=0 transB=0 activation:string activation_alpha:float "
        "activation_beta:float activation_gamma:float",
        T=f"{_FLOATS} uint32 uint64 int32 int64",
    ),
    _schema("Gelu", "X:T -> Y:T", T=_ALL_FLOATS),
    _schema("BiasGelu", "A:T B:T -> C:T", T=_ALL_FLOATS),
    _schema("FastGelu", "X:T bias:T? -> Y:T", T=_ALL_FLOATS),
    _schema("QuickGelu", "X:T -> Y:T", "alpha=1.702", T=_ALL_FLOATS),
)

_NORMALIZATION = (
    _schema(
        "LayerNormalization",
        "X:T Scale:V B:V? -> Y:V Mean:U? InvStdDev:U?",
        "axis=-1 epsilon=1e-5 stash_type=1",
        domain="",
        T=_ALL_FLOATS,
        U="float double",
        V=_ALL_FLOATS,
    ),
    _schema(
        "SimplifiedLayerNormalization",
        "X:T scale:V -> Y:V inv_std_var:U?",
        "axis=-1 epsilon=1e-5 stash_type=1",
        domain="",
        T=_ALL_FLOATS,
        U="float double",
        V=_ALL_FLOATS,
    ),
    _schema(
        "SkipLayerNormalization",
        "input:T skip:T gamma:T beta:T? bias:T? -> "
        "output:T mean:U? inv_std_var:U? input_skip_bias_sum:T?",
        "epsilon=1e-12",
        T=_FLOATS_OF_MODELS,
        U="float",
    ),
    _schema(
        "SkipSimplifiedLayerNormalization",
        "input:T skip:T gamma:T bias:T? -> output:T mean:U? inv_std_var:U? input_skip_bias_sum:T?",
        "epsilon=1e-12",
        T=_FLOATS_OF_MODELS,
        U="float",
    ),
)

_ONE_INPUT = "X:T X_scale:float X_zero_point:T? Y_scale:float Y_zero_point:T? -> Y:T"
_TWO_INPUTS = (
    "A:T A_scale:float A_zero_point:T? B:T B_scale:float B_zero_point:T? "
    "C_scale:float C_zero_point:T? -> C:T"
)

_QUANTIZATION = (
    _schema(
        "QuantizeLinear",
        "x:T1 y_scale:T1 y_zero_point:T2? -> y:T2",
        "axis:int",
        T1="float16 float",
        T2=f"{_BYTES} int16 uint16 int4 uint4",
    ),
    _schema(
        "DequantizeLinear",
        "x:T1 x_scale:T2 x_zero_point:T1? -> y:T2",
        "axis:int",
        T1=f"{_BYTES} int16 uint16 int32 int4 uint4",
        T2="float16 float",
    ),
    _schema(
        "MatMulIntegerToFloat",
        "A:T1 B:T2 a_scale:T3 b_scale:T3 a_zero_point:T1? b_zero_point:T2? bias:T3? -> Y:T3",
        T1=_BYTES,
        T2=_BYTES,
        T3="float float16",
    ),
    _schema(
        "DynamicQuantizeMatMul",
        "A:T1 B:T2 b_scale:T1 b_zero_point:T2? bias:T1? -> Y:T1",
        T1="float",
        T2=_BYTES,
    ),
    _schema(
        "DynamicQuantizeLSTM",
        "X:T W:T2 R:T2 B:T? sequence_lens:T1? initial_h:T? initial_c:T? P:T? "
        "W_scale:T W_zero_point:T2 R_scale:T R_zero_point:T2 -> Y:T? Y_h:T? Y_c:T?",
        "direction=forward hidden_size:int input_forget=0 clip:float activations:strings "
        "activation_alpha:floats activation_beta:floats",
        T="float",
        T1="int32",
        T2=_BYTES,
    ),
    _schema(
        "QGemm",
        "A:TA a_scale:T a_zero_point:TA B:TB b_scale:T b_zero_point:TB C:TC? y_scale:T? "
        "y_zero_point:TYZ? -> Y:TY",
        "alpha=1.0 transA=0 transB=0",
        T="float",
        TA=_BYTES,
        TB=_BYTES,
        TC="int32",
        TYZ=_BYTES,
        TY=f"float {_BYTES}",
    ),
    _schema("QLinearAdd", _TWO_INPUTS, T=_BYTES),
    _schema("QLinearMul", _TWO_INPUTS, T=_BYTES),
    _schema("QLinearLeakyRelu", _ONE_INPUT, "alpha=0.01", T=_BYTES),
    _schema("QLinearSigmoid", _ONE_INPUT, T=_BYTES),
    _schema(
        "QLinearSoftmax",
        "X:T X_scale:float x_zero_point:T? y_scale:float y_zero_point:T -> Y:T",
        "axis=-1 opset:int!",
        T=_BYTES,
    ),
    _schema(
        "QLinearConcat",
        "Y_scale:TF Y_zero_point:T8 inputs:TV* -> Y:T8",
        "axis:int!",
        T8=_BYTES,
        TF="float",
        TV=f"{_BYTES} float",
    ),
    _schema(
        "QLinearAveragePool",
        "X:T x_scale:float x_zero_point:T? y_scale:float y_zero_point:T? -> Y:T",
        "auto_pad=NOTSET kernel_shape:ints! strides:ints pads:ints ceil_mode=0 "
        "count_include_pad=0 channels_last=0",
        T=_BYTES,
    ),
    _schema(
        "QLinearGlobalAveragePool",
        "X:T x_scale:float x_zero_point:T y_scale:float y_zero_point:T -> Y:T",
        "channels_last=0",
        T=_BYTES,
    ),
    _schema(
        "QLinearWhere",
        "condition:B X:T x_scale:TF x_zero_point:T Y:T y_scale:TF y_zero_point:T z_scale:TF "
        "z_zero_point:T -> Z:T",
        B="bool",
        T=_BYTES,
        TF="float",
    ),
)

_ATTENTION = (
    _schema(
        "Attention",
        "input:T weights:T bias:T? mask_index:M? past:T? attention_bias:T? "
        "past_sequence_length:M? -> output:T present:T?",
        "num_heads:int! unidirectional=0 qkv_hidden_sizes:ints mask_filter_value:float "
        "scale:float do_rotary:int rotary_embedding_dim:int past_present_share_buffer:int",
        T=_FLOATS_OF_MODELS,
        M="int32",
    ),
    _schema(
        "MultiHeadAttention",
        "query:T key:T? value:T? bias:T? key_padding_mask:M? attention_bias:T? past_key:T? "
        "past_value:T? past_sequence_length:M? cache_indirection:M? -> "
        "output:T present_key:T? present_value:T? qk:QK?",
        "num_heads:int! unidirectional=0 mask_filter_value:float scale:float",
        T=_FLOATS_OF_MODELS,
        M="int32",
        QK=_FLOATS_OF_MODELS,
    ),
    _schema(
        "GroupQueryAttention",
        "query:T key:T? value:T? past_key:T_CACHE? past_value:T_CACHE? seqlens_k:M "
        "total_sequence_length:M cos_cache:T? sin_cache:T? position_ids:int64? "
        "attention_bias:T? head_sink:T? k_scale:T_KV_SCALE? v_scale:T_KV_SCALE? "
        "q_norm_weight:T? k_norm_weight:T? query_seqlens:M? -> "
        "output:T present_key:T_CACHE? present_value:T_CACHE? output_qk:T?",
        "num_heads:int! kv_num_heads:int! scale:float softcap:float local_window_size=-1 "
        "do_rotary:int rotary_interleaved:int smooth_softmax=-1 causal=1 qk_output=0 "
        "sliding_window_cache=0 k_quant_type=NONE v_quant_type=NONE kv_cache_bit_width:int "
        "qk_norm_epsilon=1e-6 q_norm_epsilon:float k_norm_epsilon:float",
        T=_FLOATS_OF_MODELS,
        T_CACHE=f"{_FLOATS_OF_MODELS} {_BYTES} float8e4m3fn",
        T_KV_SCALE="float",
        M="int32",
    ),
    _schema(
        "RotaryEmbedding",
        "input:T position_ids:M cos_cache:T sin_cache:T -> output:T",
        "interleaved:int num_heads:int rotary_embedding_dim:int scale:float is_packed_batching:int",
        T=_FLOATS_OF_MODELS,
        M="int64",
    ),
    _schema(
        "EmbedLayerNormalization",
        "input_ids:T1 segment_ids:T1? word_embedding:T position_embedding:T "
        "segment_embedding:T? gamma:T beta:T mask:T1? position_ids:T1? -> "
        "output:T mask_index:T1? embedding_sum:T?",
        "epsilon=1e-12 mask_index_type:int",
        T="float float16",
        T1="int32",
    ),
    _schema(
        "MatMulNBits",
        "A:T1 B:T2 scales:T1 zero_points:T3? g_idx:T4? bias:T1? -> Y:T1",
        "K:int! N:int! bits=4 block_size:int! accuracy_level=0 weight_prepacked=0",
        T1=_FLOATS_OF_MODELS,
        T2="uint8",
        T3=f"uint8 {_FLOATS_OF_MODELS}",
        T4="int32",
    ),
)

SCHEMAS: dict[tuple[str, str], defs.OpSchema] = {
    (schema.domain, schema.name): schema
    for schema in (*_FUSED, *_NORMALIZATION, *_QUANTIZATION, *_ATTENTION)
}
"""By domain and name."""
