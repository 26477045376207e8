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
    """`A:T`, `B:T?` for an optional one, `C:float*` for any number."""
    name, kind = text.rstrip("?*").split(":")
    kind = kind if kind[0].isupper() else f"tensor({kind})"
    single = defs.OpSchema.FormalParameterOption.Single
    return defs.OpSchema.FormalParameter(name, kind, param_option=_OPTIONS.get(text[-1], single))


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

SCHEMAS: dict[tuple[str, str], defs.OpSchema] = {
    (schema.domain, schema.name): schema for schema in (*_FUSED, *_NORMALIZATION, *_QUANTIZATION)
}
"""By domain and name."""
