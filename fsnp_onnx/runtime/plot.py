"""A picture of what was removed: noisy and enhanced spectrograms, one above the other."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.errors import ArgumentError, InstallError
from fsnp_onnx.runtime.outputs import replacing

_RANGE_DB = 80.0
_MAX_COLUMNS = 2000
_WINDOW_S = 0.032


def check_plot(path: Path) -> None:
    """Find out before the work whether this picture can be drawn."""
    if path.suffix.lower() != ".png":
        raise ArgumentError("plot", f"{path} does not end in .png")
    if find_spec("matplotlib") is None:
        raise InstallError(
            "a plot needs matplotlib, which is not installed; run pip install 'fsnp-onnx[plot]'"
        )


def save_spectrograms(
    noisy: NDArray[np.float32], enhanced: NDArray[np.float32], sample_rate: int, path: Path
) -> None:
    """Write a PNG with the spectrograms of two signals, float32 [N, channels], on one dB scale."""
    with _home_left_alone():
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import

    levels = [_level_db(samples, sample_rate) for samples in (noisy, enhanced)]
    top = max(float(level.max()) for level in levels)
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True, sharey=True)
    extent = (0.0, len(noisy) / sample_rate, 0.0, sample_rate / 2000)
    scale = {"vmin": top - _RANGE_DB, "vmax": top, "cmap": "magma", "extent": extent}
    images = [
        axis.imshow(level, origin="lower", aspect="auto", **scale)
        for axis, level in zip(axes, levels, strict=True)
    ]
    axes[0].set(title="noisy", ylabel="frequency in kHz")
    axes[1].set(title="enhanced", ylabel="frequency in kHz", xlabel="time in s")
    figure.colorbar(images[0], ax=axes, label="level in dB re full scale")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


@contextmanager
def _home_left_alone() -> Iterator[None]:
    """Let matplotlib keep its list of fonts, made at import, in a folder that goes again."""
    if "matplotlib" in sys.modules or "MPLCONFIGDIR" in os.environ:
        yield
        return
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["MPLCONFIGDIR"] = folder
        try:
            yield
        finally:
            os.environ.pop("MPLCONFIGDIR", None)


def _level_db(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Return the level of every bin in dB, a full-scale sine at 0, channels averaged: [F, columns].

    Long recordings are drawn from frames that lie apart, as a picture has no room for all.
    """
    n_fft = max(16, 2 * round(sample_rate * _WINDOW_S / 2))
    n_columns = min(_MAX_COLUMNS, 1 + 4 * len(samples) // n_fft)
    starts = np.linspace(0, len(samples), n_columns, dtype=int)
    window = np.hanning(n_fft)
    window *= 2 / window.sum()
    padded = np.pad(samples, ((n_fft // 2, n_fft // 2), (0, 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=0)
    power = np.zeros((n_columns, n_fft // 2 + 1))
    for channel in frames.swapaxes(0, 1):
        power += np.square(np.abs(np.fft.rfft(channel[starts] * window)))
    return np.asarray(10 * np.log10(power.T / samples.shape[1] + 1e-12), np.float32)
