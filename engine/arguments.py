"""What a user gives, as what the engine uses: one function per kind of argument.

Public calls pass their arguments through these at once, so that a wrong one is refused where it was
given, with what was expected there and what to do. `where` is how the user knows the argument.
"""

from __future__ import annotations

import difflib
import enum
import operator
import os
import re
import reprlib
from collections.abc import Collection, Mapping, Set
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from engine.errors import ConfigError, InputError, ParallaxError

Kind = TypeVar("Kind")
Member = TypeVar("Member", bound=enum.Enum)
Flags = TypeVar("Flags", bound=enum.IntFlag)

AnyShape: TypeAlias = tuple[int, ...] | tuple[tuple[int, ...], ...] | None
"""Of a tensor; of the tensors of a sequence; of something optional that is not there."""

LISTED = 20
"""Names that an error lists; it says how many more there are."""


# ---------------------------------------------------------------------- any kind
def of_kind(
    where: str,
    value: object,
    kind: type[Kind] | tuple[type[Kind], ...],
    expected: str,
    error: type[ParallaxError] = InputError,
) -> Kind:
    """The value, which must be an instance; `expected` says of what, and the remedy."""
    if not isinstance(value, kind):
        raise error(f"{where}: got {shown(value)}, expected {expected}")
    return value


def items(where: str, value: Any, expected: str, error: type[ParallaxError]) -> list[Any]:
    """What is in a sequence or another iterable, which a text is not."""
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return list(value)
    except TypeError:
        raise error(f"{where}: got {shown(value)}, expected {expected}") from None


def optional(where: str, value: object, kind: type[Kind], expected: str) -> Kind | None:
    """The same for an option that may be None; raises ConfigError."""
    if value is None:
        return None
    return of_kind(where, value, kind, f"{expected}, or None", ConfigError)


def switch(where: str, value: object) -> bool:
    """True or False; raises ConfigError."""
    return bool(of_kind(where, value, (bool, np.bool_), "True or False", ConfigError))


def count(where: str, value: object, least: int, error: type[ParallaxError] = InputError) -> int:
    """An integer that is not too small."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise error(f"{where}={shown(value)}: expected an integer of at least {least}")
    return int(value)


def function(where: str, value: Kind) -> Kind:
    """Something to call, or None."""
    if value is not None and not callable(value):
        raise InputError(f"{where}: got {shown(value)}, expected a function, or None")
    return value


def shown(value: object) -> str:
    """A value of any kind in a few words."""
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype}{list(value.shape)}"
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, enum.Enum)):
        return reprlib.repr(value)
    name = type(value).__qualname__
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return f"the {name} {reprlib.repr(value)}"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


# ---------------------------------------------------------------------- names
def unknown(what: str, name: str, known: Collection[str], *, more: str = "") -> InputError:
    """The error for a name that is not known: near ones, or what there is.

    Args:
        more: where all names are listed, in words that follow them.
    """
    same = [n for n in known if n.lower() == name.lower()]
    near = list(dict.fromkeys((*same, *difflib.get_close_matches(name, known, 3))))[:3]
    hint = f"did you mean {listed(near, ' or ')}?" if near else f"there are {listed(known)}"
    return InputError(f"{what} named {name!r}; {hint}{f' ({more})' if more else ''}")


def listed(names: Collection[str], joint: str = ", ") -> str:
    """The names, or the first of them and how many more there are."""
    first = joint.join(map(repr, [*names][:LISTED])) or "none"
    return f"{first} and {len(names) - LISTED} more" if len(names) > LISTED else first


def names(
    where: str, value: Any, error: type[ParallaxError] = InputError, *, example: str = "('a', 'b')"
) -> tuple[str, ...]:
    """A sequence of names, which a single string is not."""
    is_sequence = isinstance(value, Collection) and not isinstance(value, (str, bytes, Mapping))
    expected = f"a sequence of names, such as {example}"
    found = items(where, value, expected, error) if is_sequence else [None]
    if not all(isinstance(name, str) for name in found):
        raise error(f"{where}: got {shown(value)}, expected {expected}")
    return tuple(found)


# ---------------------------------------------------------------------- members of enumerations
def member(where: str, kind: type[Member], value: Member | str) -> Member:
    """A member, or the one that a string names in any case; raises ConfigError."""
    if isinstance(value, kind):
        return value
    members: dict[str, Member] = {str(m.value): m for m in kind}
    if not isinstance(value, str):
        choices = ", ".join(map(repr, members))
        raise ConfigError(f"{where}: got {shown(value)}, expected a {kind.__name__}, or {choices}")
    return members[_one_of(where, value, members)]


def flags(where: str, kind: type[Flags], value: str) -> Flags:
    """The flags that a string names in any case, joined by + or |; raises ConfigError."""
    members = {str(flag.name).lower(): flag for flag in kind}
    found = kind(0)
    for name in re.split(r"[+|]", value):
        found |= members[_one_of(where, name, members)]
    return found


def _one_of(where: str, value: str, choices: Collection[str]) -> str:
    name = value.strip().lower()
    if name in choices:
        return name
    near = difflib.get_close_matches(name, choices, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"{where} {value!r}: expected one of {', '.join(choices)}{hint}")


# ---------------------------------------------------------------------- shapes and dtypes
def shape(where: str, value: Any) -> tuple[int, ...]:
    """Extents; neither a text nor a mapping nor a truth value is one."""
    try:
        if isinstance(value, (str, bytes, bytearray, memoryview, Mapping, Set)):
            raise TypeError
        extents = tuple(operator.index(d) for d in value)
        if any(isinstance(d, (bool, np.bool_)) for d in value):
            raise TypeError
    except TypeError:
        raise InputError(
            f"{where}: shape {shown(value)} is not a sequence of integers, such as (1, 3, 32, 32)"
        ) from None
    if any(d < 0 for d in extents):
        raise InputError(f"{where}: shape {extents} has a negative extent")
    return extents


def any_shape(where: str, value: Any) -> AnyShape:
    """The same, a list of such, or None."""
    if value is None:
        return None
    is_sequence = isinstance(value, (list, tuple))
    if is_sequence and value and all(isinstance(dims, (list, tuple)) for dims in value):
        return tuple(shape(where, dims) for dims in value)
    return shape(where, value)


def shown_shape(given: AnyShape) -> str:
    """`[1, 3]`; `[[1], [3]]` of a sequence."""
    if given is None:
        return "None"
    return f"[{', '.join(shown_shape(d) if isinstance(d, tuple) else str(d) for d in given)}]"


def shown_shapes(given: Mapping[str, AnyShape]) -> str:
    """`x [1, 3], y [4]`."""
    return ", ".join(f"{name} {shown_shape(shape_)}" for name, shape_ in given.items())


def dtype(where: str, value: Any) -> np.dtype:
    """What names a dtype."""
    try:
        found: np.dtype = np.dtype(value)
    except (TypeError, ValueError):
        raise InputError(
            f"{where}: got {shown(value)}, expected a dtype, such as np.float32"
        ) from None
    return found


def shapes(where: str, value: Any) -> dict[str, AnyShape]:
    """Shapes by input name; None: of no input."""
    if value is None:
        return {}
    given: Mapping[str, Any] = of_kind(
        where, value, Mapping, "shapes by input name, such as {'x': (1, 3, 32, 32)}"
    )
    return {
        of_kind(where, name, str, "the name of an input"): any_shape(
            f"{where}: input {name!r}", dims
        )
        for name, dims in given.items()
    }


def feeds(where: str, value: Any) -> Mapping[str, Any]:
    """Arrays by name."""
    expected = "arrays by name, such as {'x': array}"
    given: Mapping[str, Any] = of_kind(where, value, Mapping, expected)
    for name in given:
        of_kind(where, name, str, expected)
    return given


# ---------------------------------------------------------------------- models and files
def path(where: str, value: Any, expected: str, error: type[ParallaxError] = InputError) -> Path:
    """A path in the file system."""
    name = _name_of_file(value)
    if name is not None:
        try:
            os.fsencode(name)
        except UnicodeEncodeError:
            raise error(f"{where}: {name!r} is no name that a file here can have") from None
        return Path(name)
    raise error(f"{where}: got {shown(value)}, expected {expected}{_model_remedy(value)}")


def _name_of_file(value: Any) -> str | None:
    try:
        name = os.fspath(value)
    except TypeError:  # also of a __fspath__ that answers something else
        return None
    return name if isinstance(name, str) else None


def model_bytes(where: str, value: Any) -> bytes:
    """The content of a model file."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    expected = "the bytes of an .onnx file"
    raise InputError(f"{where}: got {shown(value)}, expected {expected}{_model_remedy(value)}")


def model(where: str, value: Any) -> Path | bytes:
    """A model file: its path or its content."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return path(where, value, "the path or the bytes of an .onnx file")


def _model_remedy(value: Any) -> str:
    if hasattr(value, "SerializeToString"):
        return "; give its .SerializeToString() to Interpreter.from_buffer"
    if isinstance(value, (str, os.PathLike)):
        return "; Interpreter.from_file takes a path"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "; Interpreter.from_buffer takes bytes"
    return ""


# ---------------------------------------------------------------------- callbacks
def answer(where: str, value: object) -> bool:
    """What a callback answered: None and True say yes; raises InputError for what is no answer."""
    if value is None or isinstance(value, (bool, np.bool_)):
        return value is None or bool(value)
    raise InputError(f"{where}: the callback answered {shown(value)}, expected True, False or None")
