"""What onnx's reference evaluator reads differently, and why: strings, and what is looked up."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from engine.ir.types import STRING
from engine.ops.strings import strings
from properties.hostile.asked import (
    Disagreement,
    call,
)

DISAGREEMENTS = (
    Disagreement(
        "evaluator",
        frozenset({"StringNormalizer"}),
        "strips accents, drops empty strings and takes stop words out of sentences, where the text "
        "'removes elements specified in \"stopwords\"'",
        lambda c: not all(text.isascii() and text and " " not in text for text in c.first.flat),
        lambda: call(
            "StringNormalizer", 10, strings("é", "", "a b"), constants=(0,), stopwords=["a"]
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"StringNormalizer"}),
        "heeds the case of stop words unless it changes that of all",
        lambda c: bool(c.attribute("stopwords")) and not c.attribute("is_case_sensitive"),
        lambda: call("StringNormalizer", 10, strings("A", "b"), constants=(0,), stopwords=["a"]),
    ),
    Disagreement(
        "evaluator",
        frozenset({"RegexFullMatch"}),
        "matches by Python's re, whose classes and words are Unicode's; 'RE2 regex syntax is used'",
        lambda c: not all(text.isascii() for text in c.first.flat),
        lambda: call("RegexFullMatch", 20, strings("é"), pattern=r"\w"),
    ),
    Disagreement(
        "evaluator",
        frozenset({"Pad"}),
        "pads strings with '0', where the default is 'empty string'",
        lambda c: c.first.dtype == STRING and c.attribute("mode", b"constant") == b"constant",
        lambda: call("Pad", 13, strings("a"), np.array([1, 0]), constants=(1,)),
    ),
    Disagreement(
        "evaluator",
        frozenset({"StringSplit"}),
        "leaves whitespace at the end where maxsplit ends the splitting, although 'trailing "
        "whitespace is removed'",
        lambda c: c.attribute("maxsplit", -1) >= 0 and any(t != t.rstrip() for t in c.first.flat),
        lambda: call("StringSplit", 20, strings("a b "), constants=(0,), outputs=2, maxsplit=0),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ai.onnx.ml::LabelEncoder"}),
        "takes no default_tensor beside values that are a list; 'the type of the default_* "
        "attribute must match the values_* attribute', and it does",
        lambda c: (
            c.attribute("default_tensor") is not None and c.attribute("values_tensor") is None
        ),
        lambda: call(
            *("LabelEncoder", 4, strings("b")),
            domain="ai.onnx.ml",
            keys_strings=["a"],
            values_int64s=[1],
            default_tensor=numpy_helper.from_array(np.array([3])),
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"ai.onnx.ml::LabelEncoder"}),
        "knows no NaN among the keys",
        lambda c: c.first.dtype.kind == "f" and bool(np.isnan(c.first).any()),
        lambda: call(
            *("LabelEncoder", 2, np.array([np.nan], np.float32)),
            domain="ai.onnx.ml",
            keys_floats=[np.nan],
            values_int64s=[1],
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"TfIdfVectorizer"}),
        "gives weights to places in the result, where 'the i-th element in weights is the weight "
        "of the i-th n-gram in pool'",
        lambda c: len(c.attribute("weights", ())) > 0,
        lambda: call(
            *("TfIdfVectorizer", 9, np.array([7, 8, 8], np.int64)),
            pool_int64s=[7, 8],
            ngram_counts=[0],
            ngram_indexes=[1, 0],
            weights=[1.0, 3.0],
            mode="TFIDF",
            min_gram_length=1,
            max_gram_length=1,
            max_skip_count=0,
        ),
    ),
    Disagreement(
        "evaluator",
        frozenset({"RegexFullMatch"}),
        "has Python's classes, in which letters of all alphabets are words; those of RE2 are ASCII",
        lambda c: b"\\" in c.attribute("pattern") and not all(t.isascii() for t in c.first.flat),
        lambda: call("RegexFullMatch", 20, strings("é"), pattern=r"\w"),
    ),
)
