"""Runs: one inference after the other, watched, timed, or neither."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

import numpy as np

from engine import arguments
from engine.arrays import AnyArrayLike
from engine.describe import describe_operator
from engine.errors import InputError, RunStopped
from engine.execution.execution import Listener
from engine.info import OperatorInfo
from engine.ir.graph import Node, Value
from engine.profile import RunProfile
from engine.recording import record
from engine.session.inputs import Writable
from engine.tensor import Tensor

Callback = Callable[[Sequence[Tensor], OperatorInfo], "bool | np.bool_ | None"]
"""Called with an operator's inputs (before it) or outputs (after it); False is an answer."""


class Runnable(Writable):
    """What runs on what its inputs hold, and can be waited for."""

    def run(
        self,
        feeds: Mapping[str, AnyArrayLike] | None = None,
        *others: NoReturn,
        listener: Listener | None = None,
        sync: bool = False,
    ) -> None:
        """Enqueue one inference; on OpenCL returns before it is done.

        Waits while 32 runs are in flight on a device: whoever enqueues faster than it computes
        would fill the memory.

        Args:
            feeds: arrays for all inputs, of any kind that `write` takes; an optional one left out
                is None; a new shape resizes the session. None runs again on what the inputs hold.
            others: none; onnxruntime's `run(None, feeds)` is `session(feeds)` here.
            listener: called with (node, event) after each command was enqueued.
            sync: return when it is done.

        Raises:
            InputError: a wrong feed, or an input that was never written.
            ConfigError: the session waits for a resize. DeviceError: the device failed.
        """
        if others:
            raise InputError(
                "run takes the feeds alone: session(feeds) writes, runs and gives all outputs by "
                "name, as onnxruntime's run(None, feeds) does in a list"
            )
        waits = arguments.switch("sync", sync)
        with self._lock:
            self._prepare_run(feeds)
            execution = self.execution
            execution.enqueue(arguments.function("listener", listener))
            self._note_run()
        execution.limit_runs()
        if waits:
            self._wait()

    def run_with_callbacks(
        self,
        before: Callback | None = None,
        after: Callback | None = None,
        *,
        feeds: Mapping[str, AnyArrayLike] | None = None,
        sync: bool = False,
    ) -> None:
        """One inference that shows every operator to callbacks, in order.

        A callback answers True or nothing (None) to go on. NumPy's booleans count as Python's.

        Args:
            before: called with the input tensors; False skips the operator, whose outputs hold what
                they held (the callback may write them through `after`).
            after: called with the output tensors, for a skipped operator too; False stops the run.
            sync: wait for each operator before `after` is called.

        Raises:
            RunStopped: `after` answered False.
            InputError: a callback answered neither True, False nor None. And what `run` raises.
        """
        with self._lock:
            self._prepare_run(feeds)
            execution = self.execution
            stopped = execution.enqueue_observed(
                self._observer(
                    "before", before, lambda node: [v for v in node.inputs if v is not None]
                ),
                self._observer("after", after, lambda node: node.outputs),
                sync=arguments.switch("sync", sync),
            )
            self._note_run()
        execution.limit_runs()
        if stopped is not None:
            raise RunStopped(stopped.title)

    def profile(self, feeds: Mapping[str, AnyArrayLike] | None = None) -> RunProfile:
        """One inference with every command timed; returns when it is done.

        On OpenCL the times are those of the device's events, on a queue that records them; commands
        go there one by one, so that it takes longer than `run`. A run that is not kept goes before
        it: some drivers compile at the first launch. Outputs are there as after `run`.

        Args, Raises: as `run`.
        """
        with self._lock:
            self._prepare_run(feeds)
            found = record(self.execution, self._wait)
            self._note_run()
        return found

    def warm_up(self) -> None:
        """Run once on zeros: some drivers compile at the first launch. Inputs are lost."""
        with self._lock:
            self.execution.warm_up()
            self._note_run()

    def launch_once(self) -> None:
        """Run on zeros, if nothing ran since the resize and no inputs would be lost."""
        with self._lock:
            self.check_open()
            ready = self.resize_status.ready
            if ready and not self.execution.launched and not self.execution.written:
                self.warm_up()

    def _observer(
        self, when: str, callback: Callback | None, values: Callable[[Node], Iterable[Value]]
    ) -> Callable[[Node], bool]:
        execution = self.execution
        arguments.function(when, callback)

        def observe(node: Node) -> bool:
            if callback is None:
                return True
            part = execution.part_of(node.outputs[0])
            tensors = [Tensor(part, v) for v in values(node)]
            answer = callback(tensors, describe_operator(part, node))
            return arguments.answer(f"{when} {node.title}", answer)

        return observe

    def _prepare_run(self, feeds: Mapping[str, AnyArrayLike] | None) -> None:
        self.check_open()
        if feeds is not None:
            self._feed(feeds)
        execution = self.execution
        empty = [v.name for v in execution.graph.inputs if v not in execution.written]
        if empty:
            raise InputError(
                f"input {', '.join(map(repr, empty))} was not written since the resize"
            )

    def _note_run(self) -> None:
        if self._execution is not None and len(self._execution.parts) > 1:
            self._find_readable()
        if not self._has_run and self.cache is not None:
            self.cache.save_at_exit()
        self._has_run = True

    def synchronize(self) -> None:
        """Return when everything enqueued is done; other threads may enqueue more meanwhile."""
        with self._lock:
            self.execution.check_open()
        self._wait()

    def _wait(self) -> None:
        for backend in self._plans.backends.values():
            backend.synchronize()
