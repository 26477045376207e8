"""CacheReport: what a cache file held, gave and was given, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MISSING = "it does not exist yet"
"""The reason that is no cause for concern."""


@dataclass(frozen=True)
class CacheReport:
    """What a cache file did for a model since it was opened; prints as sentences.

    Attributes:
        loaded: whether anything in the file could be used when it was opened.
        reason: why nothing could; else "".
        refusal: why the file there must not be replaced, so that nothing is saved; else "".
        entries: number of kernels of the model that the file holds now.
        written: how many of them this process wrote.
        hits, misses: keys of kernels found, and of kernels that had to be compiled.
        rejected: keys of entries that could not be used, each with the reason.
        other_models: entries of other models in the file, which are kept apart.
        unsaved: kernels and tuned parameters that the file does not hold yet.
    """

    path: Path
    loaded: bool
    reason: str
    refusal: str
    hits: tuple[str, ...]
    misses: tuple[str, ...]
    rejected: Mapping[str, str]
    other_models: int
    unsaved: int
    entries: int
    written: int

    def __str__(self) -> str:
        lines = [
            f"The kernel cache {str(self.path)!r} {self._state()}.",
            f"{len(self.hits)} kernels were found in it, {len(self.misses)} were not.",
            *(f"Not used: {key}: {reason}." for key, reason in self.rejected.items()),
        ]
        if self.refusal:
            lines.append(f"Nothing is written: {self.refusal}.")
        elif self.unsaved:
            lines.append(
                f"{self.unsaved} entries are not written yet: update_cache_file does so, and "
                "closing a session that ran."
            )
        if self.other_models:
            lines.append(f"It also keeps {self.other_models} entries of other models.")
        return "\n".join(lines)

    def _state(self) -> str:
        holds = f"holds {self.entries} kernels of this model"
        if self.written:
            before = "" if self.loaded or self.reason == MISSING else f"; before, {self.reason}"
            return f"was written and {holds}, {self.written} of them new{before}"
        if self.loaded:
            return f"was loaded and {holds}"
        return "does not exist yet" if self.reason == MISSING else f"was not used: {self.reason}"
