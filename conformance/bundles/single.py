"""The bundle of one failing node: a model of its own, its inputs as they were on the device."""

from __future__ import annotations

from conformance.bundles.bundle import Bundle
from conformance.bundles.failing import AnyPlace, Failing, FailingNode, core_of, examine
from conformance.bundles.make import make
from conformance.bundles.replay import NotReproduced


def bundle_of_node(node: FailingNode, place: AnyPlace, origin: str, seed: int = 0) -> Bundle:
    """A bundle of a node that failed inside a model.

    Raises:
        NotReproduced: alone it passes, or it cannot be written down as a model.
    """
    if node.case is None:
        raise NotReproduced(
            f"no bundle: {node.title} cannot be written down as a node of ONNX; parallax reduce "
            "keeps what surrounds it"
        )
    again = examine(node.case, place, seed, launches=True)
    if again is None or not is_of(again, node):
        raise NotReproduced(
            f"no bundle: {node.title} fails inside the model and not alone on the same inputs; "
            "parallax reduce keeps what surrounds it"
        )
    return make(node.case, again, place, origin=f"{node.title} of {origin}", seed=seed)


def is_of(failing: Failing, node: FailingNode) -> bool:
    """Whether a failure is of the same operator."""
    return failing.signature.operator == core_of(node.title)
