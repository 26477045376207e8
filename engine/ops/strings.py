"""StringConcat, StringSplit, StringNormalizer, RegexFullMatch: what is computed with strings.

Sources: https://onnx.ai/onnx/operators/; what it leaves open is fixed here. Whitespace is
what Unicode calls so (`str.isspace`), and goes from both ends also where `maxsplit` ends the
splitting. Letters change case as Unicode has it for every language, one into several where need be;
a `locale` of those that have it otherwise is refused. Patterns: see `regex`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from engine.errors import InputError, ShapeError, UnsupportedError
from engine.ir.types import BOOL, INT64, STRING, TensorType
from engine.ops.broadcasting import broadcast_shape, broadcastable, present, same_dtype
from engine.ops.numerics import Error, Units, exact
from engine.ops.operands import Operands, known, tensor, zeros
from engine.ops.regex import Program, Work, compiled
from engine.ops.spec import Arrays, Attributes, Call, Choose, OpSpec, Reference, Reject

Array = np.ndarray
Strings = frozenset({STRING})
CHARACTERS_MAX = 2**27
"""In all strings of one result: a few nodes, or a loop, could double a text without end."""

# fmt: off
WORDS = (
    "a", "", "b", "A", "ab", "a b", "  a  b ", "a,b,,c", ",", "b a b", "0", "é", "É", "ü€",
    "straße", "日本 語", "😀",
    "e\u0301", "\t\n", "a\u2003b", "x" * 65, "Monday", "monday",
)
# fmt: on
"""What examples are drawn from, simplest first."""


def strings(*texts: str) -> Array:
    """A vector of strings."""
    return np.array(texts, STRING)


def array_of(texts: Iterable[str], shape: Sequence[int]) -> Array:
    """Texts in row-major order as an array."""
    given = list(texts)
    array: Array = np.empty(len(given), STRING)
    array[:] = given
    return array.reshape(tuple(shape))


def draw_strings(choose: Choose, shape: Sequence[int]) -> Array:
    """Words, hard ones among them."""
    places = choose.tensor(shape, INT64, 0, len(WORDS) - 1)
    return array_of((WORDS[i] for i in places.ravel()), shape)


def check_characters(op: str, count: int) -> None:
    """Raise InputError for more text than a result may have, before it is made."""
    if count > CHARACTERS_MAX:
        raise InputError(f"{op}: the result has {count} characters, more than {CHARACTERS_MAX}")


def spec_of(
    op_type: str,
    count: int,
    infer_types: Callable[[Operands, Attributes], tuple[TensorType, ...]],
    reference: Reference,
    example: Callable[[Choose], Call],
    **more: Any,
) -> OpSpec:
    """The spec of an operator that is right or wrong.

    Args:
        count: of its inputs.
    """

    def error_model(inputs: Arrays, attributes: Attributes, _: Units) -> tuple[Error, ...]:
        return exact(*reference(inputs, attributes))

    return OpSpec(op_type, (count, count), infer_types, reference, error_model, example, **more)


# --------------------------------------------------------------------------- StringConcat
def _infer_concat(inputs: Operands, _: Attributes) -> tuple[TensorType, ...]:
    types = present("StringConcat", inputs)
    same_dtype("StringConcat", types, Strings)
    return (TensorType(STRING, broadcast_shape("StringConcat", types)),)


def _concat(inputs: Arrays, _: Attributes) -> tuple[Array, ...]:
    pairs = np.broadcast(*inputs)
    check_characters("StringConcat", sum(len(x) + len(y) for x, y in pairs))
    pairs.reset()
    return (array_of((x + y for x, y in pairs), pairs.shape),)


def _example_concat(choose: Choose) -> Call:
    shape = choose.shape((0, 3), 9)
    x, y = draw_strings(choose, shape), draw_strings(choose, broadcastable(choose, shape))
    return Call((x, y) if choose.integer(0, 1) else (y, x))


# --------------------------------------------------------------------------- StringSplit
def limits_of(attributes: Attributes) -> tuple[str, int]:
    """Delimiter, "" for whitespace; and how often it splits at most, -1 for any number."""
    return str(attributes.get("delimiter", "")), max(int(attributes.get("maxsplit", -1)), -1)


def _between(delimiter: str, most: int, text: str) -> list[str]:
    """Found one by one."""
    pieces: list[str] = []
    start = 0
    while most < 0 or len(pieces) < most:
        end = text.find(delimiter, start)
        if end < 0:
            break
        pieces.append(text[start:end])
        start = end + len(delimiter)
    return [*pieces, text[start:]]


def _words(most: int, text: str) -> list[str]:
    """What lies between spaces; after `most` of them all up to the last word."""
    places = [word.span() for word in re.finditer(r"\S+", text)]
    if 0 <= most < len(places) - 1:
        places[most:] = [(places[most][0], places[-1][1])]
    return [text[start:end] for start, end in places]


def _pieces(x: Array, attributes: Attributes) -> list[list[str]]:
    delimiter, most = limits_of(attributes)
    if delimiter:
        return [_between(delimiter, most, text) for text in x.flat]
    return [_words(most, text) for text in x.flat]


def _infer_split(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    shape = tensor("StringSplit", inputs, 0, "X", Strings).dims
    x = np.asarray(known("StringSplit", inputs, 0, "X"))
    longest = max(map(len, _pieces(x, attributes)), default=0)
    return TensorType(STRING, (*shape, longest)), TensorType(INT64, shape)


def _split(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x = np.asarray(inputs[0])
    pieces = _pieces(x, attributes)
    longest = max(map(len, pieces), default=0)
    padded = [piece for row in pieces for piece in (*row, *[""] * (longest - len(row)))]
    counts = np.array([len(row) for row in pieces], np.int64)
    return array_of(padded, (*x.shape, longest)), counts.reshape(x.shape)


def _example_split(choose: Choose) -> Call:
    attributes: dict[str, Any] = {}
    if choose.integer(0, 1):
        attributes["delimiter"] = choose.one_of(("", ",", "b", " a", "é", "a b"))
    if choose.integer(0, 1):
        attributes["maxsplit"] = choose.one_of((1, 0, 2, -1))
    return Call((draw_strings(choose, choose.shape((0, 2), 9)),), attributes)


# --------------------------------------------------------------------------- StringNormalizer
CASES = ("NONE", "LOWER", "UPPER")
OTHER_CASES = re.compile("(tr|az|lt)([-_.@].*)?", re.IGNORECASE)
"""Locales in which letters change case in another way."""


def check_normalizer(shape: Sequence[int], attributes: Attributes) -> None:
    """Raise ShapeError or UnsupportedError for what has no meaning here."""
    op, case = "StringNormalizer", str(attributes.get("case_change_action", "NONE"))
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[0] != 1):
        raise ShapeError(f"{op}: X has shape {tuple(shape)}, expected [C] or [1, C]")
    if case not in CASES:
        raise ShapeError(f"{op}: case_change_action={case!r}, expected one of {', '.join(CASES)}")
    locale = str(attributes.get("locale", ""))
    if OTHER_CASES.fullmatch(locale):
        raise UnsupportedError(f"{op}: locale={locale!r} has rules of its own for upper and lower")


def _kept(x: Array, attributes: Attributes) -> list[str]:
    """What is no stop word, in its new case."""
    stopwords = {str(word) for word in attributes.get("stopwords", ())}
    if int(attributes.get("is_case_sensitive", 0)):
        kept = [text for text in x.flat if text not in stopwords]
    else:
        lowered = {word.lower() for word in stopwords}
        kept = [text for text in x.flat if text.lower() not in lowered]
    case = str(attributes.get("case_change_action", "NONE"))
    if case != "NONE":
        kept = [text.lower() if case == "LOWER" else text.upper() for text in kept]
    return kept or [""]


def _infer_normalizer(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    shape = tensor("StringNormalizer", inputs, 0, "X", Strings).dims
    check_normalizer(shape, attributes)
    x = np.asarray(known("StringNormalizer", inputs, 0, "X"))
    return (TensorType(STRING, (*shape[:-1], len(_kept(x, attributes)))),)


def _normalize(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x = np.asarray(inputs[0])
    kept = _kept(x, attributes)
    return (array_of(kept, (*x.shape[:-1], len(kept))),)


def _example_normalizer(choose: Choose) -> Call:
    attributes: dict[str, Any] = {"case_change_action": choose.one_of(CASES)}
    if choose.integer(0, 1):
        attributes["is_case_sensitive"] = choose.integer(0, 1)
    if choose.integer(0, 1):
        attributes["stopwords"] = choose.one_of((("monday",), ("A", "É", ""), WORDS))
    if choose.integer(0, 1):
        attributes["locale"] = choose.one_of(("en_US", "de_DE.UTF-8", "C"))
    shape = choose.shape((1, 1), 17)
    return Call((draw_strings(choose, (1, *shape) if choose.integer(0, 1) else shape),), attributes)


# --------------------------------------------------------------------------- RegexFullMatch
def pattern_of(attributes: Attributes) -> str:
    """The pattern; the empty one is left to no default by ONNX, and matches the empty string."""
    return str(attributes.get("pattern", ""))


def _matches(program: Program, text: str, work: Work) -> bool:
    """All ways through the pattern at once, a character at a time."""
    around = ("", *text, "")
    here = program.closure({0}, around[0], around[1], work)
    for i, character in enumerate(text, 1):
        here = program.closure(program.step(here, character), around[i], around[i + 1], work)
    return program.accepts(here)


def _infer_match(inputs: Operands, attributes: Attributes) -> tuple[TensorType, ...]:
    shape = tensor("RegexFullMatch", inputs, 0, "X", Strings).dims
    compiled(pattern_of(attributes))
    return (TensorType(BOOL, shape),)


def _match(inputs: Arrays, attributes: Attributes) -> tuple[Array, ...]:
    x, program, work = np.asarray(inputs[0]), compiled(pattern_of(attributes)), Work()
    return (np.array([_matches(program, text, work) for text in x.flat], bool).reshape(x.shape),)


PATTERNS = (
    *(
        "a",
        "",
        "a*b?",
        "[a-cé]+",
        r"\w*",
        "(a|ab)(,|b)*",
        r"(?i)MONDAY",
        r"\s*\S\s+\S\s*",
        ".{2,4}",
    ),
    *(r"(?s).*", r"x{65}", r"[^\x00-\x7F]+", r"(a\b|\Bb|[ ,])*", r"(?m)(?:^a?$|\n|\t)*", "日本 語"),
)


def _example_match(choose: Choose) -> Call:
    x = draw_strings(choose, choose.shape((0, 3), 9))
    return Call((x,), {"pattern": choose.one_of(PATTERNS)})


def _pattern(pattern: str, *texts: str) -> Call:
    return Call((strings(*texts or ("a",)),), {"pattern": pattern})


# --------------------------------------------------------------------------- the table
def _call(*texts: str, **attributes: Any) -> Call:
    return Call((strings(*texts),), attributes)


def _nothing(shape: tuple[int, ...], **attributes: Any) -> Call:
    return Call((np.full(shape, "", STRING),), attributes)


NUMBERS = Reject("numbers", lambda: Call((zeros(3),)), "float32 is not supported, only string")

SPECS: tuple[OpSpec, ...] = (
    spec_of(
        "StringConcat",
        2,
        _infer_concat,
        _concat,
        _example_concat,
        edges=(
            lambda: Call((np.empty((0, 3), STRING), strings("a"))),
            lambda: Call((np.array("a", STRING), np.array("", STRING))),
        ),
        rejects=(
            Reject("numbers", lambda: Call((zeros(3), zeros(3))), "float32 is not supported"),
            Reject("shapes", lambda: Call((strings("a", "b"), strings(*"abc"))), "StringConcat"),
        ),
    ),
    spec_of(
        "StringSplit",
        1,
        _infer_split,
        _split,
        _example_split,
        constant_inputs=frozenset({0}),
        edges=(
            partial(_nothing, (0, 2)),
            partial(_call, "", " ", "\u00a0", " a  b "),
            partial(_call, "", ",", ",,a", "a,,", delimiter=","),
            partial(_call, " a  b  c ", "", maxsplit=1),
            partial(_call, "aaaaa", delimiter="aa", maxsplit=0),
            lambda: Call((np.array("a b", STRING),), {"maxsplit": -7}),
        ),
        rejects=(NUMBERS,),
        reads=("delimiter", "maxsplit"),
    ),
    spec_of(
        "StringNormalizer",
        1,
        _infer_normalizer,
        _normalize,
        _example_normalizer,
        constant_inputs=frozenset({0}),
        edges=(
            partial(_nothing, (0,)),
            partial(_nothing, (1, 0), stopwords=("a",)),
            partial(_call, "a", "A", stopwords=("A",)),
            partial(_call, "a", "A", "", "É", "é", stopwords=("A", "é"), is_case_sensitive=1),
            partial(_call, "straße", "ǆ", "ΑΣ", "i", case_change_action="UPPER"),
            partial(_call, "STRASSE", "ẞ", "ΑΣ", "I", case_change_action="LOWER"),
        ),
        rejects=(
            NUMBERS,
            Reject("two rows", partial(_nothing, (2, 2)), r"expected \[C\] or \[1, C\]"),
            Reject("a scalar", partial(_nothing, ()), r"expected \[C\] or \[1, C\]"),
            Reject("a case", partial(_call, "a", case_change_action="lower"), "expected one of"),
            Reject("a locale", partial(_call, "a", locale="tr_TR"), "has rules of its own"),
        ),
        reads=("case_change_action", "is_case_sensitive", "locale", "stopwords"),
    ),
    spec_of(
        "RegexFullMatch",
        1,
        _infer_match,
        _match,
        _example_match,
        edges=(
            partial(_nothing, (2, 0), pattern="a"),
            partial(_pattern, r"(a*)*b", "a" * 30, "aab"),
            partial(_pattern, r"^\A\ba+\b\z$", "aa", ""),
            partial(_pattern, r".", "\n", "é", ""),
        ),
        rejects=(
            Reject("numbers", lambda: Call((zeros(3),), {"pattern": "a"}), "only string"),
            Reject("a back reference", partial(_pattern, r"(a)\1"), "back reference"),
            Reject("lookahead", partial(_pattern, "(?=a)"), "RE2"),
            Reject("a group left open", partial(_pattern, "(a"), "is never closed"),
            Reject("too much", partial(_pattern, f"({'a' * 99}){{999}}"), "too large"),
        ),
        reads=("pattern",),
    ),
)
