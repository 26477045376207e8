"""What a device computes for the tensors of a model: they stand in for nodes that are left out."""

from __future__ import annotations

import numpy as np
import onnx

from conformance.bundles.failing import Case, Place
from conformance.devices import config_of
from conformance.expectation import Walk, bound
from conformance.inputs import Feeds
from engine.config import ForwardType
from engine.errors import ParallaxError
from engine.interpreter import Interpreter
from engine.runtime import Runtime


def tensors_of(case: Case, place: Place) -> Feeds:
    """What the device computes for every tensor of a model; fewer where it cannot be asked."""
    interpreter = Interpreter.from_buffer(case.model)
    constants = {c.name for c in onnx.load_from_string(case.model).graph.initializer}
    names = tuple(n for n in interpreter.tensors if n not in constants)
    shapes = {name: array.shape for name, array in case.feeds.items()}
    try:
        config = config_of(place.target, place.precision, keep=names)
        with interpreter.create_session(config, place.runtime, shapes) as session:
            session.run(case.feeds)
            return {name: np.asarray(session.read(name)) for name in session.saved}
    except ParallaxError:
        return {}


def tensors_by_reference(case: Case) -> Feeds:
    """The same in float64, rounded to the dtypes of the model: no backend runs a node."""
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
