"""Shapes as documentation writes them, `b s h`, and the extents that their letters stand for.

A letter is the same extent wherever it stands; `2h`, `p+s` and `3b+2` follow from letters. `b?` is
that extent or 1, `*` any extent, `...` any axes; `b | b t` is one shape or the other.
"""

from __future__ import annotations

from collections.abc import Sequence

Dims = Sequence[int | None]
"""Extents; None: not known."""


class Letters:
    """What the letters of shapes stand for, as far as it is known."""

    def __init__(self) -> None:
        self._extents = {"": 1}

    def fit(self, shape: str, dims: Dims) -> bool:
        """Whether the dimensions may be those of a shape; they tell what its letters stand for."""
        paired = [_pairs(form.split(), dims) for form in shape.split("|")]
        fitting = [p for p in paired if p is not None and all(self._may_be(*one) for one in p)]
        if len(fitting) == 1:
            for extent, dim in fitting[0]:
                if extent.isalpha() and dim is not None:
                    self._extents[extent] = dim
        return bool(fitting)

    def extent(self, letters: str) -> int | None:
        """What they add up to; None where a letter's extent is not known."""
        total = 0
        for term in letters.rstrip("?").split("+"):
            letter = term.lstrip("0123456789")
            if letter not in self._extents:
                return None
            total += int(term.removesuffix(letter) or 1) * self._extents[letter]
        return total

    def shown(self, shape: str) -> str:
        """A shape for readers, with what is known of it."""
        forms = [form.split() for form in shape.split("|")]
        return " or ".join(f"({', '.join(map(self._shown, form))})" for form in forms)

    def _may_be(self, extent: str, dim: int | None) -> bool:
        if extent.endswith("?") and dim == 1:
            return True
        return None in (dim, expected := self.extent(extent)) or dim == expected

    def _shown(self, extent: str) -> str:
        value = self.extent(extent)
        known = extent.rstrip("?") if value is None else str(value)
        return f"{known} or 1" if extent.endswith("?") and value != 1 else known


def _pairs(form: list[str], dims: Dims) -> list[tuple[str, int | None]] | None:
    """Extents beside dimensions; None where there are not as many."""
    if "..." in form:
        at, missing = form.index("..."), len(dims) - len(form) + 1
        form = [*form[:at], *["*"] * missing, *form[at + 1 :]]
    return list(zip(form, dims, strict=True)) if len(form) == len(dims) else None
