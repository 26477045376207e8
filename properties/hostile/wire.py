"""Mutations of a file's bytes: blind ones, and ones that know the protobuf wire format.

Source of the format: https://protobuf.dev/programming-guides/encoding/. A record is a varint tag
(field number * 8 + wire type) and a payload: a varint (0), 8 bytes (1), a length and so many bytes
(2), or 4 bytes (5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

Rng = np.random.Generator

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5
EXTREMES = (0, 1, 2, 7, 63, 127, 128, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
"""Values for a varint; the last is -1 and 2**63 the least int64."""
DEPTH_MAX = 6


@dataclass(frozen=True)
class Record:
    """One field of a message.

    Attributes:
        payload: an integer for a varint, else bytes.
        claimed: the length that is written, where that is not the payload's.
    """

    number: int
    kind: int
    payload: int | bytes
    claimed: int | None = None


def varint(value: int) -> bytes:
    """A non-negative integer of at most 64 bits."""
    out = bytearray()
    while True:
        value, low = value >> 7, value & 127
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)


def read(data: bytes) -> list[Record] | None:
    """The records of a message; None for bytes that are no message."""
    records, at = [], 0
    while at < len(data):
        tag = _read_varint(data, at)
        if tag is None or tag[0] >> 3 == 0:
            return None
        (number, kind), at = divmod(tag[0], 8), tag[1]
        if kind in (VARINT, BYTES):
            value = _read_varint(data, at)
            if value is None:
                return None
            size, at = value
            if kind == VARINT:
                records.append(Record(number, kind, size))
                continue
        elif kind in (EIGHT, FOUR):
            size = 8 if kind == EIGHT else 4
        else:
            return None
        if at + size > len(data):
            return None
        records.append(Record(number, kind, data[at : at + size]))
        at += size
    return records


def _read_varint(data: bytes, at: int) -> tuple[int, int] | None:
    value = 0
    for index in range(10):
        if at + index >= len(data):
            return None
        byte = data[at + index]
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value & (2**64 - 1), at + index + 1
    return None


def written(records: list[Record]) -> bytes:
    """The bytes of a message."""
    out = bytearray()
    for r in records:
        out += varint(r.number << 3 | r.kind)
        if isinstance(r.payload, int):
            out += varint(r.payload)
            continue
        if r.kind == BYTES:
            out += varint(len(r.payload) if r.claimed is None else r.claimed)
        out += r.payload
    return bytes(out)


# ---------------------------------------------------------------------- blind
def bend_bytes(rng: Rng, data: bytes) -> tuple[str, bytes]:
    """Truncated, bits flipped, or a piece replaced by another piece of the same file."""
    bent, how = bytearray(data), int(rng.integers(4))
    at = int(rng.integers(len(data)))
    if how == 0:
        return f"cut at byte {at}", data[:at]
    if how == 1:
        for _ in range(int(rng.integers(1, 4))):
            bent[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        return "bits flipped", bytes(bent)
    if how == 2:
        bent[at : at + 8] = rng.bytes(int(rng.integers(1, 16)))
        return f"noise at byte {at}", bytes(bent)
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
    bent[at : at + int(rng.integers(0, 64))] = data[start : start + length]
    return f"spliced at byte {at}", bytes(bent)


# ---------------------------------------------------------------------- field by field
def bend_fields(rng: Rng, data: bytes) -> tuple[str, bytes]:
    """One record somewhere in the tree of messages changed, dropped, repeated or moved."""
    return _bend(rng, data, 0)


def _bend(rng: Rng, data: bytes, depth: int) -> tuple[str, bytes]:
    records = read(data)
    if not records:
        return "noise", bytes(rng.bytes(max(1, len(data))))
    index = int(rng.integers(len(records)))
    record = records[index]
    if isinstance(record.payload, bytes) and record.kind == BYTES and depth < DEPTH_MAX:
        inside = read(record.payload)
        if inside and rng.random() < 0.85:
            how, payload = _bend(rng, record.payload, depth + 1)
            records[index] = replace(record, payload=payload)
            return f"{record.number}.{how}", written(records)
    bend = BENDS[int(rng.integers(len(BENDS)))]
    how = bend(rng, records, index)
    return f"{record.number}: {how}", written(records)


def _value(rng: Rng, records: list[Record], index: int) -> str:
    """Another value: an extreme integer, or bytes that are longer, shorter, empty or no text."""
    record = records[index]
    if isinstance(record.payload, int):
        value = int(EXTREMES[int(rng.integers(len(EXTREMES)))])
        records[index] = replace(record, payload=value)
        return f"varint {value}"
    if record.kind != BYTES:
        records[index] = replace(record, payload=rng.bytes(len(record.payload)))
        return "other number"
    payload = record.payload
    choices = (b"", payload * 2, payload[: len(payload) // 2], b"\xff" + payload, b"\0" + payload)
    records[index] = replace(record, payload=choices[int(rng.integers(len(choices)))])
    return "other bytes"


def _length(rng: Rng, records: list[Record], index: int) -> str:
    """A length that is not that of the payload."""
    record = records[index]
    if record.kind != BYTES or isinstance(record.payload, int):
        return _value(rng, records, index)
    claimed = [0, len(record.payload) + 1, max(0, len(record.payload) - 1), 2**31, 2**63][
        int(rng.integers(5))
    ]
    records[index] = replace(record, claimed=claimed)
    return f"length {claimed}"


def _tag(rng: Rng, records: list[Record], index: int) -> str:
    """Another field number; the payload is read as something else."""
    number = int(rng.integers(1, 32))
    records[index] = replace(records[index], number=number)
    return f"now field {number}"


def _kind(rng: Rng, records: list[Record], index: int) -> str:
    """Another wire type."""
    record = records[index]
    if isinstance(record.payload, int):
        records[index] = Record(record.number, BYTES, varint(record.payload))
    else:
        records[index] = Record(record.number, VARINT, len(record.payload))
    return "other wire type"


def _drop(rng: Rng, records: list[Record], index: int) -> str:
    del records[index]
    return "dropped"


def _repeat(rng: Rng, records: list[Record], index: int) -> str:
    count = int(rng.choice([1, 1, 2, 20]))
    records[index:index] = [records[index]] * count
    return f"{count} times more"


def _swap(rng: Rng, records: list[Record], index: int) -> str:
    other = int(rng.integers(len(records)))
    records[index], records[other] = records[other], records[index]
    return "swapped"


def _transplant(rng: Rng, records: list[Record], index: int) -> str:
    """The payload of another record."""
    other = records[int(rng.integers(len(records)))]
    records[index] = replace(other, number=records[index].number)
    return "payload of another"


Bend = Callable[[Rng, list[Record], int], str]
BENDS: tuple[Bend, ...] = (_value, _value, _length, _tag, _kind, _drop, _repeat, _swap, _transplant)
