"""`fuzz --scheduler`: a scheduler and workers of Dask as processes on loopback; shared examples."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import find, settings
from hypothesis import strategies as st

from parallax.cli import main
from properties import fleet
from properties.fuzz import State
from properties.shared_examples import database_at
from tests.command_line import Captured, refused

if TYPE_CHECKING:
    from distributed import Client

pytestmark = pytest.mark.device_free

FAULT = "cpu-relu-is-abs"
PATIENCE_S = 120
ON_CPU = ("--device", "cpu")


def a_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def running(*command: str, folder: Path, answers: Callable[[], bool]) -> Iterator[None]:
    """A process that is ended afterwards."""
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            stdout=log,
            stderr=log,
        )
        try:
            end = time.monotonic() + PATIENCE_S
            while not answers():
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end, (folder / "log").read_text()
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def cluster(folder: Path, workers: int, fault: str = "") -> Iterator[str]:
    """The address of a scheduler with workers of one thread each, with a seeded fault or none."""
    from distributed import Client  # in the environments alone that run these tests

    port = a_port()
    address = f"tcp://127.0.0.1:{port}"
    here = ("--host", "127.0.0.1", "--no-dashboard")
    scheduler = (sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", str(port))
    worker = (sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny")

    def are_there(wanted: int, client: Client) -> bool:
        return len(client.scheduler_info(n_workers=-1)["workers"]) >= wanted

    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("PARALLAX_TEST_FAULT", fault)
        started = running(*scheduler, *here, folder=folder, answers=lambda: accepts(port))
        stack.enter_context(started)
        client = stack.enter_context(Client(address, set_as_default=False))
        how = ("--nthreads", "1", *(("--preload", "tests.fleet_preload") if fault else ()))
        for count in range(1, workers + 1):
            there = partial(are_there, count, client)
            stack.enter_context(running(*worker, *here, *how, folder=folder, answers=there))
        yield address


def fuzzed(capsys: Captured, code: int, *argv: object) -> dict:
    assert main(["fuzz", *ON_CPU, *(str(a) for a in argv), "--json"]) == code
    found: dict = json.loads(capsys.readouterr().out)
    return found


def test_a_worker_tries_chunks_of_seeds_and_the_run_goes_on(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "CHUNK", 3)
    state = tmp_path / "state.json"
    with cluster(tmp_path, 0) as address:
        words = refused(capsys, "fuzz", *ON_CPU, "--scheduler", address, "--count", "1")
        assert "it has no workers" in words
    with cluster(tmp_path, 1) as address:
        fleet_of = ("--scheduler", address, "--resume", state)
        found = fuzzed(capsys, 0, "--seed", 3, "--count", 4, *fleet_of)
    assert (found["first"], found["following"], found["graphs"]) == (3, 7, 4)
    assert found["verified"] == 4
    assert State.load(state).following == 7


@pytest.mark.nightly
def test_a_fault_of_two_workers_comes_back_as_one_bundle(tmp_path: Path, capsys: Captured) -> None:
    folder = tmp_path / "found"
    with cluster(tmp_path, 2, FAULT) as address:
        given = ("--bundles", folder, "--scheduler", address)
        found = fuzzed(capsys, 1, "--count", 120, *given)
        short = fuzzed(capsys, 1, "--budget", "5s", *given)
    assert short["graphs"] > 0
    assert (found["graphs"], found["following"]) == (120, 120)
    assert sum(finding["count"] for finding in found["findings"]) > 4
    for finding in found["findings"]:  # fused or not
        assert (finding["nodes"] <= 3, finding["problem"]) == (True, ""), finding
        assert Path(finding["bundle"]).parent == folder
        assert main(["replay", finding["bundle"]]) == 0  # it is the workers that are at fault


def test_an_address_where_nobody_answers_is_refused(capsys: Captured) -> None:
    nobody = f"tcp://127.0.0.1:{a_port()}"
    words = refused(capsys, "fuzz", *ON_CPU, "--scheduler", nobody, "--count", "1")
    assert "no scheduler of Dask answers there" in words


# ------------------------------------------------------------------------- shared examples
@pytest.mark.nightly
def test_examples_are_shared_through_redis(tmp_path: Path) -> None:
    """What one machine found, another tries first."""
    server = shutil.which("redis-server")
    assert server is not None, "redis-server is not installed: apt-get install redis-server"
    port = a_port()
    given = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    url = f"redis://127.0.0.1:{port}/0"
    with running(server, *given, folder=tmp_path, answers=lambda: accepts(port)):
        shared = database_at(url, tmp_path / "here")
        how = settings(database=shared, max_examples=2000, deadline=None)
        find(st.integers(), lambda n: n > 12345, settings=how, database_key=b"large")
        other = database_at(url, tmp_path / "there")
        tried: list[int] = []
        how = settings(database=other, max_examples=1, deadline=None)
        find(
            st.integers(),
            lambda n: [tried.append(n), n > 12345][1],
            settings=how,
            database_key=b"large",
        )
    assert tried[0] == 12346
