"""Short-time Fourier transform in numpy, equal to torch's, and its inverse with a sound end.

`torch.istft` divides the last ``N % hop`` samples by the vanishing edge of the last frame's window
(up to 1e5 of gain on whatever the mask left there). Here one more frame of the noisy spectrum,
beyond the ones the network sees, covers those samples; all earlier samples equal torch's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.spec import StftSpec

_BLOCK_FRAMES = 512  # bounds the temporaries: half a megabyte per 256 samples of transform


def stft(samples: NDArray[np.float32], spec: StftSpec, n_frames: int) -> NDArray[np.complex64]:
    """Transform a signal as ``torch.stft(center=True, pad_mode="reflect")`` does.

    Args:
        samples: float32 [N].
        spec: The transform.
        n_frames: Number of frames T, usually ``spec.n_frames(N)``; the reflected signal goes on
            under frames beyond that.

    Returns:
        complex64 [F, T].
    """
    before = spec.n_fft // 2
    after = max(0, (n_frames - 1) * spec.hop_length + spec.n_fft - before - samples.size)
    padded = np.pad(samples, (before, after), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, spec.n_fft)[:: spec.hop_length]
    window = spec.window().astype(np.float32)
    spectrum = np.empty((spec.n_freqs, n_frames), np.complex64)
    for block in _blocks(n_frames):
        spectrum[:, block] = np.fft.rfft(frames[block] * window).T
    return spectrum


def istft(spectrum: NDArray[np.complex64], spec: StftSpec, n_samples: int) -> NDArray[np.float32]:
    """Invert a spectrum that has one frame more than ``spec.n_frames(n_samples)``.

    The last frame reaches only the samples from ``(T - 1) * hop`` on, the last partial hop; every
    sample before equals ``torch.istft`` of the T frames before it.

    Args:
        spectrum: complex64 [F, T + 1], T = 1 + N // hop.
        spec: The transform.
        n_samples: Length N.

    Returns:
        float32 [N].
    """
    n_frames = spectrum.shape[1]
    hop = spec.hop_length
    window = spec.window().astype(np.float32)
    total = np.zeros((n_frames - 1) * hop + spec.n_fft, np.float32)
    weight = np.zeros_like(total)
    for block in _blocks(n_frames):
        frames = np.fft.irfft(spectrum[:, block].T, spec.n_fft) * window
        for index, frame in enumerate(frames, start=block.start):
            first = max(0, spec.n_fft // 2 - hop) if index == n_frames - 1 else 0
            reach = slice(index * hop + first, index * hop + spec.n_fft)
            total[reach] += frame[first:]
            weight[reach] += np.square(window[first:])
    inside = slice(spec.n_fft // 2, spec.n_fft // 2 + n_samples)
    samples: NDArray[np.float32] = total[inside]
    samples /= weight[inside]
    return samples


def _blocks(n_frames: int) -> Iterator[slice]:
    for start in range(0, n_frames, _BLOCK_FRAMES):
        yield slice(start, min(start + _BLOCK_FRAMES, n_frames))
