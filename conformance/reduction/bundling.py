"""The bundle of a reduced case."""

from __future__ import annotations

import re
from pathlib import Path

from conformance.bundles.bundle import Bundle
from conformance.bundles.failing import AnyPlace, Signature, examine
from conformance.bundles.make import make
from conformance.reduction.reducer import Reduced


def bundle_of(reduced: Reduced, place: AnyPlace, *, origin: str, seed: int = 0) -> Bundle:
    """A bundle with the launches of the failing node and the neighbour that passes."""
    failing = examine(reduced.case, place, seed, launches=True) or reduced.failing
    return make(reduced.case, failing, place, origin=origin, seed=seed, passing=reduced.passing)


def free_path(folder: Path, signature: Signature) -> Path:
    """A name for a bundle in a folder, which is made; none that exists."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = re.sub(r"[^A-Za-z0-9]+", "-", str(signature)).strip("-")
    names = (plain, *(f"{plain}-{i}" for i in range(2, 1 << 20)))
    return next(folder / name for name in names if not (folder / name).exists())
