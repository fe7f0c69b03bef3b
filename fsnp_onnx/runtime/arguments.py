"""What the arguments of a call must be; each error names the Python argument."""

from __future__ import annotations

import numbers
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fsnp_onnx.errors import ArgumentError, ArgumentTypeError, AudioError
from fsnp_onnx.spec import SAMPLE_RATES_HZ

_MAX_CHANNELS = 1024  # as in libsndfile; more are channels and samples mistaken for each other


def check_provider(provider: object, threads: object, device_id: object) -> None:
    """Raise ArgumentError unless a model can be asked to run like this."""
    if provider not in ("auto", "cpu", "cuda"):
        raise ArgumentError("provider", f"is {provider!r}; give 'auto', 'cpu' or 'cuda'")
    most = max(os.cpu_count() or 1, 64)  # more would spin against each other
    if threads is not None and not (type(threads) is int and 1 <= threads <= most):
        raise ArgumentError("threads", f"is {threads!r}; give 1 to {most}, or None for all CPUs")
    if not (type(device_id) is int and 0 <= device_id < 1 << 31):
        raise ArgumentError("device_id", f"is {device_id!r}; give a whole number of 0 or more")


def check_limit(limit: object) -> None:
    """Raise ArgumentError unless this is None or a number of dB."""
    if limit is not None and not (_is_number(limit) and limit >= 0):  # type: ignore[operator]
        raise ArgumentError("attenuation_limit_db", f"is {limit!r}; give 0 dB or more, or None")


def check_rate(sample_rate: object) -> None:
    """Raise ArgumentError unless this is a sample rate in Hz."""
    lowest, highest = SAMPLE_RATES_HZ
    if not (_is_number(sample_rate) and lowest <= sample_rate <= highest):  # type: ignore[operator]
        problem = f"is {sample_rate!r}; give a number of {lowest} to {highest} Hz"
        raise ArgumentError("sample_rate", problem)


def check_samples(samples: object) -> None:
    """Raise ArgumentError unless this is float32 or float64 [N] or [N, channels], AudioError on bad audio."""
    if not isinstance(samples, np.ndarray):
        problem = f"is {type(samples).__name__}; give a numpy array of float32 or float64"
        raise ArgumentTypeError("samples", problem)
    if samples.dtype.kind != "f" or samples.dtype.itemsize not in (4, 8):
        problem = f"has dtype {samples.dtype}; give float32 or float64 "
        raise ArgumentTypeError(
            "samples", problem + "(16-bit integers: samples / np.float32(32768))"
        )
    if samples.ndim not in (1, 2) or samples.shape[1:] > (_MAX_CHANNELS,):
        problem = f"has shape {samples.shape}; give [samples] or [samples, channels], "
        raise ArgumentError("samples", problem + f"at most {_MAX_CHANNELS} channels (samples.T?)")
    if samples.size == 0:
        raise AudioError(
            f"samples has shape {samples.shape}; give a recording of one sample or more"
        )
    if not np.isfinite(samples).all():
        raise AudioError("samples contains NaN or infinite values; remove them first")


def as_file(name: str, file: str | os.PathLike[str] | BinaryIO, method: str) -> Path | BinaryIO:
    """Return a path as Path and a stream as it is; raise ArgumentTypeError unless it is one of them."""
    if isinstance(file, str | os.PathLike):
        if not os.fspath(file):
            raise ArgumentError(name, "is an empty name; is a variable not set?")
        return Path(file)
    if not hasattr(file, method):
        problem = f"is {type(file).__name__}; give a path or a binary file that can {method}"
        raise ArgumentTypeError(name, problem)
    return file


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
