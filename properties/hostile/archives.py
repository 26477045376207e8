"""Damaged .npz archives: zip headers, deflate data, .npy headers, claims and names."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Callable

import numpy as np

from properties.hostile.wire import bend_bytes

Rng = np.random.Generator

HEADERS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 2), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2.0, 4), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': 8, }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (274877906944,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4)",
    "{'descr': '<f4', 'fortran_order': False, }",
    "{'descr': '<f4', 'fortran_order': 3, 'shape': (2, 4), }",
    "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 4), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<U4', 'fortran_order': False, 'shape': (2,), }",
    "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 4), }",
    "{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': [('a', '<f4'), ('b', '<f4')], 'fortran_order': False, 'shape': (4,), }",
    "{'descr': 'nonsense', 'fortran_order': False, 'shape': (2, 4), }",
    "{'descr': '|V0', 'fortran_order': False, 'shape': (2, 4), }",
    "{'descr': ('<f4', (2, 4)), 'fortran_order': False, 'shape': (1,), }",
    "[1, 2]",
    "",
    "\0" * 64,
    "(" * 3000,
    "__import__('os')",
)
"""Of .npy members, where format version 1 expects a literal dictionary."""
NAMES = (
    "x.npy",
    "x",
    "../x.npy",
    "/x.npy",
    ".npy",
    "x\n.npy",
    "é.npy",
    "y.npy",
    "x.npy/",
    "x" * 9999,
)
BOMB_NBYTES = 3 << 29
"""What a small member inflates to: more than a case may hold."""


def npy(header: str, data: bytes, version: bytes = b"\x01\x00") -> bytes:
    """A .npy file with any header."""
    text = header.encode("latin1", "replace") + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text) & 0xFFFF) + text + data


def archive(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive; a name may stand there twice."""
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as written:
        warnings.simplefilter("ignore")  # zipfile warns of duplicate names
        for name, data in members:
            written.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return file.getvalue()


def plain() -> bytes:
    """What the models here take."""
    file = io.BytesIO()
    np.save(file, np.arange(8, dtype=np.float32).reshape(2, 4))
    return file.getvalue()


# ---------------------------------------------------------------------- damage
def _header(rng: Rng) -> tuple[str, bytes]:
    header = HEADERS[int(rng.integers(len(HEADERS)))]
    version = bytes(rng.choice([1, 1, 1, 2, 3, 9], 1).astype(np.uint8)) + b"\x00"
    data = npy(header, bytes(32), version)
    return f"header {header[:60]!r}", archive([("x.npy", data)])


def _name(rng: Rng) -> tuple[str, bytes]:
    names = [NAMES[int(i)] for i in rng.integers(len(NAMES), size=int(rng.integers(1, 4)))]
    return f"names {[n[:10] for n in names]}", archive([(n, plain()) for n in names])


def _blind(rng: Rng) -> tuple[str, bytes]:
    method = zipfile.ZIP_DEFLATED if rng.random() < 0.6 else zipfile.ZIP_STORED
    told, data = bend_bytes(rng, archive([("x.npy", plain())], method))
    return f"archive {told}", data


FIELDS = {
    "version": (4, 6),
    "flags": (6, 8),
    "method": (8, 10),
    "crc": (14, 16),
    "compressed size": (18, 20),
    "size": (22, 24),
    "name length": (26, 28),
    "extra length": (28, 30),
    "offset": (0, 42),
}
"""Offsets in the local header and in the central directory (APPNOTE.TXT 4.3.7 and 4.3.12)."""


def _field(rng: Rng) -> tuple[str, bytes]:
    data = bytearray(archive([("x.npy", plain()), ("y.npy", plain())]))
    directory = data.find(b"PK\x01\x02")
    name = list(FIELDS)[int(rng.integers(len(FIELDS)))]
    local, central = FIELDS[name]
    wide = name in ("crc", "compressed size", "size", "offset")
    value = int(rng.choice([0, 1, 8, 9, 12, 14, 93, 99, 0xFFFF, 0xFFFFFFFF]))
    packed = struct.pack("<I", value) if wide else struct.pack("<H", value & 0xFFFF)
    for offset in (local, directory + central):
        if name != "offset" or offset != local:
            data[offset : offset + len(packed)] = packed
    return f"{name} {value}", bytes(data)


def _member(rng: Rng) -> tuple[str, bytes]:
    contents = (b"", b"no array", plain()[:20], plain()[:-3], plain() + bytes(9), b"\x80\x04K\x01.")
    which = int(rng.integers(len(contents)))
    return f"member {which}", archive([("x.npy", contents[which])])


def _bomb(rng: Rng) -> tuple[str, bytes]:
    """Zeros that fill memory, in a member that the model does or does not need."""
    name = str(rng.choice(["x.npy", "unneeded.npy"]))
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({BOMB_NBYTES // 4},), }}"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as written:
        with written.open(name, "w", force_zip64=True) as member:
            member.write(npy(header, b""))
            for _ in range(BOMB_NBYTES >> 24):
                member.write(bytes(1 << 24))
        if name != "x.npy":
            written.writestr("x.npy", plain())
    return f"bomb in {name}", file.getvalue()


def _cut_deflate(rng: Rng) -> tuple[str, bytes]:
    """Damaged deflate data under intact headers."""
    data = bytearray(archive([("x.npy", plain() + rng.bytes(200))]))
    start, end = 30 + len("x.npy"), data.find(b"PK\x01\x02")
    for _ in range(int(rng.integers(1, 6))):
        data[int(rng.integers(start, end))] ^= 1 << int(rng.integers(8))
    return "deflate data damaged", bytes(data)


Damage = Callable[[Rng], tuple[str, bytes]]
DAMAGES: tuple[Damage, ...] = (
    _header,
    _header,
    _name,
    _blind,
    _field,
    _field,
    _member,
    _cut_deflate,
)
BOMB_SHARE = 0.002


def damaged(rng: Rng) -> tuple[str, bytes]:
    """What was done, and an archive that a command is to refuse in words or to read rightly."""
    if rng.random() < BOMB_SHARE:
        return _bomb(rng)
    return DAMAGES[int(rng.integers(len(DAMAGES)))](rng)
