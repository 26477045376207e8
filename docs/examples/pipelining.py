"""Pipelining: frame i + 1 is prepared and enqueued while the device computes frame i.

`read_later` enqueues the read of a result behind the work that computes it, so that the next frame
may be written and run at once. What is gained is measured as

    overlap = (serial time - pipelined time) / min(host time, device time)

1: the shorter of the two is hidden wholly; 0: nothing is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np
from async_two_models import ROWS, WIDTH, chain
from place import config_on, device_argument

import parallax as px

LAYERS = 3
INPUT, OUTPUT = "x0", f"x{LAYERS}"
Work = Callable[[np.ndarray], np.ndarray]


def sleeping(seconds: float) -> Work:
    """Host work that waits for something else, such as a camera, and needs no processor."""

    def work(frame: np.ndarray) -> np.ndarray:
        time.sleep(seconds)
        return frame * np.float32(0.5)

    return work


def computing(seconds: float) -> Work:
    """Host work that takes one processor for a time."""

    def work(frame: np.ndarray) -> np.ndarray:
        end = time.perf_counter() + seconds
        half = frame * np.float32(0.5)
        while time.perf_counter() < end:
            half = frame * np.float32(0.5)
        return half

    return work


def serial(session: px.Session, frames: list[np.ndarray], work: Work) -> list[np.ndarray]:
    """One frame after the other: prepare, run, read, finish."""
    results = []
    for frame in frames:
        session.write(INPUT, work(frame))
        session.run()
        results.append(work(session.read(OUTPUT)))
    return results


def pipelined(session: px.Session, frames: list[np.ndarray], work: Work) -> list[np.ndarray]:
    """The device computes a frame while the host finishes the last one and prepares the next."""
    results, pending = [], None
    for frame in frames:
        session.write(INPUT, work(frame))
        session.run()
        ahead = session.read_later(OUTPUT)
        if pending is not None:
            results.append(work(pending.result()))
        pending = ahead
    if pending is not None:
        results.append(work(pending.result()))
    return results


@dataclass(frozen=True)
class Overlap:
    """Seconds for all frames, in one launch."""

    host_s: float
    device_s: float
    serial_s: float
    pipelined_s: float

    @property
    def efficiency(self) -> float:
        """Part of the shorter time that was hidden."""
        return (self.serial_s - self.pipelined_s) / min(self.host_s, self.device_s)


def seconds(function: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(
    session: px.Session, frames: list[np.ndarray], make_work: Callable[[float], Work], launches: int
) -> Overlap:
    """The launch of median overlap, with host work that takes twice as long as the device.

    So the device is hidden even where it runs slower than it did when the work was chosen.
    """
    nothing: Work = sleeping(0)
    device_s = median(seconds(lambda: serial(session, frames, nothing)) for _ in range(3))
    work = make_work(device_s / len(frames))  # done before and after each inference
    found = [
        Overlap(
            host_s=seconds(lambda: [work(work(frame)) for frame in frames]),
            device_s=seconds(lambda: serial(session, frames, nothing)),
            serial_s=seconds(lambda: serial(session, frames, work)),
            pipelined_s=seconds(lambda: pipelined(session, frames, work)),
        )
        for _ in range(launches)
    ]
    return sorted(found, key=lambda overlap: overlap.efficiency)[launches // 2]


@contextmanager
def opened(device: str, frame_count: int) -> Iterator[tuple[px.Session, list[np.ndarray]]]:
    """A session, and frames for it."""
    rng = np.random.default_rng(0)
    frames = [rng.normal(size=(ROWS, WIDTH)).astype(np.float32) for _ in range(frame_count)]
    config = config_on(device, backend_config=px.BackendConfig(precision=px.Precision.HIGH))
    with (
        px.Interpreter.from_buffer(chain("frame", [WIDTH] * (LAYERS + 1))) as model,
        model.create_session(config) as session,
    ):
        yield session, frames


def overlap_on(device: str, frame_count: int = 8, launches: int = 5) -> Overlap:
    """The mechanism alone: host work that sleeps does not compete with the device."""
    with opened(device, frame_count) as (session, frames):
        return measure(session, frames, sleeping, launches)


def main(device: str = "portable", frame_count: int = 8, launches: int = 5) -> None:
    """Compare both loops, with host work that sleeps and host work that computes."""
    with opened(device, frame_count) as (session, frames):
        nothing = sleeping(0)
        both = zip(serial(session, frames, nothing), pipelined(session, frames, nothing))
        print("bitwise the same:", all(np.array_equal(a, b) for a, b in both))
        print("host      host ms  device ms  serial ms  pipelined  overlap")
        for name, make_work in (("sleeps", sleeping), ("computes", computing)):
            found = measure(session, frames, make_work, launches)
            times = [found.host_s, found.device_s, found.serial_s, found.pipelined_s]
            columns = "  ".join(f"{1e3 * s:>9.1f}" for s in times)
            print(f"{name:<8} {columns}  {found.efficiency:>7.2f}")


if __name__ == "__main__":
    main(device_argument("portable"))
