"""What the graphs of samples share: the waves of the transform, and the mask applied to a spectrum.

The waves are matrices. A graph holds one turn of them and computes them from it; ONNX Runtime does that once, when
it opens the file.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.spec import MaskSpec, StftSpec

WAVES: Final = """
      products = Mul(positions, bins)
      phases = Mod(products, n_fft)
      waves = Gather<axis: int = 1>(one_turn, phases)"""
"""Nodes of ``waves``, double [2, positions, F]: cosines, and sines with a minus. They read ``n_fft``."""


def wave_tables(stft: StftSpec, n_positions: int) -> dict[str, NDArray[Any]]:
    """Return the arrays that `WAVES` read."""
    angles = 2 * np.pi * np.arange(stft.n_fft) / stft.n_fft
    return {
        "one_turn": np.stack([np.cos(angles), -np.sin(angles)]),
        "positions": np.arange(n_positions)[:, None],
        "bins": np.arange(stft.n_freqs),
    }


def bin_weights(stft: StftSpec) -> NDArray[np.float64]:
    """Return the weight of each bin in the inverse transform [F]: most stand for two frequencies."""
    weights = np.full(stft.n_freqs, 2 / stft.n_fft)
    weights[0] /= 2
    if stft.n_fft % 2 == 0:
        weights[-1] /= 2
    return weights


def mask_constants(mask: MaskSpec, kind: str) -> str:
    """Return the constants that `masked` reads; ``kind`` is ``float`` or ``double``."""
    limit = float(np.float32(mask.limit))  # masks are float32, and other clients clamp them as such
    values = {"lowest": -limit, "highest": limit, "k": mask.k, "c": mask.c}
    return ", ".join(f"{kind} {name} = {{{value}}}" for name, value in values.items())


def masked(spectrum: str, mask: str, axis: int) -> str:
    """Return the nodes that expand a compressed mask and multiply: ``masked``, complex as both are.

    Along ``axis`` the real parts come first, then the imaginary ones.
    """
    halves = f"Split<axis: int = {axis}, num_outputs: int = 2>"
    return f"""
      clamped = Clip({mask}, lowest, highest)
      above = Add(k, clamped)
      below = Sub(k, clamped)
      ratio = Div(above, below)
      exponent = Log(ratio)
      gain = Div(exponent, c)
      gain_real, gain_imag = {halves}(gain)
      real, imag = {halves}({spectrum})
      real_real = Mul(gain_real, real)
      imag_imag = Mul(gain_imag, imag)
      real_imag = Mul(gain_real, imag)
      imag_real = Mul(gain_imag, real)
      masked_real = Sub(real_real, imag_imag)
      masked_imag = Add(real_imag, imag_real)
      masked = Concat<axis: int = {axis}>(masked_real, masked_imag)"""
