"""What a failing property had in hand; `PARALLAX_BUNDLES=FOLDER pytest` makes a bundle of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from conformance.bundles.failing import Case, Place, examine
from conformance.bundles.replay import keep
from conformance.export import exported
from conformance.inputs import Feeds
from conformance.reduction.bundling import bundle_of, free_path
from conformance.reduction.reducer import Reducer
from engine.backends.protocol import Backend
from engine.errors import ParallaxError
from engine.ir import Graph
from engine.runtime import Runtime

FOLDER = "PARALLAX_BUNDLES"
"""The environment variable that names the folder."""
REDUCTION_S = 60.0


@dataclass(frozen=True)
class Evidence:
    """A graph that failed on a backend, and what it was fed."""

    graph: Graph
    feeds: Feeds
    backend: Backend

    def keep(self, folder: Path, origin: str) -> str:
        """Write a bundle of it, reduced; where that lies, or why there is none."""
        device = "cpu" if self.backend.name == "cpu" else self.backend.info.platform
        try:
            case = Case(exported(self.graph).SerializeToString(), dict(self.feeds))
            with Runtime() as runtime:
                place = Place(runtime, device, self.backend.precision)
                failing = examine(case, place)
                if failing is None:
                    return "no bundle: as a model it passes"
                reduced = Reducer(case, failing, place, budget_s=REDUCTION_S).run()
                path = free_path(folder, failing.signature)
                keep(bundle_of(reduced, place, origin=origin), path)
        except ParallaxError as error:
            return str(error)
        return f"parallax replay {path}"
