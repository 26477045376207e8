"""Files whose contents will be executed: read only if nobody else can have written them.

Replacing is atomic and serialised between processes by a lock file beside the file. What checks
owner, kind and permissions of the opened file stands here, because no library does it; locks are
filelock's, which knows of more systems than flock does.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from engine.files import write_atomically

LARGEST_NBYTES = 1 << 30
LOCK_TIMEOUT_S = 30.0


class RefusedError(OSError):
    """The file is not one to trust, or not one to replace; the message is the reason."""


def read(path: Path) -> bytes:
    """The contents of a regular file that belongs to this user and that only they can write.

    Never blocks on a FIFO and follows no symbolic link. Raises FileNotFoundError, RefusedError
    or OSError. Everything is checked on the opened file, so it cannot be exchanged meanwhile.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise RefusedError("it is a symbolic link") from error
        raise
    try:
        status = os.fstat(descriptor)
        check(status)
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            mode = stat.S_IMODE(status.st_mode)
            raise RefusedError(f"other users can write it (mode {mode:04o}; expected 0600)")
        if status.st_size > LARGEST_NBYTES:
            raise RefusedError(f"it has {status.st_size} bytes, more than {LARGEST_NBYTES}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(status.st_size)
    finally:
        os.close(descriptor)


def check(status: os.stat_result) -> None:
    """Raise RefusedError unless it is a regular file of this user."""
    if not stat.S_ISREG(status.st_mode):
        raise RefusedError("it is not a regular file")
    if status.st_uid != os.geteuid():
        raise RefusedError(f"it belongs to user {status.st_uid}, and this is {os.geteuid()}")


def replace(path: Path, data: bytes) -> None:
    """Put `data` at `path`, mode 0600, wholly or not at all; raises OSError."""
    with suppress(FileNotFoundError):
        check(os.lstat(path))
    write_atomically(path, lambda file: file.write(data), mode=0o600)


def locked(path: Path, timeout_s: float = LOCK_TIMEOUT_S) -> FileLock:
    """Inside, no other process or thread is here for the same path.

    Entering raises OSError, or TimeoutError with the name of the lock file, `<path>.lock`. A folder
    that does not exist is an error, though FileLock would make it.
    """
    path.parent.stat()
    return FileLock(f"{path}.lock", timeout=timeout_s, mode=0o600, poll_interval=0.01)
