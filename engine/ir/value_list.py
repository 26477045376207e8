"""ValueList: the inputs or outputs of a graph, in order, with membership in constant time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.ir.node import Value


class ValueList(MutableSequence["Value"]):
    """A list of values that knows where each of them is."""

    def __init__(self, values: Iterable[Value] = ()) -> None:
        self._values = list(values)
        self._places: dict[Value, list[int]] | None = None

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Value]:
        return iter(self._values)

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._values[index] = value
        self._places = None

    def __delitem__(self, index: Any) -> None:
        del self._values[index]
        self._places = None

    def insert(self, index: int, value: Value) -> None:
        """Before the one at `index`."""
        self._values.insert(index, value)
        self._places = None

    def append(self, value: Value) -> None:
        """Behind the last."""
        if self._places is not None:
            self._places.setdefault(value, []).append(len(self._values))
        self._values.append(value)

    def __contains__(self, value: object) -> bool:
        return value in self._index()

    def replace(self, old: Value, new: Value) -> None:
        """Put `new` wherever `old` is."""
        places = self._index().pop(old, [])
        for place in places:
            self._values[place] = new
        if places:
            self._index().setdefault(new, []).extend(places)

    def _index(self) -> dict[Value, list[int]]:
        if self._places is None:
            self._places = {}
            for place, value in enumerate(self._values):
                self._places.setdefault(value, []).append(place)
        return self._places

    def __repr__(self) -> str:
        return repr(self._values)
