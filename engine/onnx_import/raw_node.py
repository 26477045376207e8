"""RawNode: a NodeProto with its opset, after functions are inlined and before any value exists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from onnx import AttributeProto, NodeProto, OperatorSetIdProto

from engine.errors import ModelError
from engine.onnx_import.subgraphs import names_outside, subgraphs_of

DEFAULT_DOMAIN = ""


@dataclass
class RawNode:
    """Names instead of values; "" is an omitted input or output.

    Attributes:
        opsets: domain -> version in force where the node is written (a function has its own).
        origin: title of the operator that it is a part of, which others define; "" of none.
        version: of the opset whose form it has, where the importer wrote it in another one than the
            file's; 0 where it did not.
    """

    name: str
    op_type: str
    domain: str
    overload: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, AttributeProto]
    opsets: dict[str, int]
    origin: str = ""
    version: int = 0

    @property
    def title(self) -> str:
        """`Conv 'name'`, by its first output where the node is anonymous."""
        named = self.name or next((o for o in self.outputs if o), "")
        return f"{self.op_type} '{named}'"

    @cached_property
    def reads(self) -> list[str]:
        """The inputs, and what subgraphs read from outside."""
        graphs = subgraphs_of(self.attributes)
        return [*self.inputs, *(name for graph in graphs for name in names_outside(graph))]

    @property
    def opset(self) -> int:
        """Version of the node's domain; 0 when the file imports none."""
        return self.version or self.opsets.get(self.domain, 0)


def raw_node(proto: NodeProto, opsets: dict[str, int]) -> RawNode:
    """The protobuf's fields; raises ModelError for a repeated attribute name."""
    require_text(proto.name, proto.op_type, proto.domain, proto.overload)
    require_text(*proto.input, *proto.output, *(a.name for a in proto.attribute))
    attributes = {a.name: a for a in proto.attribute}
    node = RawNode(
        proto.name,
        proto.op_type,
        normal_domain(proto.domain),
        proto.overload,
        list(proto.input),
        list(proto.output),
        attributes,
        opsets,
    )
    if not proto.op_type:
        raise ModelError(f"node {node.title} has no op_type: the file is damaged")
    if len(attributes) != len(proto.attribute):
        raise ModelError(f"{node.title}: an attribute is given twice")
    return node


def require_text(*names: object) -> None:
    """Raise ModelError for names that are not UTF-8, which protobuf hands out as bytes."""
    for name in names:
        if not isinstance(name, str):
            raise ModelError(f"the model holds a name that is not UTF-8 text: {name!r}: damaged")


def normal_domain(domain: str) -> str:
    """ONNX's default domain has two spellings."""
    return DEFAULT_DOMAIN if domain == "ai.onnx" else domain


def opset_versions(imports: Iterable[OperatorSetIdProto], owner: str) -> dict[str, int]:
    """Domain -> version; raises ModelError for an absurd one, or two of one domain."""
    versions: dict[str, int] = {}
    for entry in imports:
        require_text(entry.domain)
        domain = normal_domain(entry.domain)
        if not 0 <= entry.version < 2**31:
            raise ModelError(f"{owner} imports domain '{domain}' in version {entry.version}")
        if versions.setdefault(domain, entry.version) != entry.version:
            raise ModelError(
                f"{owner} imports domain '{domain}' in versions {versions[domain]} and "
                f"{entry.version}: expected one"
            )
    return versions
