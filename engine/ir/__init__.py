"""The intermediate representation: typed SSA graphs, device-free."""

from engine.ir.graph import Attributes, BodyOp, Graph, Node, Value
from engine.ir.types import Dim, TensorType, type_of

__all__ = ["Attributes", "BodyOp", "Dim", "Graph", "Node", "TensorType", "Value", "type_of"]
