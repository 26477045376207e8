"""Where the examples run, and on which models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import parallax as px

MODELS = Path(__file__).resolve().parents[2] / "fixtures" / "models"


def config_on(device: str, **options: Any) -> px.ScheduleConfig:
    """A configuration for "cpu", or for the OpenCL device of that name."""
    if device == "cpu":
        return px.ScheduleConfig(**options)
    return px.ScheduleConfig(type=px.ForwardType.OPENCL, device=device, **options)


def device_argument(default: str = "cpu") -> str:
    """What `--device` says: "cpu", or part of the name of an OpenCL device."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default=default)
    return str(parser.parse_args().device)
