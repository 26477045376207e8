"""Files whose contents will be executed: read only if nobody else can have written them.

Replacing is atomic and serialised between processes by a lock file beside the file.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
    """Put `data` at `path`, mode 0600, wholly or not at all; raises OSError.

    Call it inside `locked(path)`: a part that an interrupted process left is removed first.
    """
    with suppress(FileNotFoundError):
        check(os.lstat(path))
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def locked(path: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Inside, no other process is here for the same path; raises OSError, TimeoutError.

    `<path>.lock` stays behind: removing it would let two processes lock two different files.
    """
    import fcntl

    beside = path.with_name(f"{path.name}.lock")
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(beside, flags, 0o600)
    try:
        check(os.fstat(descriptor))
        give_up = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > give_up:
                    raise TimeoutError(
                        f"another process holds {beside} for {timeout_s:g} s"
                    ) from error
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)
