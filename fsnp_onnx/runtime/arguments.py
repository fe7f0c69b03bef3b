"""What the arguments of a call must be; each error names the Python argument."""

from __future__ import annotations

import numbers
import os
from pathlib import Path
from typing import BinaryIO, Literal, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.errors import ArgumentError, ArgumentTypeError, AudioError
from fsnp_onnx.spec import SAMPLE_RATES_HZ

_MAX_CHANNELS = 1024  # as in libsndfile
Channels = Literal["each", "linked"]


class SignalOptions(TypedDict, total=False):
    """What `Enhancer.enhance` does to the samples; its docstring explains each."""

    strength: float
    attenuation_limit_db: float | None
    channels: Channels


def check_model(model: object) -> None:
    """Raise ArgumentError unless this may be the path of a file."""
    if not isinstance(model, str | os.PathLike):
        problem = f"is {type(model).__name__}; give the path of an exported file or its bytes"
        raise ArgumentTypeError("model", problem)
    if not os.fspath(model):
        raise ArgumentError("model", "is an empty name; is a variable not set?")


def check_provider(provider: object, threads: object, device_id: object) -> None:
    """Raise ArgumentError unless a model can be asked to run like this."""
    if provider not in ("auto", "cpu", "cuda"):
        raise ArgumentError("provider", f"is {provider!r}; give 'auto', 'cpu' or 'cuda'")
    most = max(os.cpu_count() or 1, 64)  # more would spin against each other
    if threads is not None and not (type(threads) is int and 1 <= threads <= most):
        problem = f"is {threads!r}; give 1 to {most}, or leave it out for the default"
        raise ArgumentError("threads", problem)
    if not (type(device_id) is int and 0 <= device_id < 1 << 31):
        raise ArgumentError("device_id", f"is {device_id!r}; give a whole number of 0 or more")


def check_signal(options: SignalOptions) -> None:
    """Raise ArgumentError unless a signal can be enhanced like this."""
    limit: object = options["attenuation_limit_db"]
    if limit is not None and not (_is_number(limit) and limit >= 0):  # type: ignore[operator]
        raise ArgumentError("attenuation_limit_db", f"is {limit!r}; give 0 dB or more")
    strength: object = options["strength"]
    if not (_is_number(strength) and 0 <= strength <= 1):  # type: ignore[operator]
        problem = f"is {strength!r}; give a number from 0 (the input) to 1 (all noise removed)"
        raise ArgumentError("strength", problem)
    if options["channels"] not in get_args(Channels):
        raise ArgumentError("channels", f"is {options['channels']!r}; give 'each' or 'linked'")


def check_rate(sample_rate: object) -> None:
    """Raise ArgumentError unless this is a sample rate in Hz."""
    lowest, highest = SAMPLE_RATES_HZ
    if not (_is_number(sample_rate) and lowest <= sample_rate <= highest):  # type: ignore[operator]
        problem = f"is {sample_rate!r}; give a number of {lowest} to {highest} Hz"
        raise ArgumentError("sample_rate", problem)


def check_channels(channels: object) -> None:
    """Raise ArgumentError unless this is a number of channels."""
    is_whole = isinstance(channels, numbers.Integral) and not isinstance(channels, bool)
    if not (is_whole and 1 <= channels <= _MAX_CHANNELS):  # type: ignore[operator]
        problem = f"is {channels!r}; give a whole number of 1 to {_MAX_CHANNELS}"
        raise ArgumentError("channels", problem)


def check_array(samples: object) -> None:
    """Raise ArgumentTypeError unless this is an array of float32 or float64."""
    if not isinstance(samples, np.ndarray):
        problem = f"is {type(samples).__name__}; give a numpy array of float32 or float64"
        raise ArgumentTypeError("samples", problem + _conversion(samples))
    if samples.dtype.kind != "f" or samples.dtype.itemsize not in (4, 8):
        problem = f"has dtype {samples.dtype}; give float32 or float64 "
        raise ArgumentTypeError(
            "samples", problem + "(16-bit integers: samples / np.float32(32768))"
        )


def check_samples(samples: NDArray[np.floating]) -> None:
    """Raise ArgumentError unless this is float32 or float64 [N] or [N, channels], AudioError on bad audio."""
    check_array(samples)
    found = f"has shape {samples.shape}"
    if samples.ndim not in (1, 2):
        raise ArgumentError("samples", f"{found}; give [samples] or [samples, channels]")
    if samples.size == 0:
        raise AudioError(f"samples {found}; give a recording of one sample or more")
    if samples.shape[1:] > samples.shape[:1]:
        problem = f"{found}, more channels than samples; give [samples, channels], as samples.T is"
        raise ArgumentError("samples", problem)
    if samples.shape[1:] > (_MAX_CHANNELS,):
        raise ArgumentError("samples", f"{found}; give at most {_MAX_CHANNELS} channels")
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


def _conversion(samples: object) -> str:
    """Return how to make an array of samples, as far as that is known."""
    if hasattr(samples, "numpy"):  # of torch or TensorFlow
        return f": samples{'.cpu()' if hasattr(samples, 'cpu') else ''}.numpy()"
    return ": np.array(samples, np.float32)" if isinstance(samples, list | tuple) else ""


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
