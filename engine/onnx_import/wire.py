"""Where the weights lie in a serialised ModelProto, so that they need not be parsed.

Source: https://protobuf.dev/programming-guides/encoding/ and the field numbers of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9
"""Field numbers of ModelProto.graph, GraphProto.initializer and TensorProto.raw_data."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types; the two others are those of groups, which ONNX does not use."""


class NotUnderstood(ValueError):
    """Bytes that are left to protobuf, which says what is wrong with them."""


@dataclass(frozen=True)
class Extent:
    """Bytes of a file."""

    offset: int
    nbytes: int


@dataclass(frozen=True)
class _Field:
    number: int
    wire_type: int
    begin: int
    payload: int
    end: int


def without_weights(data: bytes | mmap, least_nbytes: int) -> tuple[bytes, list[Extent | None]]:
    """A model without the raw data of its larger initialisers, and where that lies.

    Args:
        least_nbytes: smaller ones stay.

    Returns:
        A serialised ModelProto; for each initialiser of its graph, in order, the place of the raw
        data that was left out, or None.

    Raises:
        NotUnderstood: nothing can be said of these bytes.
    """
    parts: list[bytes] = []
    places: list[Extent | None] = []
    for field in _fields(data, 0, len(data)):
        if (field.number, field.wire_type) == (GRAPH, BYTES):
            graph = _graph_without(data, field, least_nbytes, places)
            parts += [_head(GRAPH, len(graph)), graph]
        else:
            parts.append(data[field.begin : field.end])
    return b"".join(parts), places


def _graph_without(
    data: bytes | mmap, graph: _Field, least_nbytes: int, places: list[Extent | None]
) -> bytes:
    parts: list[bytes] = []
    for field in _fields(data, graph.payload, graph.end):
        place = None
        if (field.number, field.wire_type) == (INITIALIZER, BYTES):
            raw = _raw_data(data, field)
            if raw is not None and raw.end - raw.payload >= least_nbytes:
                place = Extent(raw.payload, raw.end - raw.payload)
                rest = data[field.payload : raw.begin] + data[raw.end : field.end]
                parts += [_head(INITIALIZER, len(rest)), rest]
            places.append(place)
        if place is None:
            parts.append(data[field.begin : field.end])
    return b"".join(parts)


def _raw_data(data: bytes | mmap, tensor: _Field) -> _Field | None:
    """The field of that name, if there is one, and one only."""
    found = [
        f
        for f in _fields(data, tensor.payload, tensor.end)
        if (f.number, f.wire_type) == (RAW_DATA, BYTES)
    ]
    return found[0] if len(found) == 1 else None


def _fields(data: bytes | mmap, position: int, end: int) -> Iterator[_Field]:
    while position < end:
        begin = position
        key, position = _varint(data, position, end)
        number, wire_type = key >> 3, key & 7
        if wire_type == VARINT:
            payload, position = position, _varint(data, position, end)[1]
        elif wire_type == BYTES:
            length, payload = _varint(data, position, end)
            position = payload + length
        elif wire_type in (FIXED64, FIXED32):
            payload, position = position, position + (8 if wire_type == FIXED64 else 4)
        else:
            raise NotUnderstood(f"wire type {wire_type} at byte {begin}")
        if position > end or not number:
            raise NotUnderstood(f"field {number} at byte {begin} is longer than its message")
        yield _Field(number, wire_type, begin, payload, position)


def _varint(data: bytes | mmap, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if position >= end:
            raise NotUnderstood(f"a number at byte {position} is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise NotUnderstood(f"a number at byte {position} is too long")


def _head(number: int, length: int) -> bytes:
    """The key and the length of a field of bytes."""
    out = bytearray([number << 3 | BYTES])
    while length >= 0x80:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    return bytes(out)
