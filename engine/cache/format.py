"""The bytes of a kernel cache: sections by model, checked before anything of them is used.

    magic 8 | schema u32 | length of index u64 | SHA-256 of index 32 | index | binaries | magic 8

The digest covers schema and length too. The index is JSON: for each model, in the order of saving,
its entries (key, length, SHA-256) and its tuned parameters. The binaries follow in the order of
the entries. Numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import Any

MAGIC = b"PRLXKRN\x1a"
SCHEMA = 1
_FIXED = struct.Struct("<8sIQ32s")


class DamagedError(ValueError):
    """The bytes are no kernel cache of this schema; the message is the reason."""


@dataclass
class Section:
    """What is cached for one model.

    Attributes:
        entries: compiled kernels by key, the least recently used first.
        tuned: parameters found by measuring, by key; JSON values.
    """

    entries: dict[str, bytes] = field(default_factory=dict)
    tuned: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Contents:
    """A whole file.

    Attributes:
        sections: by model fingerprint, the least recently saved first.
        damaged: for each model, the keys of entries whose bytes were not what was saved.
    """

    sections: dict[str, Section] = field(default_factory=dict)
    damaged: dict[str, list[str]] = field(default_factory=dict)


def is_ours(data: bytes) -> bool:
    """Whether the bytes are, or once were, a kernel cache: damage spares one of its two ends."""
    return MAGIC.startswith(data[:8]) or data.endswith(MAGIC)


def encode(sections: dict[str, Section]) -> bytes:
    """The bytes of a file."""
    index = [
        {
            "model": model,
            "entries": [[k, len(b), _digest(b).hex()] for k, b in section.entries.items()],
            "tuned": section.tuned,
        }
        for model, section in sections.items()
    ]
    text = json.dumps(index, allow_nan=False).encode()
    binaries = [b for section in sections.values() for b in section.entries.values()]
    head = _FIXED.pack(MAGIC, SCHEMA, len(text), _seal(SCHEMA, text))
    return b"".join([head, text, *binaries, MAGIC])


def decode(data: bytes) -> Contents:
    """Check and take apart; raises DamagedError.

    Every length is checked against the bytes there are. An entry with a wrong checksum is left
    out and named in `damaged`; the others are kept.
    """
    if len(data) < _FIXED.size + len(MAGIC):
        raise DamagedError(f"it is truncated to {len(data)} bytes")
    magic, schema, length, seal = _FIXED.unpack_from(data)
    if magic != MAGIC:
        raise DamagedError("its first bytes are not those of a kernel cache")
    if schema != SCHEMA:
        raise DamagedError(f"it has schema version {schema}, this version reads {SCHEMA}")
    end = _FIXED.size + length
    if end > len(data) - len(MAGIC):
        raise DamagedError(f"it is truncated: an index of {length} bytes in {len(data)}")
    text = data[_FIXED.size : end]
    if _seal(schema, text) != seal:
        raise DamagedError("the checksum of its index is wrong")
    try:
        return _read_sections(json.loads(text), data, end)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DamagedError(f"its index cannot be used ({error})") from error


def _read_sections(index: Any, data: bytes, start: int) -> Contents:
    if not isinstance(index, list):
        raise DamagedError("its index is not a list of models")
    lengths = [length for part in index for _, length, _ in part["entries"]]
    if not all(type(n) is int and n >= 0 for n in lengths):
        raise DamagedError("a length in its index is not a size")
    if start + sum(lengths) != len(data) - len(MAGIC):
        raise DamagedError(f"its binaries take {sum(lengths)} bytes, which the file has not")
    if not data.endswith(MAGIC):
        raise DamagedError("its last bytes are not those of a kernel cache")
    contents = Contents()
    for part in index:
        section = contents.sections.setdefault(str(part["model"]), Section())
        section.tuned = {str(k): dict(v) for k, v in part["tuned"].items()}
        for key, length, digest in part["entries"]:
            binary, start = data[start : start + length], start + length
            if _digest(binary).hex() == digest:
                section.entries[str(key)] = binary
            else:
                contents.damaged.setdefault(str(part["model"]), []).append(str(key))
    return contents


def _seal(schema: int, text: bytes) -> bytes:
    return _digest(struct.pack("<IQ", schema, len(text)) + text)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
