"""Run the launches of a bundle: `python run_cl.py [PART OF A PLATFORM'S OR DEVICE'S NAME]`.

Needs numpy and pyopencl, nothing else. Builds the kernel sources in cl/ with their options, fills
the buffers as they were, launches the kernels with the same sizes and arguments, and holds the
result against expected.npz. Exit codes: 0 within bounds, 1 not, 2 it cannot be run.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

SIGMAS = 6.0
Facts = dict[str, Any]


def main(folder: Path, wanted: str = "") -> int:
    """Launch, compare, print; the exit code."""
    facts = json.loads((folder / "cl" / "launches.json").read_text())
    os.environ.update({k: v for k, v in facts["environment"].items() if k not in os.environ})
    import pyopencl as cl

    sys.path.append(str(folder / "cl"))  # what some drivers need lies there
    device = find_device(cl, wanted or facts["platform"])
    if device is None:
        print(f"no OpenCL device is named like {wanted or facts['platform']!r}")
        return 2
    if target := companion("pocl_target"):
        target.name_target(device)
    print(f"{device.platform.name.strip()} / {device.name.strip()}, {device.version.strip()}")
    got = launch(cl, device, folder, facts)
    return judge(got, np.load(folder / "expected.npz"), float(facts["largest"]))


def companion(name: str) -> Any:
    """A module of the bundle, or None where it has none."""
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def find_device(cl: Any, name: str) -> Any:
    """The first device whose platform or own name has a part."""
    drivers = companion("drivers")
    for platform in drivers.platforms(cl) if drivers else cl.get_platforms():
        for device in platform.get_devices():
            if name.lower() in platform.name.lower() or name.lower() in device.name.lower():
                return device
    return None


def launch(cl: Any, device: Any, folder: Path, facts: Facts) -> np.ndarray:
    """The tensor that was wrong, after all launches."""
    context = cl.Context([device])
    queue = cl.CommandQueue(context)
    programs = [
        cl.Program(context, (folder / p["file"]).read_text()).build(list(p["options"]))
        for p in facts["programs"]
    ]
    contents = np.load(folder / "cl" / "buffers.npz")
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    buffers = [cl.Buffer(context, flags, hostbuf=contents[n]) for n in facts["buffers"]]
    for step in facts["launches"]:
        if "kernel" not in step:
            copy(cl, queue, buffers, step)
            continue
        kernel = cl.Kernel(programs[step["program"]], step["kernel"])
        for i, argument in enumerate(step["arguments"]):
            is_buffer = "buffer" in argument
            value = buffers[argument["buffer"]] if is_buffer else bytes.fromhex(argument["hex"])
            kernel.set_arg(i, value)
        local = None if step["local"] is None else tuple(step["local"])
        print(f"{step['kernel']}: global {step['global']}, local {step['local']}")
        cl.enqueue_nd_range_kernel(queue, kernel, tuple(step["global"]), local)
    return read(cl, queue, buffers, facts["output"])


def copy(cl: Any, queue: Any, buffers: list[Any], step: Facts) -> None:
    """A copy of bytes between two buffers."""
    cl.enqueue_copy(
        queue,
        buffers[step["target"]],
        buffers[step["source"]],
        byte_count=step["nbytes"],
        src_offset=step["source_offset"],
        dst_offset=step["target_offset"],
    )


def read(cl: Any, queue: Any, buffers: list[Any], output: Facts) -> np.ndarray:
    """A tensor with its axes in order, whatever its layout in memory."""
    stored = np.empty(output["size"], output["storage"])
    where = {"src_offset": output["offset_nbytes"], "is_blocking": True}
    cl.enqueue_copy(queue, stored, buffers[output["buffer"]], **where)
    strides = tuple(s * stored.itemsize for s in output["strides"])
    return np.lib.stride_tricks.as_strided(stored, tuple(output["shape"]), strides).copy()


def judge(got: np.ndarray, file: Any, largest: float) -> int:
    """Print the worst element; 0 when all lie within 6 sigma and the bound.

    Beyond `largest` an infinity may stand for the expected number.
    """
    expected, sigma, bound = (file[name] for name in ("expected", "sigma", "bound"))
    with np.errstate(all="ignore"):
        g, e = got.astype(np.float64), expected.astype(np.float64)
        same = (got == expected) | (np.isnan(g) & np.isnan(e))
        overflow = np.isinf(g) & (np.sign(g) == np.sign(e)) & (np.abs(e) + bound > largest)
        error = np.nan_to_num(np.abs(g - e), nan=np.inf, posinf=np.inf)
        if got.dtype.kind in "iu":
            error = np.maximum(error, 1)  # those of 64 bits may differ by less than a double shows
        error = np.where(same | overflow | ~np.isfinite(bound), 0.0, error)
        bounds = np.where(error == 0, 0.0, error / bound)
        sigmas = np.where(error == 0, 0.0, error / sigma)
    failures, suspects = int((bounds > 1).sum()), int((sigmas > SIGMAS).sum())
    if got.size:
        worst = np.unravel_index(int(np.argmax(bounds if failures else sigmas)), got.shape)
        at = [int(i) for i in worst]
        print(f"worst at {at}: got {got[worst]}, expected {expected[worst]}")
    print(
        f"{failures} of {got.size} elements out of bounds (worst {bounds.max(initial=0):.3g} x "
        f"bound), {suspects} beyond {SIGMAS:g} sigma"
    )
    print("FAIL" if failures else "SUSPECT" if suspects else "PASS")
    return int(bool(failures or suspects))


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent, *sys.argv[1:2]))
