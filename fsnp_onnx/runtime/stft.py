"""Short-time Fourier transform in numpy, equal to torch's, and its inverse with a sound end.

`torch.istft` divides the last ``N % hop`` samples by the vanishing edge of the last frame's window
(up to 1e5 of gain on whatever the mask left there). Here one more frame of the noisy spectrum,
beyond the ones the network sees, covers those samples; all earlier samples equal torch's.

Both directions go through a signal in blocks of frames, so that no array of all frames and no second
spectrum is ever needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from fsnp_onnx.spec import StftSpec

_BLOCK_FRAMES = 512  # limits the temporaries to half a megabyte per 256 samples of transform


def stft(samples: NDArray[np.float32], spec: StftSpec, n_frames: int) -> NDArray[np.complex64]:
    """Transform float32 [N] to complex64 [F, T].

    It equals ``torch.stft(center=True, pad_mode="reflect")``. T is usually ``spec.n_frames(N)``; the
    reflected signal continues under frames beyond that.
    """
    return np.concatenate([block for _, block in stft_blocks(samples, spec, n_frames)], axis=1)


def stft_blocks(
    samples: NDArray[np.float32], spec: StftSpec, n_frames: int
) -> Iterator[tuple[slice, NDArray[np.complex64]]]:
    """Yield the transform in blocks: which frames, and their spectrum, complex64 [F, n]."""
    window = spec.window().astype(np.float32)
    for start in range(0, n_frames, _BLOCK_FRAMES):
        stop = min(start + _BLOCK_FRAMES, n_frames)
        first = start * spec.hop_length - spec.n_fft // 2
        last = first + (stop - 1 - start) * spec.hop_length + spec.n_fft
        reached = _reflected(samples, first, last)
        frames = np.lib.stride_tricks.sliding_window_view(reached, spec.n_fft)[:: spec.hop_length]
        yield slice(start, stop), np.asarray(np.fft.rfft(frames * window), np.complex64).T


def istft(
    blocks: Iterable[NDArray[np.complex64]], spec: StftSpec, n_samples: int
) -> NDArray[np.float32]:
    """Invert blocks of frames, complex64 [F, n], to float32 [N]; T + 1 in all, T = 1 + N // hop.

    The last frame reaches only the samples from ``(T - 1) * hop`` on, the last partial hop; every
    sample before equals ``torch.istft`` of the T frames before it.
    """
    window = spec.window().astype(np.float32)
    squared_window = np.square(window)
    hop, n_frames = spec.hop_length, spec.n_frames(n_samples) + 1
    total = np.zeros((n_frames - 1) * hop + spec.n_fft, np.float32)
    weight = np.zeros(spec.n_fft, np.float32)  # of the samples that the next frames also reach
    index = 0
    for block in blocks:
        frames = np.fft.irfft(block.T, spec.n_fft) * window
        begin, end = index * hop, (index + len(frames)) * hop
        weight = np.pad(weight, (0, end - begin))
        for frame in frames:
            first = max(0, spec.n_fft // 2 - hop) if index == n_frames - 1 else 0
            start = index * hop
            total[start + first : start + spec.n_fft] += frame[first:]
            weight[start - begin + first : start - begin + spec.n_fft] += squared_window[first:]
            index += 1
        _divide(total[begin:end], weight[: end - begin])
        weight = weight[end - begin :]
    _divide(total[index * hop :], weight)
    return total[spec.n_fft // 2 : spec.n_fft // 2 + n_samples]


def _divide(total: NDArray[np.float32], weight: NDArray[np.float32]) -> None:
    """Divide in place, except the outermost samples, under no window, which are dropped anyway."""
    np.divide(total, weight[: total.size], out=total, where=weight[: total.size] > 0)


def _reflected(samples: NDArray[np.float32], first: int, last: int) -> NDArray[np.float32]:
    """Return samples first to last of a signal reflected at both ends, again and again."""
    if first >= 0 and last <= samples.size:
        return samples[first:last]
    period = max(2 * (samples.size - 1), 1)
    index = np.arange(first, last) % period
    return samples[np.minimum(index, period - index)]
