"""Faults in what the host computes with strings, tables, n-grams, trees and images."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.backends.cpu import image_decoder, label_encoder, strings, tf_idf, tree_ensemble
from engine.ir.types import zero_of
from engine.ops.tree_ensemble import MIN
from properties.fault import Fault, attribute, operators


def _swapped(old: Any) -> Any:
    def make(backend: Any, node: Any) -> Any:
        run = old(backend, node)
        return lambda inputs, outputs: run(inputs[::-1], outputs)

    return make


def _first_of_equals(old: Any) -> Any:
    def table(attributes: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        keys, values, default = old(attributes)
        return keys[::-1], values[::-1], default

    return table


def _without_default(old: Any) -> Any:
    def table(attributes: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        keys, values, _ = old(attributes)
        return keys, values, zero_of(values.dtype)

    return table


def _with_zeros(old: Any) -> Any:
    def gather(leaves: Any, targets: Any, weights: Any, aggregate: int, out: np.ndarray) -> None:
        old(leaves, targets, weights, aggregate, out)
        if aggregate == MIN:
            np.minimum(out, 0, out=out)

    return gather


def _made_gray(old: Any) -> Any:
    def opened(stream: np.ndarray, mode: str) -> Any:
        image = old(stream, mode)
        return image if image is None else image.convert("L").convert(mode)

    return opened


STRING_FAULTS: tuple[Fault, ...] = tuple(
    Fault(name, "cpu", plant, operators(op_type, on="cpu"))
    for name, op_type, plant in (
        (
            "string-concat-the-other-way-round",
            "StringConcat",
            attribute(strings.KERNELS, "StringConcat", _swapped),
        ),
        (
            "string-split-strips-the-pieces",
            "StringSplit",
            attribute(
                strings,
                "_between",
                lambda old: lambda by, most, text: [part.strip() for part in old(by, most, text)],
            ),
        ),
        (
            "string-split-leaves-spaces-at-the-end",
            "StringSplit",
            attribute(strings, "_words", lambda old: lambda most, text: text.split(None, most)),
        ),
        (
            "string-normalizer-always-heeds-case",
            "StringNormalizer",
            attribute(strings, "_lowered", lambda old: list),
        ),
        (
            "regex-full-match-takes-a-beginning",
            "RegexFullMatch",
            attribute(
                strings._Matcher,
                "matches",
                lambda old: (
                    lambda self, text, work: any(
                        old(self, text[:end], work) for end in range(len(text) + 1)
                    )
                ),
            ),
        ),
        (
            "regex-full-match-confuses-places",
            "RegexFullMatch",
            attribute(strings, "kind_of", lambda old: lambda character: "a"),
        ),
        (
            "label-encoder-takes-the-first-of-equal-keys",
            "LabelEncoder",
            attribute(label_encoder, "table", _first_of_equals),
        ),
        (
            "label-encoder-forgets-its-default",
            "LabelEncoder",
            attribute(label_encoder, "table", _without_default),
        ),
        (
            "tf-idf-vectorizer-skips-nothing",
            "TfIdfVectorizer",
            attribute(
                tf_idf, "distances_of", lambda old: lambda attributes, length, items: range(1, 2)
            ),
        ),
        (
            "tf-idf-vectorizer-counts-what-is-too-short",
            "TfIdfVectorizer",
            attribute(
                tf_idf, "lengths_of", lambda old: lambda attributes: range(1, old(attributes).stop)
            ),
        ),
        (
            "image-decoder-forgets-bgr",
            "ImageDecoder",
            attribute(
                image_decoder,
                "bands_of",
                lambda old: lambda attributes: old(attributes).replace("BGR", "RGB"),
            ),
        ),
        (
            "image-decoder-makes-all-gray",
            "ImageDecoder",
            attribute(image_decoder, "opened", _made_gray),
        ),
        (
            "tree-ensemble-compares-nan",
            "TreeEnsemble",
            attribute(tree_ensemble._Walk, "_ways", lambda old: lambda walk, *at: walk._holds(*at)),
        ),
        (
            "tree-ensemble-takes-the-least-of-no-votes-too",
            "TreeEnsemble",
            attribute(tree_ensemble, "_gather", _with_zeros),
        ),
    )
)
"""Each in a kernel of the CPU backend, and hunted there."""
