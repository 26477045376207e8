"""Modules that feed one another from several threads."""

import threading

import numpy as np
from subjects import CHAIN, config, on_every_device, row, rows_of

from engine import Module, Runtime, Var

TURNS = 40


@row(40, 57)
@on_every_device
def test_two_modules_feed_each_other_from_two_threads_without_a_deadlock(device: str) -> None:
    with Runtime() as runtime:
        modules = [Module.load(CHAIN, config=config(device), runtime=runtime) for _ in range(2)]
        latest = [module.forward(Var(rows_of(2))) for module in modules]
        wrong: list[np.ndarray] = []
        start = threading.Barrier(2, timeout=30)

        def feed(mine: int) -> None:
            start.wait()
            for _ in range(TURNS):
                theirs = latest[1 - mine]
                latest[mine] = modules[mine].forward(theirs)
                if not np.isfinite(latest[mine].read_map()).all():
                    wrong.append(latest[mine].read_map())

        threads = [threading.Thread(target=feed, args=(n,), daemon=True) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in threads), "two modules wait for each other"
        assert not wrong
        for module in modules:
            module.close()
