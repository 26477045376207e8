"""A file appears whole or not at all."""

import os
import threading

import pytest

from engine.files import write_atomically

pytestmark = pytest.mark.one_driver


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "result"
    for content in (b"first", b"second"):
        write_atomically(path, lambda file, content=content: file.write(content))
        assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


def test_what_fails_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half of it")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


def test_no_reader_sees_a_part(tmp_path):
    path = tmp_path / "result"
    path.write_bytes(b"a" * 100_000)
    seen = []

    def write(file):
        file.write(b"b" * 50_000)
        file.flush()
        seen.append(path.read_bytes())
        file.write(b"b" * 50_000)

    write_atomically(path, write)
    assert seen == [b"a" * 100_000]
    assert path.read_bytes() == b"b" * 100_000


def test_threads_that_write_one_path_leave_the_whole_work_of_one(tmp_path):
    path, begin = tmp_path / "result", threading.Barrier(8)

    def work(i):
        begin.wait()
        write_atomically(path, lambda file: [file.write(bytes([i]) * 1000) for _ in range(100)])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    content = path.read_bytes()
    assert content == content[:1] * 100_000
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


@pytest.mark.parametrize("mode", [0o666, 0o600])
def test_the_mode_is_the_one_asked_for_less_the_umask(tmp_path, mode):
    path, before = tmp_path / "result", os.umask(0o022)
    try:
        write_atomically(path, lambda file: file.write(b"x"), mode=mode)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode & ~0o022


def test_a_symbolic_link_is_replaced_and_its_target_stays(tmp_path):
    target, path = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"precious")
    path.symlink_to(target)
    write_atomically(path, lambda file: file.write(b"x"))
    assert target.read_bytes() == b"precious"
    assert not path.is_symlink()


def test_a_pipe_is_refused_and_stays_one(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(FileExistsError, match="not a regular file"):
        write_atomically(path, lambda file: file.write(b"through"))
    assert path.is_fifo()
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path, lambda file: file.write(b"x"))
