"""What the tensors of a model should be: they stand in for nodes whose device cannot be asked."""

from __future__ import annotations

import numpy as np

from conformance.bundles.failing import Case
from conformance.devices import config_of
from conformance.expectation import Walk, bound
from conformance.inputs import Feeds
from engine.config import ForwardType
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.runtime import Runtime


def tensors_by_reference(case: Case) -> Feeds:
    """Every tensor in float64, rounded to the dtypes of the model: no backend runs a node."""
    found: Feeds = {}
    with Runtime() as runtime, np.errstate(all="ignore"):
        try:
            graph = bound(Interpreter.from_buffer(case.model), case.feeds)
            target = ForwardType.CPU, None
            walk = Walk(graph, case.feeds, runtime.backend(target[0], config_of(target)))
            for node in graph.nodes:
                for value, expected in walk.after(node):
                    found[value.name] = expected.reference.astype(expected.dtype)
        except (ParallaxError, KeyError):  # what data decide is not known, nor what follows it
            return found
    return found
