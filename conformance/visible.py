r"""Text that a terminal takes for text: control characters of names and paths are escaped.

A model may call its tensors, and a folder its files, what they like. Documents (`--json`) keep
that; what is printed shows a line break, an ESC or a mark that turns the direction of writing as
Python writes it, `\n`, `\x1b` or `\u202e`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich import markup

LINES = "\n\t"
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Controls, breaks of lines, and what orders writing (Unicode's Bidi_Control)."""


def visible(text: object, *, keep: str = "") -> str:
    """A text without control characters, but for those to keep."""
    return _UNSEEN.sub(lambda found: _shown(found.group(), keep), str(text))


def visible_lines(text: str, names: Iterable[str] = ()) -> str:
    """A message of one or more lines; in these names breaks are escaped, too."""
    for name in names:
        text = text.replace(name, visible(name))
    return visible(text, keep=LINES)


def escape(text: str) -> str:
    """A name as it stands in rich's markup."""
    return markup.escape(visible(text))


def _shown(character: str, keep: str) -> str:
    return character if character in keep else character.encode("unicode_escape").decode()
