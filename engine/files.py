"""Files that appear whole or not at all: the only way in which the project writes one."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, write: Callable[[BinaryIO], object], *, mode: int = 0o666) -> None:
    """Let `write` fill a new file in the same folder, then put that in the place of `path`.

    No reader ever sees a part of it, and any number of threads and processes may write the same
    path: the last one wins. A symbolic link is replaced, not followed.

    Args:
        write: called once with the open file; whatever it raises leaves `path` as it was.
        mode: permissions of the new file, before the umask.

    Raises:
        OSError: the file cannot be written, or what is there is a folder, a device or a pipe.
    """
    if path.exists() and not path.is_file():
        kind = errno.EISDIR if path.is_dir() else errno.EEXIST
        raise OSError(kind, "what is there is not a regular file", str(path))
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(descriptor)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
