"""What onnxruntime reads differently, and why: strings, and what is looked up."""

from __future__ import annotations

import numpy as np

from engine.ops.label_encoder import column
from engine.ops.strings import strings
from properties.hostile.asked import (
    Call,
    Disagreement,
    call,
)


def _has_other_spaces(call: Call) -> bool:
    """Whether a StringSplit by whitespace meets other than " "."""
    texts = "".join(call.first.flat)
    return not call.attribute("delimiter") and any(c.isspace() and c != " " for c in texts)


def _is_ascii(x: np.ndarray) -> bool:
    return all(text.isascii() for text in x.flat)


def _changes_case_beyond_ascii(call: Call) -> bool:
    """Of a StringNormalizer: of texts, or of their copies that are compared with stop words."""
    changes = call.attribute("case_change_action", b"NONE") != b"NONE"
    compares = bool(call.attribute("stopwords")) and not call.attribute("is_case_sensitive")
    return (changes or compares) and not _is_ascii(call.first)


def _has_keys_twice(call: Call) -> bool:
    """Of a LabelEncoder; where the version that counts its bits has NaN among them, too."""
    keys = column("keys", call.attributes)
    return len({*keys.tolist()}) < len(keys) or (keys != keys).any()


DISAGREEMENTS = (
    Disagreement(
        "onnxruntime",
        frozenset({"StringSplit"}),
        "finds nothing in an empty string, where delimiters are 'deemed to delimit empty strings'",
        lambda c: bool(c.attribute("delimiter")) and "" in c.first,
        lambda: call(
            "StringSplit", 20, strings("", "a,b"), constants=(0,), outputs=2, delimiter=","
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"StringSplit"}),
        "splits at spaces only, where 'consecutive whitespace characters' are a separator",
        _has_other_spaces,
        lambda: call("StringSplit", 20, strings("a\tb"), constants=(0,), outputs=2),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"StringNormalizer"}),
        "changes, and compares, the case of what one character has, and in some locales of ASCII "
        "only",
        _changes_case_beyond_ascii,
        lambda: call(
            "StringNormalizer",
            10,
            strings("straße"),
            constants=(0,),
            case_change_action="UPPER",
            locale="C",
        ),
    ),
    Disagreement(
        "onnxruntime",
        frozenset({"ai.onnx.ml::LabelEncoder"}),
        "takes the first of keys that are repeated, where 'the last key takes precedence', and "
        "before opset 4 knows no NaN, where 'even a float NaN can be mapped'",
        _has_keys_twice,
        lambda: call(
            *("LabelEncoder", 4, strings("a")),
            domain="ai.onnx.ml",
            keys_strings=["a", "a"],
            values_int64s=[1, 2],
        ),
    ),
)
