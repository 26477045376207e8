"""Examples of onnxruntime's operators, which the importer defines by bodies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import defs

from engine.onnx_import.microsoft.bodies import BODIES
from engine.onnx_import.microsoft.schemas import DOMAIN, SCHEMAS
from engine.ops.spec import Call, Choose
from properties.hostile.composed import Composed
from properties.hostile.forms import Array, Extents, Form, extent, of_forms
from properties.hostile.witnesses import KEEPS

FLAG = (None, 1)
HEADS = {"num_heads": extent("n")}
SCORES = {**HEADS, "unidirectional": FLAG, "scale": (None, 0.3), "mask_filter_value": (None, -2.0)}


def key_of(schema: defs.OpSchema) -> str:
    """What the attack calls an operator; ONNX may have one of the same name."""
    return f"{schema.domain}::{schema.name}" if schema.domain else str(schema.name)


# ------------------------------------------------------------------------- products
_SIMPLE = ("Relu", "Tanh", "Sigmoid")
_CONV = "X:b,gc,u+r,v+q W:gi,c,r+1,q+1 B?:gi"
_BATCHES = {"transBatchA": (1,), "transBatchB": (1,)}


def _fused_conv() -> tuple[Form, ...]:
    group = {"group": extent("g")}
    clipped = {"activation": ("Clip",), "activation_params": ((-0.5, 0.75),)}
    leaky = {"activation": ("LeakyRelu",), "activation_params": ((0.3,),)}
    return (
        Form(f"{_CONV} Z?:b,gi,u,v", {**group, "activation": (*_SIMPLE, None)}),
        Form(_CONV, {**group, **clipped, "pads": ((1, 0, 0, 1),), "strides": ((2, 1),)}),
        Form(_CONV, {**group, **leaky, "auto_pad": ("SAME_UPPER",), "dilations": (None, (1, 2))}),
    )


def _fused_gemm() -> tuple[Form, ...]:
    scales = {"alpha": (None, 0.5), "beta": (None, 2.0)}
    leaky = {"activation": ("LeakyRelu", "Elu"), "activation_alpha": (0.3,)}
    turned = {"transA": (1,), "transB": (1,)}
    return (
        Form("A:i,k B:k,h C?:h|1|i,1|i,h|", {**scales, "activation": _SIMPLE}),
        Form("A:k,i B:h,k C?:h|i,h", {**scales, **turned, **leaky}),
    )


def _fused_mat_mul() -> tuple[Form, ...]:
    alpha = {"alpha": (None, 0.5)}
    return (
        Form("A:i,k|p,i,k|k B:k,h|p,k,h|k", alpha),
        Form("A:k,i|p,k,i B:k,h|p,k,h", {**alpha, "transA": (1,)}),
        Form("A:i,k|p,i,k|k B:h,k|p,h,k", {**alpha, "transB": (1,)}),
        Form("A:i,p,k B:k,p,h", {**alpha, **_BATCHES}),
        Form("A:k,p,i B:h,p,k", {**alpha, **_BATCHES, "transA": (1,), "transB": (1,)}),
    )


def _q_gemm() -> tuple[Form, ...]:
    more = "a_scale: a_zero_point: b_scale: b_zero_point: C?:h|i,h|1"
    by_columns = more.replace("b_scale: b_zero_point:", "b_scale:h b_zero_point:h")
    quantised = "y_scale: y_zero_point:"
    return (
        Form(f"A:i,k B:k,h {more}", {"alpha": (None, 0.5)}),
        Form(f"A:k,i B:h,k {by_columns} {quantised}", {"transA": (1,), "transB": (1,)}),
    )


def _mat_mul_n_bits(choose: Choose) -> Call:
    bits, block, n = choose.one_of((4, 8, 2)), choose.one_of((32, 16, 64)), choose.integer(1, 9)
    k = choose.one_of((64, 70, 16))
    blocks = -(-k // block)
    whole = np.dtype(np.uint8)
    inputs: list[Array | None] = [
        choose.tensor((choose.integer(1, 3), k), low=-2, high=2),
        choose.tensor((n, blocks, block * bits // 8), whole, 0, 255),
        choose.tensor(choose.one_of(((n, blocks), (n * blocks,))), low=0.01, high=0.1),
    ]
    if choose.integer(0, 1):
        packed = choose.tensor((n, -(-blocks * bits // 8)), whole, 0, 255)
        real = choose.tensor((n, blocks), low=0, high=2**bits - 1)
        inputs.append(choose.one_of((packed, real)))
    attributes = {"K": k, "N": n, "bits": bits, "block_size": block}
    return Call(tuple(inputs), attributes)


# ------------------------------------------------------------------------- quantised
def _one_input(x: str, y: str) -> str:
    return f"X:b,c,e {x}_scale: {x}_zero_point: {y}_scale: {y}_zero_point:"


_TWO = "A:b,c,e|e B:b,c,e|c,1| " + " ".join(f"{x}_scale: {x}_zero_point:" for x in "ABC")
_IMAGE = "X:b,c,u+r,v+r x_scale: x_zero_point: y_scale: y_zero_point:"


def _average_pool() -> tuple[Form, ...]:
    kernel = {"kernel_shape": ((2, 2), (1, 3), (3, 1)), "strides": (None, (2, 1))}
    return (
        Form(_IMAGE, {**kernel, "pads": (None, (0, 1, 1, 0)), "count_include_pad": FLAG}),
        Form(_IMAGE, {**kernel, "ceil_mode": (1,)}),
        Form(_IMAGE, {**kernel, "channels_last": (1,), "auto_pad": ("SAME_LOWER", None)}),
    )


def _q_linear_concat(choose: Choose) -> Call:
    dtype = np.dtype(choose.one_of((np.uint8, np.int8)))
    limits, rank = np.iinfo(dtype), choose.integer(1, 3)
    axis = choose.integer(-rank, rank - 1)
    shape = [choose.one_of((3, 1, 5)) for _ in range(rank)]

    def scaled(*tensors: Array) -> list[Array]:
        return [
            *tensors,
            choose.tensor((), np.dtype(np.float32), 0.01, 0.1),
            choose.tensor((), dtype, limits.min, limits.max),
        ]

    inputs = scaled()
    for _ in range(choose.integer(1, 3)):
        shape[axis] = choose.one_of((3, 1, 5))
        inputs += scaled(choose.tensor(shape, dtype, limits.min, limits.max))
    return Call(tuple(inputs), {"axis": axis})


_LSTM = "X:s,b,e W:g,e,4h R:g,h,4h B?:g,8h initial_h?:g,b,h initial_c?:g,b,h P?:g,3h"


def _lstm() -> tuple[Form, ...]:
    hidden = {"hidden_size": extent("h"), "input_forget": FLAG, "clip": (None, 3.0)}

    def directions(extents: Extents) -> str:
        return "bidirectional" if extents["g"] == 2 else "reverse"

    return tuple(
        Form(
            f"{_LSTM} W_scale:{c} W_zero_point:{c} R_scale:{c} R_zero_point:{c}",
            {**hidden, "direction": directions},
        )
        for c in ("g", "g,4h")
    )


# ------------------------------------------------------------------------- attention
def _attention() -> tuple[Form, ...]:
    forms = []
    for keys, past in (("s", ""), ("p+s", "past:2,b,n,p,d")):
        masks = f"b|2b|b,{keys}|b,s,{keys}"
        bias = f"1,1,s,{keys}|b,n,s,{keys}|1,n,s,{keys}"
        more = f"mask_index?:{masks} {past} attention_bias?:{bias}"
        below = {"mask_index": f"{keys}+1"}
        forms.append(Form(f"input:b,s,i weights:i,3nd bias?:3nd {more}", SCORES, below))
        sizes = {**SCORES, "qkv_hidden_sizes": lambda e: [e["n"] * e["d"]] * 2 + [e["n"] * e["h"]]}
        if not past:
            forms.append(Form(f"input:b,s,i weights:i,2nd+nh bias:2nd+nh {more}", sizes, below))
    return tuple(forms)


def _multi_head() -> tuple[Form, ...]:
    forms = []
    for keys, past in (("t", ""), ("p+t", "past_key:b,n,p,d past_value:b,n,p,d")):
        masks = f"b|3b+2|b,{keys}|b,s,{keys}"
        bias = f"1,1,s,{keys}|b,n,s,{keys}|1,n,s,{keys}|b,1,s,{keys}"
        more = f"key_padding_mask?:{masks} attention_bias?:{bias} {past}"
        below = {"key_padding_mask": f"{keys}+1"}
        for given in (
            "query:b,s,nd key:b,t,nd value:b,t,nd bias?:3nd",
            "query:b,s,nd key:b,t,nd value:b,t,nh bias?:2nd+nh",
            "query:b,s,nd key:b,n,t,d value:b,n,t,d bias?:3nd",
        ):
            forms.append(Form(f"{given} {more}", SCORES, below))
    return tuple(forms)


def _grouped(choose: Choose) -> Call:
    batch, queries, kept = choose.integer(1, 2), choose.one_of((1, 3, 5)), choose.one_of((0, 4, 9))
    m, group, d = choose.one_of((2, 1)), choose.one_of((2, 1, 3)), choose.one_of((16, 32))
    batch = 1 if kept and queries > 1 else batch
    total = queries if not kept else choose.one_of((kept, queries + kept))
    total = max(total, queries)
    least = 0 if total == queries else queries - 1
    lengths = np.array([choose.integer(least, total - 1) for _ in range(batch)], np.int32)
    lengths[0] = total - 1
    n, rows = m * group, (batch, queries)
    inputs: list[Array | None]
    if choose.integer(0, 1):
        inputs = [choose.tensor((*rows, (n + 2 * m) * d), low=-2, high=2), None, None]
    else:
        inputs = [choose.tensor((*rows, k * d), low=-2, high=2) for k in (n, m, m)]
    past = (batch, m, kept, d)
    inputs += [choose.tensor(past, low=-2, high=2) if kept else None for _ in range(2)]
    inputs += [lengths, np.array(total, np.int32)]
    attributes: dict[str, Any] = {"num_heads": n, "kv_num_heads": m}
    attributes["local_window_size"] = choose.one_of((-1, 2, 1, 100))
    attributes["softcap"] = choose.one_of((0.0, 0.75))
    attributes["smooth_softmax"] = choose.one_of((-1, 0))
    if choose.integer(0, 1):
        angles = choose.tensor((total + 2, d // 2), low=-3, high=3)
        inputs += [np.cos(angles), np.sin(angles)]
        attributes |= {"do_rotary": 1, "rotary_interleaved": choose.integer(0, 1)}
    else:
        inputs += [None, None]
    if choose.integer(0, 1):
        bias = choose.one_of(((1, 1), (1, n), (batch, n), (batch, 1)))
        inputs += [None, choose.tensor((*bias, queries, total), low=-2, high=2)]
    return Call(tuple(inputs), attributes)


def _rotary() -> tuple[Form, ...]:
    way = {"interleaved": FLAG}
    at = {"position_ids": "p"}
    caches = "cos_cache:p+s,d sin_cache:p+s,d"
    partial = {"num_heads": extent("n"), "rotary_embedding_dim": extent("2d")}
    return (
        Form(f"input:b,s,2nd position_ids:b,s|1 {caches}", {**way, "num_heads": (None, 0)}, at),
        Form(f"input:b,n,s,2d position_ids:b,s|1 {caches}", way, at),
        Form(f"input:b,s,3nd position_ids:b,s|1 {caches}", {**way, **partial}, at),
    )


def _embed() -> tuple[Form, ...]:
    below = {"input_ids": "w", "segment_ids": "2", "mask": "2", "position_ids": "s+p"}
    attributes = {"epsilon": (None, 0.25), "mask_index_type": FLAG}
    tables = "word_embedding:w,h position_embedding:s+p,h"
    return tuple(
        Form(
            f"input_ids:b,s {ids} {tables} gamma:h beta:h mask?:b,s position_ids?:b,s|1,s",
            attributes,
            below,
        )
        for ids in ("segment_ids:b,s segment_embedding:2,h", "")
    )


# ------------------------------------------------------------------------- all
def _skip(*names: str) -> Form:
    given = {"beta?": "h", "gamma": "h", "bias?": "h"}
    more = " ".join(f"{name}:{given[name]}" for name in names)
    return Form(f"input:b,s,h skip:b,s,h|s,h|1,s,h {more}", {"epsilon": (None, 0.25)})


FORMS: Mapping[str, Form | tuple[Form, ...]] = {
    "Attention": _attention(),
    "BiasGelu": Form("A:b,s,h B:h"),
    "DequantizeLinear": (
        Form("x:b,c,e x_scale: x_zero_point?:"),
        Form("x:b,c,e x_scale:c x_zero_point?:c", {"axis": (None, 1, -2)}),
        Form("x:b,c,e x_scale:e x_zero_point?:e", {"axis": (2, -1)}),
    ),
    "DynamicQuantizeLSTM": _lstm(),
    "DynamicQuantizeMatMul": Form("A:s,k|b,s,k B:k,h b_scale:1|h| b_zero_point?:1|h| bias?:h"),
    "EmbedLayerNormalization": _embed(),
    "FastGelu": Form("X:b,s,h bias?:h"),
    "FusedConv": _fused_conv(),
    "FusedGemm": _fused_gemm(),
    "FusedMatMul": _fused_mat_mul(),
    "Gelu": Form("X:b,s,h|h|"),
    "MatMulIntegerToFloat": Form(
        "A:b,s,k|s,k B:k,h a_scale:|1 b_scale:|h|1 a_zero_point?: b_zero_point?:|h bias?:h"
    ),
    "MultiHeadAttention": _multi_head(),
    "QGemm": _q_gemm(),
    "QLinearAdd": Form(_TWO),
    "QLinearAveragePool": _average_pool(),
    "QLinearGlobalAveragePool": Form(_IMAGE, {"channels_last": FLAG}),
    "QLinearLeakyRelu": Form(_one_input("X", "Y"), {"alpha": (None, 0.3)}),
    "QLinearMul": Form(_TWO),
    "QLinearSigmoid": Form(_one_input("X", "Y")),
    "QLinearSoftmax": Form(
        "X:b,c,e X_scale: x_zero_point?: y_scale: y_zero_point:",
        {"axis": (-1, 1, 0, -2), "opset": (13, 12)},
    ),
    "QLinearWhere": Form(
        "condition:b,1,e|b,c,e X:b,c,e|c,e x_scale: x_zero_point: Y:b,c,e|1 y_scale: "
        "y_zero_point: z_scale: z_zero_point:"
    ),
    "QuantizeLinear": (
        Form("x:b,c,e y_scale: y_zero_point?:"),
        Form("x:b,c,e y_scale:c y_zero_point?:c", {"axis": (None, 1, -2)}),
        Form("x:b,c,e y_scale:e y_zero_point?:e", {"axis": (2, -1)}),
    ),
    "QuickGelu": Form("X:b,s,h|h|", {"alpha": (None, 0.5, 1.0)}),
    "RotaryEmbedding": _rotary(),
    "SimplifiedLayerNormalization": (
        Form("X:b,s,h scale:h", {"axis": (None, -1), "epsilon": (None, 0.25)}),
        Form("X:b,s,h scale:s,h", {"axis": (1, -2)}),
    ),
    "SkipLayerNormalization": _skip("gamma", "beta?", "bias?"),
    "SkipSimplifiedLayerNormalization": _skip("gamma", "bias?"),
}
"""By operator, how it is called."""
DRAWN: Mapping[str, Callable[[Choose], Call]] = {
    "GroupQueryAttention": _grouped,
    "MatMulNBits": _mat_mul_n_bits,
    "QLinearConcat": _q_linear_concat,
}
"""Those whose inputs follow from one another in other ways."""


def _example(schema: defs.OpSchema) -> Callable[[Choose], Call]:
    if schema.name in DRAWN:
        return DRAWN[schema.name]
    forms = FORMS[schema.name]
    return of_forms(schema, *(forms if isinstance(forms, tuple) else (forms,)))


def outputs_of(op_type: str, call: Call) -> int | None:
    """How many outputs a call must have so that onnxruntime may be asked; None: any number."""
    past, outputs = KEEPS.get(op_type.removeprefix(f"{DOMAIN}::"), (len(call.inputs), 0))
    if op_type in MICROSOFT and past < len(call.inputs) and call.inputs[past] is not None:
        return outputs
    return 1 if "qkv_hidden_sizes" in call.attributes else None


MICROSOFT: Mapping[str, tuple[defs.OpSchema, Composed]] = {
    key_of(SCHEMAS[name]): (SCHEMAS[name], Composed(_example(SCHEMAS[name]))) for name in BODIES
}
"""By what the attack calls them."""
