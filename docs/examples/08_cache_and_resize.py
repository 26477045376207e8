"""A cache file for compiled kernels, with inputs of a few sizes and of endlessly many."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from place import MODELS, config_on, device_argument

import parallax as px

SIZES = [(1, 3, 64, 64), (1, 3, 96, 64), (1, 3, 64, 128)]


def use(device: str, path: Path) -> px.CacheReport:
    """What a program does at every start: set the file, resize, update the file."""
    with px.Interpreter.from_file(MODELS / "tiny_detector.onnx") as model:
        model.set_cache_file(path)
        session = model.create_session(config_on(device), shapes={"image": SIZES[0]})
        for shape in SIZES:
            session.resize_tensor("image", shape)
            report = session.resize_session()
            session({"image": np.zeros(shape, np.float32)})
            cached = model.update_cache_file(session)
            planned, built = len(report.planned), report.programs_built
            print(f"{shape}: {planned} operators planned, {built} programs built")
            print("not saved:", cached.unsaved)
        return model.explain_cache()


def vary(device: str, sizes: int = 8) -> int:
    """Programs built for sizes never seen before: shapes are arguments of the kernels."""
    mode = None if device == "cpu" else px.GpuMode.TUNING_NONE
    with px.Interpreter.from_file(MODELS / "tiny_detector.onnx") as model:
        session = model.create_session(config_on(device, mode=mode), shapes={"image": SIZES[0]})
        reports = [session.resize({"image": (1, 3, 64, 64 + 4 * i)}) for i in range(1, sizes + 1)]
        return sum(report.programs_built for report in reports)


def main(device: str = "cpu") -> None:
    """A first start, a second one, one with a damaged file; then ever new sizes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detector.cache"
        for start in ("first", "second"):
            report = use(device, path)
            print(f"{start} start: {len(report.hits)} hits, {len(report.misses)} misses")
        if path.exists():
            path.write_bytes(b"damaged" + path.read_bytes()[7:])
            print("damaged file:", use(device, path).reason)
        else:
            print("no file: the CPU backend compiles nothing")
    print("programs built for 8 new sizes:", vary(device))


if __name__ == "__main__":
    main(device_argument())
