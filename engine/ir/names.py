"""Names: which names are taken, and a fresh one without trying all that are."""

from __future__ import annotations

from collections.abc import Iterable


class Names:
    """A set of names that makes new ones: `name`, else `name_1`, `name_2`...

    Whoever asks for the same name again goes on where the last search ended, so that n fresh names
    cost n steps.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._next: dict[str, int] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._taken

    def add(self, name: str) -> None:
        """From now on it is taken."""
        self._taken.add(name)

    def discard(self, name: str) -> None:
        """It is free again."""
        self._taken.discard(name)

    def fresh(self, name: str) -> str:
        """`name`, or the next of `name_1`, `name_2`... that is not taken; it is not added."""
        if name not in self._taken:
            return name
        i = self._next.get(name, 1)
        while f"{name}_{i}" in self._taken:
            i += 1
        self._next[name] = i
        return f"{name}_{i}"
