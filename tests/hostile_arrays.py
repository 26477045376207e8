"""Archives of arrays that are not what they seem, for `--inputs` and `--expect`."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable

import numpy as np

GOOD = np.ones((2, 4), np.float32)
Patch = Callable[[bytearray, int, int], None]
"""Changes the bytes of an archive, given where its first member and its directory begin."""


def header(shape: str, descr: object = "<f4") -> bytes:
    """Of an .npy file; the shape is any text."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (63 - (10 + len(text)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def archive(
    members: dict[str, bytes], patch: Patch | None = None, method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """The bytes of a .zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as target:
        for name, data in members.items():
            target.writestr(name, data)
    data = bytearray(file.getvalue())
    if patch is not None:
        patch(data, data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02"))
    return bytes(data)


def _damaged(data: bytearray, member: int, directory: int) -> None:
    middle = (member + directory) // 2
    data[middle : middle + 8] = bytes(b ^ 0xFF for b in data[middle : middle + 8])


def _method_99(data: bytearray, member: int, directory: int) -> None:
    data[member + 8] = data[directory + 10] = 99


def _encrypted(data: bytearray, member: int, directory: int) -> None:
    data[member + 6] |= 1
    data[directory + 8] |= 1


def _checksum(data: bytearray, member: int, directory: int) -> None:
    data[member + 14] ^= 1
    data[directory + 16] ^= 1


def _larger(data: bytearray, member: int, directory: int) -> None:
    for place in (member + 22, directory + 24):
        data[place : place + 4] = struct.pack("<I", 0xFFFF0080)


RAW = np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32).tobytes()
WHOLE = header("(2, 4)") + GOOD.tobytes()
LARGE = header("(500, 4)") + RAW

HOSTILE: dict[str, tuple[bytes, str]] = {
    "no archive": (b"no archive", "expected an .npz file"),
    "damaged deflate": (archive({"x.npy": LARGE}, _damaged), "'x': cannot be read"),
    "damaged bzip2": (archive({"x.npy": LARGE}, _damaged, zipfile.ZIP_BZIP2), "cannot be read"),
    "damaged lzma": (archive({"x.npy": LARGE}, _damaged, zipfile.ZIP_LZMA), "cannot be read"),
    "wrong checksum": (archive({"x.npy": WHOLE}, _checksum), "Bad CRC-32"),
    "method 99": (archive({"x.npy": WHOLE}, _method_99), "compression method 99"),
    "encrypted": (archive({"x.npy": WHOLE}, _encrypted), "'x' is encrypted"),
    "header syntax": (archive({"x.npy": header("((((")}), "'x': cannot be read"),
    "header nesting": (archive({"x.npy": header("(" * 9000)}), "'x': cannot be read"),
    "header version": (
        archive({"x.npy": WHOLE.replace(b"\x01\x00", b"\x09\x00", 1)}),
        "version 9.0",
    ),
    "boolean extent": (archive({"x.npy": header("(True, 2)") + bytes(8)}), "shape is (True, 2)"),
    "negative extent": (archive({"x.npy": header("(-1, 4)")}), "shape is (-1, 4)"),
    "float extent": (archive({"x.npy": header("(2.0, 4)") + bytes(32)}), "(2.0, 4)"),
    "unknown dtype": (archive({"x.npy": header("(2,)", "zz9") + bytes(8)}), "'zz9'"),
    "objects": (archive({"x.npy": header("(1,)", "|O") + b"cos\n."}), "object are not supported"),
    "records": (archive({"x.npy": header("(1,)", [("a", "<f4")]) + bytes(4)}), "not supported"),
    "1 TB in few bytes": (
        archive({"x.npy": header("(250000000000, 1)") + bytes(32)}),
        "takes 1000000000128 bytes, but has 160",
    ),
    "4 GB in few bytes": (
        archive({"x.npy": header("(268419072, 4)") + bytes(32)}, _larger),
        "'x'",
    ),
    "too little data": (archive({"x.npy": WHOLE[:-4]}), "takes 160 bytes, but has 156"),
    "no data": (archive({"x.npy": b""}), "'x': cannot be read"),
    "text": (archive({"x.npy": b"hello world"}), "'x': cannot be read"),
    "a text beside": (archive({"x.npy": WHOLE, "README": b"hello"}), "'README' is not an array"),
    "a folder": (archive({"x.npy": WHOLE, "y/": b""}), "'y/' is not an array"),
}
"""By what is wrong: the bytes, and what the message says."""
