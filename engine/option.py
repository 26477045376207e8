"""Option: a field of a configuration that converts and checks what it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Given = TypeVar("Given", contravariant=True)
Kept = TypeVar("Kept", covariant=True)


class Option(Generic[Given, Kept]):
    """A field of a frozen dataclass that takes a `Given`, which `convert` makes a `Kept`.

    As a descriptor it is one declaration for both: type checkers take a `Given` in the constructor
    and see a `Kept` where the field is read.

    Args:
        convert: called with the name of the field and the value; raises ConfigError.
    """

    def __init__(self, default: Kept, convert: Callable[[str, Given], Kept]) -> None:
        self._default, self._convert = default, convert

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type | None = None) -> Kept:
        if instance is None:
            return self._default
        value: Kept = instance.__dict__[self._name]
        return value

    def __set__(self, instance: object, value: Given) -> None:
        instance.__dict__[self._name] = self._convert(self._name, value)
